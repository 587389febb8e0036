"""Named networks, each trained for a short while with several seeds: on a laptop or a cluster.

This is a search by measurement (`nas.search.asynchronous`) that chooses nothing: its space has one
decision, which network. So it has all that a search has: every result is in an Optuna study the
moment it ends, a network that was trained before is not trained again, several drivers may share
the work, failures are rows with their reasons.
"""

from __future__ import annotations

import functools
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.evaluators.proxy import Fidelity, Proxy, fitted, used_images
from nas.history import History
from nas.lengths import fidelity_of, length_lines
from nas.objective import Objective
from nas.search.asynchronous import Plan, search_asynchronously
from nas.search.preview import training_seconds
from nas.search.setup import Measuring, load_data, proxy_maker
from nas.search.workers import OnCluster
from nas.slots import slots
from nas.storage.retry import retry_infrastructure
from nas.storage.study import Study, open_study
from nas.storage.study_settings import SearchIdentity
from nas.strategies.base import fresh
from scaling.certainty import Scored, doubt_about
from scaling.options import DATA, ComparisonOptions
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.space import SearchSpace
from train.cluster.jobs import Place
from train.data.summary import survey
from train.length import enough_epochs
from train.parser import check_device, print_notes
from train.recipe import NORM_STATISTICS, Recipe, change, check_random_start, preset
from vbs.accuracy import mean_error
from vbs.console import print_err
from vbs.progress import Pulse, seconds_left, timing

DECISION = "network"
# a training of the usual fidelity: images of an epoch, of those so many for each class at least,
# and of all epochs together; 8 epochs of a fifth of CIFAR-10
IMAGES, OF_A_CLASS, SEEN = 9_000, 90, 72_000
EPOCHS = (8, 60)  # least and most of it


@dataclass(frozen=True)
class InOrder:
    """The strategy that proposes every network, one after the other."""

    count: int
    generation: int = 1

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """The next ones, int8 [k, 1]."""
        return fresh(np.arange(self.count, dtype=np.int8)[:, None], history)[:count]


@dataclass(frozen=True)
class Result:
    """What is known of one network.

    accuracies  minival accuracy in percent, by seed.
    seconds     mean of a training. errors: reasons of those that failed, by seed.
    images      that the accuracies were read on, the same for all networks; 0: unknown.
    """

    accuracies: Mapping[int, float]
    seconds: float
    errors: Mapping[int, str]
    images: int = 0

    @property
    def mean(self) -> float:
        """Mean accuracy over the seeds; NaN where there is none."""
        values = list(self.accuracies.values())
        return float(np.mean(values)) if values else math.nan

    @property
    def error(self) -> float:
        """Error of the mean accuracy in points, of the seeds and of the images
        (`vbs.accuracy.mean_error`); NaN where nothing is known. Networks that are compared on the
        same images are known better against each other."""
        return mean_error(list(self.accuracies.values()), self.images)

    def to_json(self) -> dict[str, Any]:
        """Plain data, seeds as text."""
        return {
            "accuracies": {str(seed): round(x, 3) for seed, x in self.accuracies.items()},
            "mean": None if math.isnan(self.mean) else round(self.mean, 3),
            "standard_error": None if math.isnan(self.error) else round(self.error, 3),
            "seconds": None if math.isnan(self.seconds) else round(self.seconds, 1),
            "errors": {str(seed): reason for seed, reason in self.errors.items()},
            "images": self.images,
        }


def usual_fidelity(recipe: Recipe, images: int, classes: int) -> Fidelity:
    """How much of a training suits so many training images, where the user names nothing; never
    fewer optimizer steps than the recipe's `least_steps`."""
    share = min(1.0, math.ceil(1000 * max(IMAGES, OF_A_CLASS * classes) / images) / 1000)
    least, most = EPOCHS
    epochs = min(most, max(least, round(SEEN / (share * images))))
    used = used_images(Fidelity(epochs, share=share), images)
    return Fidelity(enough_epochs(recipe, used, epochs=epochs), share=share)


