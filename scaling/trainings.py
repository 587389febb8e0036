"""Named networks, each trained for a short while with several seeds: on a laptop or a cluster.

This is a search by measurement (`nas.search.asynchronous`) that chooses nothing: its space has one
decision, which network. So it has all that a search has: every result is in an Optuna study the
moment it ends, a network that was trained before is not trained again, several processes may share
the work, failures are rows with their reasons.
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
# a training of the usual fidelity: images of an epoch, of those so many for each class at least,
# and of all epochs together; 8 epochs of a fifth of CIFAR-10
IMAGES, OF_A_CLASS, SEEN = 9_000, 90, 72_000
EPOCHS = (8, 60)  # least and most of it
LINES = 40  # about as many are printed while they are trained


@dataclass(frozen=True)
class InOrder:
    """The strategy that proposes every network, one after the other."""

    count: int
    generation: int = 1

    def propose(self, history: History, count: int, rng: np.random.Generator) -> np.ndarray:
        """The next ones, int8 [k, 1]."""
        return fresh(np.arange(self.count, dtype=np.int8)[:, None], history)[:count]


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
    places  None: what the options name, or what fits.
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
    """What a history holds of each network, by name."""
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
    """Show how far so many trainings are; gives a function of what is known by now.

    The first call is about what was trained before.

    scored  how they are scored; a doubt about the networks is printed once of each kind.
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
    """How many have ended, and the best mean accuracy in percent."""
    ended = sum(len(one.accuracies) + len(one.errors) for one in found.values())
    means = [one.mean for one in found.values() if one.accuracies]
    best = (f"best {max(means):.2f}%",) if means else ()
    return State(ended, trainings, "trained", notes=best)
