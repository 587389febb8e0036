"""Short trainings of given networks with several seeds, on one machine or a cluster.

The trainings are a search with workers (`nas.search.asynchronous`) over a space with one
decision, the network. They have all properties of such a search: every result is written to an
Optuna study at once, no training is repeated, several processes may share the work, and failures
are recorded with their reasons.
"""

from __future__ import annotations

import contextlib
import functools
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from scaling.training_result import Result
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.space import SearchSpace
from train.cluster.place import Place
from train.data.summary import summarise
from train.length import enough_epochs
from train.parser import check_device, print_notes
from train.recipe import NORM_STATISTICS, Recipe, change, preset
from train.start import check_random_start
from vbs.progress import Progress, State

DECISION = "network"
# the usual fidelity: images of an epoch, fewest images of an epoch per class, images of all
# epochs together; for CIFAR-10, 8 epochs of a fifth of the images
IMAGES, OF_A_CLASS, SEEN = 9_000, 90, 72_000
EPOCHS = (8, 60)  # smallest and largest number of epochs
LINES = 40  # approximate number of progress lines


@dataclass(frozen=True)
class InOrder:
    """A strategy that proposes every network in order."""

    count: int
    generation: int = 1

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return the next networks, int8 [k, 1]."""
        return fresh(np.arange(self.count, dtype=np.int8)[:, None], history)[:count]


def usual_fidelity(recipe: Recipe, images: int, classes: int) -> Fidelity:
    """Return the default fidelity for this number of training images.

    It has at least as many optimizer steps as the recipe's `least_steps`.
    """
    share = min(1.0, math.ceil(1000 * max(IMAGES, OF_A_CLASS * classes) / images) / 1000)
    least, most = EPOCHS
    epochs = min(most, max(least, round(SEEN / (share * images))))
    used = used_images(Fidelity(epochs, share=share), images)
    return Fidelity(enough_epochs(recipe, used, epochs=epochs), share=share)


def measuring_of(options: ComparisonOptions, *, split: int = 0) -> Measuring:
    """Return data, recipe and fidelity of the trainings.

    split  seed of the random split into training and minival images.

    Raises ValueError for options that contradict each other.
    """
    check_device(options.device, local=options.address is None)
    recipe = change(preset(options.recipe), options.changes)
    check_random_start(recipe, "this command")
    if not recipe.minival:
        raise ValueError("--set minival: the trainings need held-out images; use e.g. minival=0.1")
    source = options.data or DATA
    data = summarise(source, minival=recipe.minival, seed=split, root=options.data_root)
    print_notes(data.notes)
    if len(data.classes) < 2:
        raise ValueError(f"data: {source} has one class; there is nothing to learn")
    text = options.fidelity
    if text is None:
        text = str(usual_fidelity(recipe, data.train, len(data.classes)))
    fidelity = fidelity_of(text, recipe, options.changes, images=data.train)
    return Measuring(Proxy, data, fitted(recipe, fidelity, images=data.train), fidelity)


def length_of(measuring: Measuring) -> str:
    """Return the length of a training as it is printed."""
    return length_lines(measuring.recipe, measuring.fidelity, images=measuring.data.train)[0]


def free_resolution(measuring: Measuring) -> None:
    """Raise ValueError if recipe or fidelity set one input side for all networks."""
    recipe = measuring.recipe
    if recipe.resolution or recipe.eval_resolution:
        raise ValueError(
            f"resolution: {recipe.resolution or recipe.eval_resolution} px for all candidates is "
            "not allowed, because they grow in resolution; leave it out of --fidelity and --set, "
            "and use --proxy-resolution for the proxy"
        )


def expected_seconds(
    networks: Sequence[Architecture], measuring: Measuring, *, device: str, threads: int
) -> float:
    """Return the seconds of one training here, from a few steps of the network of median FLOPs."""
    middle = sorted(networks, key=lambda network: cost(network).flops)[len(networks) // 2]
    return training_seconds(middle, measuring, device=device, threads=threads)


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """How compared networks are trained.

    seeds   number of seeds: 0 to seeds - 1.
    folder  folder of the study, unless the options name a storage, and of unfinished trainings.
    places  resources of the workers; None: from the options, or all that fit.
    split   seed of the random split into training and minival images.
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
    """Train every network with every seed; return the results by name.

    update        function that is called with the results of the study at first, and again
                  whenever there are new ones.
    retry_failed  whether to repeat trainings that failed before.

    A network that failed with seed 0 is not trained with other seeds.

    Raises ValueError if the study has other networks or settings, or if no worker is available,
    and the exceptions of `search_asynchronously`.
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
    # remove files of killed trainings
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
    """Return whether a training is missing."""
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
    """Return the results of each network in a history, by name."""
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


@contextlib.contextmanager
def progress_of(
    trainings: int, scored: Scored | None = None
) -> Iterator[Callable[[Mapping[str, Result]], None]]:
    """Show the progress of trainings; yields a function that takes the current results.

    The first call must contain the results of earlier trainings.

    scored  how networks are scored; a doubt about them is printed once for each kind.
    """
    with contextlib.ExitStack() as stack:
        shown: Progress | None = None

        def update(found: Mapping[str, Result]) -> None:
            nonlocal shown
            state = _state(found, trainings)
            if shown is None:
                shown = stack.enter_context(Progress(state, lines=LINES))
            shown.update(state)
            doubt = None if scored is None else doubt_about(found, scored)
            if doubt is not None and scored is not None:
                shown.warn(doubt.kind, f"{doubt.text}; {scored.remedies}")

        yield update


def _state(found: Mapping[str, Result], trainings: int) -> State:
    """Return the number of ended trainings, and the best mean accuracy in percent."""
    ended = sum(len(one.accuracies) + len(one.errors) for one in found.values())
    means = [one.mean for one in found.values() if one.accuracies]
    best = (f"best {max(means):.2f}%",) if means else ()
    return State(ended, trainings, "trained", notes=best)