def measuring_of(options: ComparisonOptions, *, split: int = 0) -> Measuring:
    """Data, recipe and fidelity of the trainings.

    split  seed that draws the minival.

    Raises ValueError for what does not go together.
    """
    check_device(options.device, local=options.address is None)
    recipe = change(preset(options.recipe), options.changes)
    check_random_start(recipe, "this command")
    if not recipe.minival:
        raise ValueError("--set minival: networks need images to be judged by; use e.g. 0.1")
    source = options.data or DATA
    data = survey(source, minival=recipe.minival, seed=split, root=options.data_root)
    print_notes(data.notes)
    if len(data.classes) < 2:
        raise ValueError(f"data: {source} has one class; there is nothing to learn")
    text = options.fidelity
    if text is None:
        text = str(usual_fidelity(recipe, data.train, len(data.classes)))
    fidelity = fidelity_of(text, recipe, options.changes, images=data.train)
    return Measuring(Proxy, data, fitted(recipe, fidelity, images=data.train), fidelity)


def length_of(measuring: Measuring) -> str:
    """The length of a training, as printed."""
    return length_lines(measuring.recipe, measuring.fidelity, images=measuring.data.train)[0]


def free_resolution(measuring: Measuring) -> None:
    """ValueError where recipe or fidelity give all networks one input side, though they are to be
    compared at their own."""
    recipe = measuring.recipe
    if recipe.resolution or recipe.eval_resolution:
        raise ValueError(
            f"resolution: a side of {recipe.resolution or recipe.eval_resolution} px for all would "
            "undo what candidates grow by; leave it out of --fidelity and --set (the proxy's is "
            "--proxy-resolution)"
        )


