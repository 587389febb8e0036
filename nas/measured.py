"""A search by measurement: what it will do, said beforehand; then the workers, study and loop."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas import data_space, record
from nas.asha import Asha
from nas.asynchronous import Plan, search_asynchronously
from nas.conduct import aims, conduct
from nas.evaluators.base import Evaluator
from nas.evaluators.proxy import Fidelity, Proxy, fitted, image_seconds, used_images
from nas.history import History
from nas.storage.cache import Cache, key_of
from nas.storage.study import Study, open_study
from nas.strategies.base import Strategy, feasible_share, sample_fresh
from nas.strategies.predictor import Predictor
from nas.units import short, short_seconds
from nas.workers import OnCluster
from search_spaces.architecture import Architecture
from search_spaces.catalog import one_of
from search_spaces.staged import StagedSpace
from train.recipe import Recipe, change, preset
from train.survey import Survey, survey

if TYPE_CHECKING:
    from nas.evaluators.zero_cost import ZeroCost
    from train.data import Data

BUDGET = 64  # networks, where the user names no number
EVALUATION = 1 / 3  # what an image costs to be scored, beside being trained on


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
        return evaluator

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
    if not recipe.minival:
        raise ValueError("--set minival: a search needs images to choose by; use e.g. 0.1")
    data = survey(settings["data"], minival=recipe.minival, root=settings["data_root"])
    space = data_space.space_for(
        data, settings["space"] or "compact", resolution=settings["resolution"],
        classes=settings["classes"], width=settings["width"],
        small_images=settings["small_images"],
    )  # fmt: skip
    settings.update(space.settings, space=space.name)
    fidelity = _fidelity(settings, recipe, data, space)
    settings["fidelity"] = str(fidelity)
    recipe = fitted(recipe, fidelity, images=data.train)
    one_of("scheduler", settings["scheduler"], ("asha", "fifo"))
    learns = settings["strategy"] in (None, "predictor")
    if score_names(settings) and settings["evaluator"] == "proxy" and not learns:
        raise ValueError(
            f"--scores: strategy {settings['strategy']!r} does not learn from scores; "
            "leave them out, or use --strategy predictor"
        )
    if settings["evaluator"] == "proxy":
        return Measuring(Proxy, data, recipe, fidelity), space
    from nas.evaluators.zero_cost import ZeroCost

    return Measuring(ZeroCost, data, recipe, fidelity), space


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
    return Fidelity.parse(text or "", epochs=recipe.epochs)


def load_data(settings: Mapping[str, Any], measuring: Measuring) -> Data:
    """The images, decoded here once for all workers of this machine or cluster."""
    from train.data import load

    minival, root = measuring.recipe.minival, settings["data_root"]
    return load(settings["data"], minival=minival, root=root, test=False)


def evaluator_maker(
    settings: Mapping[str, Any], measuring: Measuring, space: StagedSpace, data: Data
) -> Callable[[], Evaluator]:
    """What makes the evaluator in each worker's process."""
    if measuring.kind is Proxy:
        return functools.partial(
            Proxy, data, measuring.recipe, measuring.fidelity,
            device=settings["device"], cache=_cache(settings),
        )  # fmt: skip
    return functools.partial(_zero_cost, settings, measuring, space, data)


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
    asha = Asha(measuring.steps) if dear and settings["scheduler"] == "asha" else None
    return Plan(
        budget=settings["budget"], seed=settings["seed"], asha=asha,
        finalists=settings["finalists"] if dear else 0,
        repeats=settings["repeats"] if dear else 1,
        seconds=settings["max_time"], failures=settings["max_failures"],
    )  # fmt: skip


def opening(
    folder: Path, settings: Mapping[str, Any], measuring: Measuring, history: History, plan: Plan,
    *, place: str,
) -> None:  # fmt: skip
    """Say what the search will do, how long that takes, and where results go."""
    space, objective, data = history.space, history.objective, measuring.data
    share = feasible_share(space, objective, np.random.default_rng(0))
    shown = f"{100 * share:.2g}%" if share else "less than 0.01%"
    limits = ", ".join(_limit(name, largest) for name, largest in objective.all_limits)
    print(f"space {space.name}: {space.size:.3g} networks for {space.settings['resolution']} px "
          f"images of {len(data.classes)} classes, {shown} of them within {limits}",
          file=sys.stderr)  # fmt: skip
    if measuring.kind is Proxy:
        count = used_images(measuring.fidelity, data.train)
        print(f"each of {plan.budget} networks: {measuring.steps} epochs of {count:,} images by "
              f"recipe {measuring.recipe.name}, scored on {data.minival:,} held out",
              file=sys.stderr)  # fmt: skip
    _print_times(settings, measuring, history, plan)
    print(f"results go to {folder}/, every evaluation at once to {place}",
          file=sys.stderr, flush=True)  # fmt: skip


def _limit(name: str, largest: float) -> str:
    seconds = name in ("latency", "step_time")
    return f"{name} {short_seconds(largest) if seconds else short(largest)}"


