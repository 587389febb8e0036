"""A search by measurement: its plan, its study and its workers."""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.asha import Asha
from nas.evaluators.proxy import used_images
from nas.history import History
from nas.search import record
from nas.search.aims import aims, keep_times
from nas.search.asynchronous import Plan, search_asynchronously
from nas.search.config import SearchConfig
from nas.search.preview import print_preview
from nas.search.record import Earlier
from nas.search.result import SearchResult
from nas.search.session import Session, run_session
from nas.search.setup import Measuring, evaluator_maker, load_data, prepare, with_scores
from nas.search.workers import OnCluster
from nas.slots import slots
from nas.storage.cache import key_of
from nas.storage.lost import retry_infrastructure
from nas.storage.study import Study, open_study
from nas.storage.study_settings import SearchIdentity, read_settings
from nas.strategies.base import Strategy, sample_fresh
from search_spaces.staged import StagedSpace
from train.cluster.jobs import Place
from train.length import first_judged, steps_per_epoch
from train.recipe import NORM_STATISTICS
from vbs.accuracy import chance_limit

if TYPE_CHECKING:
    from nas.block_times.table import Times

BUDGET = 64  # networks, where the user names no number
# options that all drivers of a search have in common, beside those of its space and aims
SHARED = (
    "recipe",
    "changes",
    "fidelity",
    "scheduler",
    "seed",
    "strategy",
    "evaluator",
    "scores",
    "grace",
    "factor",
)


def plan_of(config: SearchConfig, measuring: Measuring) -> Plan:
    """The loop's plan."""
    assert config.budget is not None
    trains = measuring.kind.trains
    asha = None
    if trains and config.scheduler == "asha":
        per_epoch = steps_per_epoch(
            measuring.recipe, used_images(measuring.fidelity, measuring.data.train)
        )
        first = config.grace or first_judged(measuring.steps, per_epoch)
        asha = Asha(measuring.steps, first=first, factor=config.factor)
    return Plan(
        budget=config.budget,
        seed=config.seed,
        asha=asha,
        finalists=config.finalists if trains else 0,
        repeats=config.repeats if trains else 1,
        seconds=config.max_time,
        failures=config.max_failures,
        chance=chance_limit(measuring.data.chance, measuring.images),
    )


@dataclass(frozen=True)
class Job:
    """A search by measurement that can begin.

    config  with everything that was left open. digests: of what the search reads.
    space   that of the networks, without measured costs.
    """

    config: SearchConfig
    digests: Mapping[str, Any]
    measuring: Measuring
    space: StagedSpace
    history: History
    strategy: Strategy
    plan: Plan
    places: Place
    tables: dict[str, Times]


def run_job(
    config: SearchConfig, out: str | None, *, earlier: Earlier | None, started: float
) -> SearchResult:
    """The whole search that a config describes.

    earlier  the search in `out` that is resumed; None for a new one.
    """
    job = prepared(config, Path(out) if earlier is not None and out else None)
    record.check_same(earlier, job.config, job.digests)
    study = None
    if job.config.storage is not None:  # before a folder is made: a mistake leaves nothing
        study = _study(job, job.config.storage, resume=earlier is not None)
    with record.results_folder(out, resume=earlier is not None) as folder:
        return _in_folder(folder, job, study, earlier, started=started)


def _in_folder(
    folder: Path, job: Job, study: Study | None, earlier: Earlier | None, *, started: float
) -> SearchResult:
    """The search itself; `study` is that of --storage."""
    file, seconds = (folder / "study.db").resolve(), earlier.seconds if earlier else 0.0
    if earlier and study is None and not file.is_file():
        raise ValueError(f"resume: {file} is gone, and with it what the search has found")
    keep_times(folder, job.tables)
    plan = job.plan
    session = Session(
        folder=folder,
        config=job.config,
        digests=job.digests,
        history=job.history,
        evaluator=job.measuring.described,
        started=started,
        past=seconds,
        total=plan.budget + plan.finalists * (plan.repeats - 1),
    )
    so_far = {"evaluated": earlier.evaluated, "seconds": seconds} if earlier else {}
    session.record(status="running", **so_far)
    with study or _study(job, f"sqlite:///{file}", resume=False) as study:
        if earlier and study.known < earlier.evaluated:
            raise ValueError(f"resume: {study.place} is not the study of the search in {folder}")
        if earlier:
            retry_infrastructure(study)
        study.sync(job.history)
        each = print_preview(folder, job, study.place)
        return run_session(
            replace(session, each=each), functools.partial(_loop, job, folder, study)
        )


def prepared(config: SearchConfig, kept: Path | None) -> Job:
    """Everything a search needs, checked.

    kept  the folder of a search that is resumed.
    """
    config, measuring, networks = prepare(config)
    config, space, objective, strategy, tables = aimed = aims(
        config, networks, fallback="predictor", kept=kept
    )
    config = replace(config, budget=config.budget or BUDGET)
    digests = {"data_sha256": key_of(measuring.data.digests), **aimed.digests}
    history = History(space, objective)
    if not len(sample_fresh(history, 1, np.random.default_rng(0))):
        raise ValueError(f"limits: no network was found that keeps all of {objective.all_limits}")
    return Job(
        config,
        digests,
        measuring,
        networks,
        history,
        strategy,
        plan_of(config, measuring),
        slots(config, trains=measuring.kind.trains),
        tables,
    )


def _loop(job: Job, folder: Path, study: Study, update: Callable[[History], None]) -> str:
    """Search into the history; how it ended."""
    config, measuring = job.config, job.measuring
    data, kept = load_data(config, measuring), _checkpoints(folder, job)
    workers = OnCluster(
        evaluator_maker(config, measuring, job.space, data),
        job.history.space,
        measuring.described,
        job.places,
        timeout=config.timeout,
        folder=kept,
    )
    try:
        status = search_asynchronously(
            job.history,
            with_scores(config, measuring, job.space, data, job.strategy),
            workers,
            job.plan,
            study=study,
            record=update,
        )
    finally:
        workers.close()
    if config.checkpoints is None:
        shutil.rmtree(kept, ignore_errors=True)  # what killed ones have left
    with contextlib.suppress(OSError):  # other drivers may have trainings there
        kept.rmdir()
    return status


def _checkpoints(folder: Path, job: Job) -> Path:
    """The folder of unfinished trainings; in a folder of --checkpoints, which many searches may
    share, each search has its own, and all drivers of one search have the same."""
    config = job.config
    if config.checkpoints is None:
        return (folder / "trainings").resolve()
    own = {
        **_identity(job),
        **job.space.settings,
        "space": job.space.name,
        "study": config.study if config.storage else str(folder.resolve()),
    }
    return Path(config.checkpoints, key_of(own)[:16])


def _study(job: Job, storage: str, *, resume: bool) -> Study:
    """The record of the search: a file in the folder, or what all drivers of a database share.

    resume  whether the study must be there already.
    """
    if resume:
        read_settings(storage, job.config.study)
    identity = SearchIdentity(job.history.space, job.history.objective, _identity(job))
    return open_study(storage, job.config.study, identity, resume=True)


def _identity(job: Job) -> dict[str, Any]:
    """What all drivers of a search must agree about, beside its space and aims."""
    settings = job.config.settings()
    trained = {"norm_statistics": NORM_STATISTICS} if job.measuring.kind.trains else {}
    return {
        **{name: value for name, value in settings.items() if name in SHARED},
        **trained,
        "data": job.measuring.data.digests,
        "times": job.digests.get("times_sha256", {}),
    }
