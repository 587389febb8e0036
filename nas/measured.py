"""A search by measurement: what it will do, said beforehand; then the workers, study and loop."""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas import data_space, record
from nas.asha import Asha
from nas.asynchronous import Plan, search_asynchronously
from nas.conduct import aims, conduct, keep_times
from nas.doubts import remedies
from nas.evaluators.base import Evaluator
from nas.evaluators.proxy import Fidelity, Proxy, fitted, used_images
from nas.history import History
from nas.lengths import fidelity_of
from nas.opening import opening
from nas.slots import Slots, slots
from nas.storage.cache import Cache, key_of
from nas.storage.lost import retry_infrastructure
from nas.storage.study import Study, open_study
from nas.storage.study_settings import read_settings
from nas.strategies.base import Strategy, sample_fresh
from nas.strategies.predictor import Predictor
from nas.workers import OnCluster
from search_spaces.catalog import one_of
from search_spaces.staged import StagedSpace
from train.data.summary import Survey, survey
from train.length import first_judged, steps_per_epoch
from train.parser import check_device, print_notes
from train.recipe import NORM_STATISTICS, Recipe, change, check_random_start, preset
from vbs.accuracy import chance_limit

if TYPE_CHECKING:
    from nas.block_times.table import Times
    from nas.evaluators.zero_cost import ZeroCost
    from train.data import Data

BUDGET = 64  # networks, where the user names no number


@dataclass(frozen=True)
class Measuring:
    """What stands behind a search by measurement, worked out from its settings."""

    kind: type[Evaluator]
    data: Survey
    recipe: Recipe
    fidelity: Fidelity

    @property
    def described(self) -> Evaluator:
        """What reports may know of the evaluator; it answers nothing."""
        evaluator = Evaluator()
        evaluator.name, evaluator.unit = self.kind.name, self.kind.unit
        evaluator.axis, evaluator.steps = self.kind.axis, self.steps
        evaluator.scored_on, evaluator.train_images = self.images, self.data.train
        if self.images:
            evaluator.chance, evaluator.remedies = self.data.chance, remedies(self)
        return evaluator

    @property
    def images(self) -> int:
        """How many images an accuracy is read on; 0 where it is none."""
        return self.data.minival if self.kind is Proxy else 0

    @property
    def steps(self) -> int:
        """Points of a full learning curve."""
        return self.fidelity.epochs if self.kind is Proxy else 1


def prepare(settings: dict[str, Any]) -> tuple[Measuring, StagedSpace]:
    """The evaluator and the space, fitted to the data; fills in what the settings left open.

    ValueError for whatever does not go together. Nothing is decoded, trained or started.
    """
    if settings["data"] is None:
        raise ValueError(
            f"--data is missing; evaluator {settings['evaluator']!r} measures on your images, "
            "e.g. --data imagefolder:DIR"
        )
    recipe = change(preset(settings["recipe"]), settings["changes"])
    if settings["evaluator"] != "zero-cost":  # which trains nothing
        check_random_start(recipe, "a search")
    if not recipe.minival:
        raise ValueError("--set minival: a search needs images to choose by; use e.g. 0.1")
    data = survey(settings["data"], minival=recipe.minival, root=settings["data_root"])
    print_notes(data.notes)
    space = data_space.space_for(
        data, settings["space"] or "compact", resolution=settings["resolution"],
        classes=settings["classes"], width=settings["width"],
        small_images=settings["small_images"],
    )  # fmt: skip
    settings.update(space.settings, space=space.name)
    one_of("scheduler", settings["scheduler"], ("asha", "fifo"))
    check_device(settings["device"], local=settings["address"] is None)
    if settings["evaluator"] == "zero-cost":
        from nas.evaluators.zero_cost import ZeroCost

        score_names(settings)
        return Measuring(ZeroCost, data, recipe, Fidelity(1)), space
    fidelity = _fidelity(settings, recipe, data, space)
    settings["fidelity"] = str(fidelity)
    learns = settings["strategy"] in (None, "predictor")
    if score_names(settings) and not learns:
        raise ValueError(
            f"--scores: strategy {settings['strategy']!r} does not learn from scores; "
            "leave them out, or use --strategy predictor"
        )
    recipe = fitted(recipe, fidelity, images=data.train)
    return Measuring(Proxy, data, recipe, fidelity), space


def _fidelity(
    settings: Mapping[str, Any], recipe: Recipe, data: Survey, space: StagedSpace
) -> Fidelity:
    text = settings["fidelity"]
    if text == "auto":
        from nas.fidelity.answers import recommended

        known = recommended(data.digests, space, recipe)
        if known is None:
            raise ValueError(
                "--fidelity auto: nothing is known, or nothing was worth using, for this data, "
                f"space and recipe; see python -m nas.fidelity --data {settings['data']} "
                f"--space {space.name}"
            )
        return known
    return fidelity_of(text or "", recipe, settings["changes"], images=data.train)


