"""Run of a search with workers, which records its evaluations in a study."""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.history import History
from nas.search import record
from nas.search.aims import keep_times
from nas.search.asynchronous import search_asynchronously
from nas.search.config import SearchConfig
from nas.search.job import Job, Measurement, prepared
from nas.search.own_evaluator import OwnEvaluator
from nas.search.preview import print_preview
from nas.search.record import Earlier
from nas.search.result import SearchResult
from nas.search.session import Session, run_session
from nas.search.workers import OnCluster
from nas.storage.cache import key_of
from nas.storage.retry import retry_infrastructure
from nas.storage.study import Study, open_study
from nas.storage.study_settings import SearchIdentity, read_settings
from search_spaces.space import SearchSpace

# options that all drivers of a search must share, in addition to its space and objective
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


def run_job(
    config: SearchConfig,
    out: str | None,
    *,
    earlier: Earlier | None,
    started: float,
    known: tuple[Measurement, SearchSpace] | None = None,
) -> SearchResult:
    """Run the search of a config.

    out      folder of the results; None for a new one.
    earlier  the resumed search in `out`; None for a new search.
    started  start time, from `time.perf_counter`.
    known    see `nas.search.job.prepared`.
    """
    job = prepared(config, Path(out) if earlier is not None and out else None, known)
    record.check_same(earlier, job.config, job.digests)
    study = None
    if job.config.storage is not None:  # opened first, because its URL may be wrong
        study = _study(job, job.config.storage, resume=earlier is not None)
    with record.results_folder(out, resume=earlier is not None) as folder:
        return _in_folder(folder, job, study, earlier, started=started)


def _in_folder(
    folder: Path, job: Job, study: Study | None, earlier: Earlier | None, *, started: float
) -> SearchResult:
    """Run the search in its folder; `study` is that of --storage, or None."""
    file, seconds = (folder / "study.db").resolve(), earlier.seconds if earlier else 0.0
    # a search that was killed before its first evaluation may have no study yet
    begun = earlier and (earlier.evaluated or (folder / "history.parquet").is_file())
    if begun and study is None and not file.is_file():
        if isinstance(job.measuring, OwnEvaluator) and (folder / "history.parquet").is_file():
            raise ValueError(f"resume: the search in {folder} has no workers; leave --workers out")
        raise ValueError(
            f"resume: {file}, which contained the evaluations of the search, is missing; start a "
            "new search"
        )
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


def _loop(job: Job, folder: Path, study: Study, update: Callable[[History], None]) -> str:
    """Run the search loop and return its status."""
    config, measuring = job.config, job.measuring
    make, strategy = measuring.start(config, job.space, job.strategy)
    checkpoints = _checkpoints(folder, job)
    workers = OnCluster(
        make,
        job.history.space,
        measuring.described,
        job.places,
        timeout=config.timeout,
        folder=checkpoints,
    )
    try:
        status = search_asynchronously(
            job.history,
            strategy,
            workers,
            job.plan,
            study=study,
            record=update,
        )
    finally:
        workers.close()
    if config.checkpoints is None:
        shutil.rmtree(checkpoints, ignore_errors=True)  # killed trainings leave checkpoints
    with contextlib.suppress(OSError):  # other drivers may have checkpoints there
        checkpoints.rmdir()
    return status


def _checkpoints(folder: Path, job: Job) -> Path:
    """Return the folder of checkpoints of unfinished trainings.

    Searches can share a folder of --checkpoints. Each search has a subfolder there, which all its
    drivers use.
    """
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
    """Open the study of the search, in a file of the folder or in a shared database.

    resume  whether the study must exist.
    """
    if resume:
        read_settings(storage, job.config.study)
    identity = SearchIdentity(job.history.space, job.history.objective, _identity(job))
    return open_study(storage, job.config.study, identity, resume=True)


def _identity(job: Job) -> dict[str, Any]:
    """Return the settings that all drivers must share, in addition to space and objective."""
    settings = job.config.settings()
    return {
        **{name: value for name, value in settings.items() if name in SHARED},
        **job.measuring.identity,
        "times": {
            **job.digests.get("times_sha256", {}),
            **job.digests.get("devices_sha256", {}),
        },
    }