def _print_times(
    settings: Mapping[str, Any], measuring: Measuring, history: History, plan: Plan
) -> None:
    workers = settings["workers"]
    if settings["address"] is not None:
        print(f"{workers} networks at once on the cluster at {settings['address']}",
              file=sys.stderr)  # fmt: skip
        return
    if measuring.kind is not Proxy:
        print(f"{workers} networks at once", file=sys.stderr)
        return
    each = expected_seconds(measuring, history, threads=max(1, int(settings["cpus"])))
    begun = plan.budget * expected_share(plan.asha, measuring.steps)
    repeats = plan.finalists * (plan.repeats - 1)
    total = (begun + repeats) * each / workers
    stopped = ", as most are stopped early" if plan.asha is not None else ""
    print(f"about {each:.0f} s a training (a network of median FLOPs was timed), {workers} at "
          f"once: about {_minutes(total)} in all{stopped}, {repeats} further trainings of the "
          f"{plan.finalists} best included", file=sys.stderr)  # fmt: skip
    if settings["max_time"] is not None:
        print(f"no new network after {_minutes(settings['max_time'])}", file=sys.stderr)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def expected_share(asha: Asha | None, steps: int) -> float:
    """The share of all epochs that are trained where 1 in `factor` goes on from each rung."""
    if asha is None:
        return 1.0
    ends = [*asha.rungs, steps]
    begins = [0, *asha.rungs]
    parts = [
        (end - begin) / asha.factor**rung
        for rung, (begin, end) in enumerate(zip(begins, ends, strict=True))
    ]
    return sum(parts) / steps


def expected_seconds(measuring: Measuring, history: History, *, threads: int) -> float:
    """Seconds of one full training here, from a few steps of a network of median FLOPs."""
    draws = sample_fresh(history, 33, np.random.default_rng(0))
    if not len(draws):
        return float("nan")
    middle = np.argsort(history.space.costs(draws).flops)[len(draws) // 2]
    network = history.space.decode(draws[middle])
    assert isinstance(network, Architecture)
    each = image_seconds(network, measuring.recipe, threads=threads)
    trained = used_images(measuring.fidelity, measuring.data.train)
    images = trained + EVALUATION * measuring.data.minival
    return each * images * measuring.steps


def run_by_measurement(
    settings: dict[str, Any], out: str | None, *, resume: bool, started: float
) -> int:
    """The whole search that the settings ask for; the command's exit code."""
    measuring, the_space = prepare(settings)
    space, objective, strategy = aims(settings, the_space, fallback="predictor")
    settings["budget"] = settings["budget"] or BUDGET
    digest = key_of(measuring.data.digests)
    if settings.setdefault("data_sha256", digest) != digest:
        raise ValueError(f"resume: {settings['data']} does not hold the images of the search")
    slots(settings)
    plan = plan_of(settings, measuring)
    folder = Path(out) if resume and out else record.new_folder(out)
    history = History(space, objective)
    record.write_search(folder, settings, status="running")
    with _study(folder, settings, measuring, history, resume=resume) as study:
        opening(folder, settings, measuring, history, plan, place=study.place)

        def loop(update: Callable[[History], None]) -> str:
            data = load_data(settings, measuring)
            make = evaluator_maker(settings, measuring, the_space, data)
            workers = OnCluster(
                make, space, steps=measuring.steps, slots=settings["workers"],
                cpus=settings["cpus"], gpus=settings["gpus"], address=settings["address"],
                timeout=settings["timeout"], folder=(folder / "trainings").resolve(),
            )  # fmt: skip
            try:
                return search_asynchronously(
                    history, with_scores(settings, measuring, the_space, data, strategy),
                    workers, plan, study=study, record=update,
                )  # fmt: skip
            finally:
                workers.close()

        return conduct(
            folder, settings, history, measuring.described, loop,
            started=started, total=plan.budget + plan.finalists * (plan.repeats - 1),
        )  # fmt: skip


def _study(
    folder: Path, settings: Mapping[str, Any], measuring: Measuring, history: History, *,
    resume: bool,
) -> Study:  # fmt: skip
    """The record of the search: a file in the folder, or what all drivers of a database share."""
    names = ("recipe", "changes", "fidelity", "scheduler", "seed", "strategy", "evaluator")
    identity = {name: settings[name] for name in names} | {"data": measuring.data.digests}
    shared = settings["storage"] is not None
    storage = settings["storage"] or f"sqlite:///{(folder / 'study.db').resolve()}"
    return open_study(
        storage, settings["study"], history.space, history.objective, settings=identity,
        resume=resume or shared,
    )  # fmt: skip


def slots(settings: dict[str, Any]) -> None:
    """Fill in how many trainings run at once, and on what each."""
    has = _resources(settings["address"])
    if settings["gpus"] is None:
        settings["gpus"] = 1.0 if settings["device"] != "cpu" and has["gpus"] else 0.0
    if settings["workers"] is None:
        fits = [has[name] / settings[name] for name in has if settings[name]]
        settings["workers"] = max(1, int(min(fits, default=1)))


def _resources(address: str | None) -> dict[str, float]:
    """Processors and GPUs of the cluster, or of this machine."""
    if address is not None:
        from train.ray_connect import connect, total

        connect(address)
        return {"cpus": total("CPU"), "gpus": total("GPU")}
    import torch

    return {"cpus": float(os.cpu_count() or 1), "gpus": float(torch.cuda.device_count())}