def load_data(settings: Mapping[str, Any], measuring: Measuring) -> Data:
    """The images, decoded here once for all workers of this machine or cluster."""
    from train.data import load

    minival, root = measuring.recipe.minival, settings["data_root"]
    seed = settings.get("split", 0)
    return load(settings["data"], minival=minival, seed=seed, root=root, test=False)


def evaluator_maker(
    settings: Mapping[str, Any], measuring: Measuring, space: StagedSpace, data: Data
) -> Callable[[], Evaluator]:
    """What makes the evaluator in each worker's process."""
    if measuring.kind is Proxy:
        return proxy_maker(settings, measuring, data)
    return functools.partial(_zero_cost, settings, measuring, space, data)


def proxy_maker(
    settings: Mapping[str, Any], measuring: Measuring, data: Data
) -> Callable[[], Evaluator]:
    """The same of trainings, which any space of networks may be evaluated by."""
    return functools.partial(
        Proxy, data, measuring.recipe, measuring.fidelity,
        device=settings["device"], cache=_cache(settings),
    )  # fmt: skip


def _zero_cost(
    settings: Mapping[str, Any], measuring: Measuring, space: StagedSpace, data: Data
) -> ZeroCost:
    from nas.evaluators.zero_cost import DEFAULT, ZeroCost, first_batch

    size, seed = space.settings["resolution"], settings["seed"]
    images, targets = first_batch(data, measuring.recipe, size=size, seed=seed)
    return ZeroCost(images, targets, scores=score_names(settings) or DEFAULT, seed=seed)


def score_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The scores that --scores names; ValueError where one is none."""
    from nas.evaluators.zero_cost_scores import SCORES

    names = [name.strip() for name in (settings["scores"] or "").split(",") if name.strip()]
    return tuple(one_of("scores", name, SCORES) for name in names)


def with_scores(
    settings: Mapping[str, Any], measuring: Measuring, space: StagedSpace, data: Data,
    strategy: Strategy,
) -> Strategy:  # fmt: skip
    """The strategy, with the cheap scores that it was asked to learn from."""
    if measuring.kind is not Proxy or settings["scores"] is None:
        return strategy
    assert isinstance(strategy, Predictor)
    cheap = _zero_cost(settings, measuring, space, data)
    return replace(strategy, scores=lambda genotypes: cheap.features(space, genotypes)[1])


def _cache(settings: Mapping[str, Any]) -> Cache | None:
    """The results that all searches share; "off" is none."""
    if settings["cache"] == "off":
        return None
    return Cache(Path(settings["cache"]).resolve() if settings["cache"] else None)


def plan_of(settings: Mapping[str, Any], measuring: Measuring) -> Plan:
    """The loop's plan."""
    dear = measuring.kind is Proxy
    asha = None
    if dear and settings["scheduler"] == "asha":
        per_epoch = steps_per_epoch(
            measuring.recipe, used_images(measuring.fidelity, measuring.data.train)
        )
        first = settings["grace"] or first_judged(measuring.steps, per_epoch)
        asha = Asha(measuring.steps, first=first, factor=settings["factor"])
    return Plan(
        budget=settings["budget"], seed=settings["seed"], asha=asha,
        finalists=settings["finalists"] if dear else 0,
        repeats=settings["repeats"] if dear else 1,
        seconds=settings["max_time"], failures=settings["max_failures"],
        chance=chance_limit(measuring.data.chance, measuring.images),
    )  # fmt: skip


@dataclass(frozen=True)
class Search:
    """A search that can begin; `space` is that of the networks, without measured costs."""

    settings: dict[str, Any]
    measuring: Measuring
    space: StagedSpace
    history: History
    strategy: Strategy
    plan: Plan
    places: Slots
    tables: dict[str, Times]


def run_by_measurement(
    settings: dict[str, Any], out: str | None, *, known: Mapping[str, Any] | None, started: float
) -> int:
    """The whole search that the settings ask for; the command's exit code.

    known  the outcome so far of the search in `out` that goes on; None for a new one.
    """
    kept = Path(out) if known is not None and out else None
    search = prepared(settings, kept)
    study = None
    if settings["storage"] is not None:  # before a folder is made: a mistake leaves nothing
        study = _study(search, settings["storage"], resume=kept is not None)
    with record.results_folder(out, resume=kept is not None) as folder:
        return _in_folder(folder, search, study, known, started=started)