def expected_seconds(
    networks: Sequence[Architecture], measuring: Measuring, *, device: str, threads: int
) -> float:
    """Seconds of one training here: a few steps of the network of median FLOPs are timed."""
    middle = sorted(networks, key=lambda network: cost(network).flops)[len(networks) // 2]
    return training_seconds(middle, measuring, device=device, threads=threads)


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """How networks are trained that are compared.

    seeds   each network is trained with seeds 0 to seeds - 1.
    folder  of the study, unless the options name a storage, and of unfinished trainings.
    places  None: what the options ask for, or what fits.
    split   seed that draws the minival.
    """

    options: ComparisonOptions
    measuring: Measuring
    seeds: int
    folder: Path
    places: Place | None = None
    split: int = 0


def train_all(
    networks: Mapping[str, Architecture],
    trainings: Trainings,
    *,
    update: Callable[[dict[str, Result]], None] = lambda _: None,
    retry_failed: bool = False,
) -> dict[str, Result]:
    """Train every network with every seed; what is known by now, by name.

    update        called with what is known: of the study at first, then whenever it has grown.
    retry_failed  whether what failed before is trained again.

    A network that failed with seed 0 is not trained with others.

    Raises ValueError where the study was made with other networks or settings, or no worker can be
    had, and what `search_asynchronously` raises.
    """
    names, seeds, options = list(networks), trainings.seeds, trainings.options
    space = SearchSpace("networks", {DECISION: names}, functools.partial(_decoded, networks))
    objective = Objective(max(cost(net).flops for net in networks.values()), "feasible")
    history = History(space, objective)
    plan = Plan(
        budget=len(names), finalists=len(names), repeats=seeds, failures=options.max_failures
    )
    with _study(space, objective, networks, trainings) as study:
        if retry_failed:
            study.retry_failed()
        else:
            retry_infrastructure(study)
        study.sync(history)
        update(results(names, history))
        if _missing(history, len(names), seeds):
            workers = _workers(space, trainings)
            try:
                search_asynchronously(
                    history,
                    InOrder(len(names)),
                    workers,
                    plan,
                    study=study,
                    record=lambda known: update(results(names, known)),
                )
            finally:
                workers.close()
    # what killed trainings have left
    shutil.rmtree(trainings.folder / "trainings", ignore_errors=True)
    return results(names, history)


def _workers(space: SearchSpace, trainings: Trainings) -> OnCluster:
    options, measuring = trainings.options, trainings.measuring
    data = load_data(options, measuring, split=trainings.split)
    return OnCluster(
        proxy_maker(options, measuring, data),
        space,
        measuring.described,
        trainings.places or slots(options),
        timeout=options.timeout,
        folder=(trainings.folder / "trainings").resolve(),
    )


def _missing(history: History, networks: int, seeds: int) -> bool:
    """Whether a training is to come."""
    if history.networks < networks:
        return True
    first = history.genotypes[history.full & (history.seed == 0), 0]
    return any((history.genotypes[:, 0] == index).sum() < seeds for index in first)


def _decoded(networks: Mapping[str, Architecture], choices: Mapping[str, Any]) -> Architecture:
    return networks[choices[DECISION]]


def _study(
    space: SearchSpace,
    objective: Objective,
    networks: Mapping[str, Architecture],
    trainings: Trainings,
) -> Study:
    options, measuring = trainings.options, trainings.measuring
    identity = {
        "recipe": options.recipe,
        "changes": list(options.changes),
        "norm_statistics": NORM_STATISTICS,
        "fidelity": str(measuring.fidelity),
        "data": measuring.data.digests,
        "networks": {name: network.key for name, network in networks.items()},
    }
    storage = options.storage or f"sqlite:///{(trainings.folder / 'study.db').resolve()}"
    search = SearchIdentity(space, objective, identity)
    return open_study(storage, options.study, search, resume=True)


def results(names: Sequence[str], history: History) -> dict[str, Result]:
    """What a history says of each network that it knows, by name."""
    found: dict[str, Result] = {}
    for index, name in enumerate(names):
        rows = np.flatnonzero(history.genotypes[:, 0] == index)
        good = [row for row in rows if history.full[row]]
        if len(rows):
            found[name] = Result(
                {int(history.seed[row]): float(history.accuracy[row]) for row in good},
                float(np.mean(history.seconds[good])) if good else math.nan,
                {
                    int(history.seed[row]): str(history.error[row])
                    for row in rows
                    if history.error[row]
                },
                int(history.images[good].min()) if good else 0,
            )
    return found


class Remaining:
    """A context manager that prints on stderr how far the trainings are: at most forty lines for
    those that end, and one at least every half minute.

    total   trainings in all. `update` is called with what is known, first of all with what was
            trained before.
    scored  how they are scored; a doubt about the networks is printed once of each kind.
    """

    def __init__(self, total: int, scored: Scored | None = None) -> None:
        self._scored, self._warned = scored, set[str]()
        self._total, self._known, self._done, self._printed = total, -1, 0, 0
        self._best = ""
        self._began = time.monotonic()
        self._pulse = Pulse(self._print)

    def __enter__(self) -> Remaining:
        self._pulse.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._pulse.__exit__(*error)

    def update(self, found: Mapping[str, Result]) -> None:
        """Print how many are trained, where enough have ended since the last line."""
        self._done = sum(len(one.accuracies) + len(one.errors) for one in found.values())
        if self._known < 0:
            self._known = self._printed = self._done
            if self._done:
                print_err(f"{self._done:>4} of {self._total} were trained before")
        means = [one.mean for one in found.values() if one.accuracies]
        self._best = f", best {max(means):.2f}%" if means else ""
        self._warn(found)
        new = self._done - self._printed
        if new and (new >= self._total // 40 or self._done == self._total):
            self._print()

    def _warn(self, found: Mapping[str, Result]) -> None:
        doubt = None if self._scored is None else doubt_about(found, self._scored)
        if doubt is not None and doubt.kind not in self._warned:
            assert self._scored is not None
            self._warned.add(doubt.kind)
            print_err(f"warning: {doubt.text}; {self._scored.remedies}")

    def _print(self) -> None:
        self._printed = self._done
        self._pulse.reported()
        spent = time.monotonic() - self._began
        known = max(self._known, 0)
        left = seconds_left(spent, self._done - known, self._total - known)
        times = timing(spent, left if self._done < self._total else math.nan)
        print_err(f"{self._done:>4} of {self._total} trained, {times}{self._best}")