def _in_folder(
    folder: Path, search: Search, study: Study | None, known: Mapping[str, Any] | None, *,
    started: float,
) -> int:  # fmt: skip
    """The search itself; `study` is that of --storage."""
    settings, kept = search.settings, known is not None
    file = (folder / "study.db").resolve()
    if kept and study is None and not file.is_file():
        raise ValueError(f"resume: {file} is gone, and with it what the search has found")
    keep_times(folder, search.tables)
    record.write_search(folder, settings, status="running", **(known or {}))
    with study or _study(search, f"sqlite:///{file}", resume=False) as study:
        if known and study.known < known.get("evaluated", 0):
            raise ValueError(f"resume: {study.place} is not the study of the search in {folder}")
        if known:
            retry_infrastructure(study)
        study.sync(search.history)
        each = opening(folder, search, study.place)
        plan = search.plan
        return conduct(
            folder, settings, search.history, search.measuring.described,
            functools.partial(_loop, search, folder, study),
            started=started - (known or {}).get("seconds", 0.0),
            total=plan.budget + plan.finalists * (plan.repeats - 1), each=each,
            past=(known or {}).get("seconds", 0.0),
        )  # fmt: skip


def prepared(settings: dict[str, Any], kept: Path | None) -> Search:
    """Everything a search needs, checked; fills in what the settings left open.

    kept  the folder of a search that goes on.
    """
    measuring, the_space = prepare(settings)
    aimed = aims(settings, the_space, fallback="predictor", kept=kept)
    space, objective, strategy, tables = aimed
    settings["budget"] = settings["budget"] or BUDGET
    digest = key_of(measuring.data.digests)
    if settings.setdefault("data_sha256", digest) != digest:
        raise ValueError(f"resume: {settings['data']} does not hold the images of the search")
    history = History(space, objective)
    if not len(sample_fresh(history, 1, np.random.default_rng(0))):
        raise ValueError(f"limits: no network was found that keeps all of {objective.all_limits}")
    return Search(
        settings, measuring, the_space, history, strategy,
        plan_of(settings, measuring), slots(settings, measuring), tables,
    )  # fmt: skip


def _loop(search: Search, folder: Path, study: Study, update: Callable[[History], None]) -> str:
    """Search into the history; how it ended."""
    settings, measuring, places = search.settings, search.measuring, search.places
    data, kept = load_data(settings, measuring), _checkpoints(folder, search)
    workers = OnCluster(
        evaluator_maker(settings, measuring, search.space, data), search.history.space,
        steps=measuring.steps, slots=places.workers, cpus=places.cpus, gpus=places.gpus,
        address=settings["address"], timeout=settings["timeout"], folder=kept,
        images=measuring.images,
    )  # fmt: skip
    try:
        status = search_asynchronously(
            search.history,
            with_scores(settings, measuring, search.space, data, search.strategy),
            workers, search.plan, study=study, record=update,
        )  # fmt: skip
    finally:
        workers.close()
    if settings["checkpoints"] is None:
        shutil.rmtree(kept, ignore_errors=True)  # what killed ones have left
    with contextlib.suppress(OSError):  # other drivers may have trainings there
        kept.rmdir()
    return status


def _checkpoints(folder: Path, search: Search) -> Path:
    """Where trainings keep what they can go on from; in a folder of --checkpoints, which many
    searches may share, each has its own, and all drivers of one search the same."""
    settings = search.settings
    if settings["checkpoints"] is None:
        return (folder / "trainings").resolve()
    own = {
        **_identity(search), **search.space.settings, "space": search.space.name,
        "study": settings["study"] if settings["storage"] else str(folder.resolve()),
    }  # fmt: skip
    return Path(settings["checkpoints"], key_of(own)[:16])


def _study(search: Search, storage: str, *, resume: bool) -> Study:
    """The record of the search: a file in the folder, or what all drivers of a database share.

    resume  whether the study must be there already.
    """
    settings, history = search.settings, search.history
    if resume:
        read_settings(storage, settings["study"])
    return open_study(
        storage, settings["study"], history.space, history.objective,
        settings=_identity(search), resume=True,
    )  # fmt: skip


def _identity(search: Search) -> dict[str, Any]:
    """What all drivers of a search must agree about, beside its space and aims."""
    settings = search.settings
    names = ("recipe", "changes", "fidelity", "scheduler", "seed", "strategy", "evaluator",
             "scores", "grace", "factor")  # fmt: skip
    trained = {"norm_statistics": NORM_STATISTICS} if search.measuring.kind is Proxy else {}
    return {
        **{name: settings[name] for name in names}, **trained,
        "data": search.measuring.data.digests, "times": settings.get("times_sha256", {}),
    }  # fmt: skip
