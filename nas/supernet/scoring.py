"""Setup of searches with a supernet: shared weights, evaluator, verdict and space."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from nas import data_space
from nas.asha import Asha
from nas.evaluators.base import Evaluator
from nas.evaluators.proxy import DataIdentity, Fidelity
from nas.evaluators.supernet import Shared
from nas.fidelity.plan import longest_of, spread
from nas.history import History
from nas.lengths import fidelity_of
from nas.search.aims import aims
from nas.search.config import SearchConfig
from nas.search.setup import cache_of
from nas.storage.cache import key_of
from nas.strategies.base import Strategy, sample_fresh
from nas.supernet.judge import Judge
from nas.supernet.judged import judged
from nas.supernet.shared import recipe_of, trained_weights
from nas.supernet.verdict import UNCHECKED
from search_spaces.space import SearchSpace
from search_spaces.staged import StagedSpace
from train.data import Data, load
from train.data.summary import DataSummary, summarise
from train.length import check_batch, names_epochs
from train.parser import check_device, print_notes
from train.recipe import NORM_STATISTICS, Recipe, change, preset
from train.start import check_random_start
from train.supernet.sandwich import Sandwich
from train.supernet.training import WEIGHTS, SupernetTraining
from train.supernet.weights import check_space
from vbs.console import print_err
from vbs.text import counted

POOL = 4096  # random networks within the limits, for which the supernet is trained


@dataclass(frozen=True)
class Sharing:
    """Evaluation of networks with shared weights; implements `nas.search.job.Measurement`.

    recipe    recipe of stand-alone trainings, not fitted to a fidelity.
    fidelity  fidelity of the trainings of judge and finalists.
    shared    recipe of the shared weights.
    labels    weight of the labels in the targets of smaller networks, from 0 to 1; see
              `train.supernet.sandwich.Sandwich`.
    """

    data: DataSummary
    recipe: Recipe
    fidelity: Fidelity
    shared: Recipe
    labels: float

    @cached_property
    def described(self) -> Evaluator:
        """Description of the evaluator for reports; it cannot evaluate."""
        evaluator = Evaluator()
        evaluator.name, evaluator.unit, evaluator.axis = Shared.name, Shared.unit, Shared.axis
        evaluator.scored_on, evaluator.train_images = self.data.minival, self.data.train
        evaluator.chance = self.data.chance
        return evaluator

    @property
    def steps(self) -> int:
        """Points of a learning curve; a score is a single point."""
        return 1

    @property
    def first_rung(self) -> int:
        """Point after which networks are first compared."""
        return 1

    @property
    def digests(self) -> Mapping[str, str]:
        """Digests of the images by split."""
        return self.data.digests

    @property
    def identity(self) -> dict[str, Any]:
        """Values that must be equal in all drivers of a search, in addition to its options."""
        return {
            "norm_statistics": NORM_STATISTICS,
            "data": self.digests,
            "supernet": {**self.shared.to_dict(), "labels": self.labels},
        }

    def preview(self, budget: int, asha: Asha | None) -> list[str]:
        """Return the lines that describe the search before it starts."""
        return [
            f"each of {counted(budget, 'network')}: scored on {self.data.minival:,} held-out "
            "images with the weights of a supernet, which is trained first"
        ]

    def start(
        self, config: SearchConfig, space: SearchSpace, strategy: Strategy
    ) -> tuple[Callable[[], Evaluator], Strategy]:
        """Train the supernet, unless its weights are cached, and judge it.

        Returns a function that creates the evaluator in a worker, and the strategy.
        """
        assert config.data is not None
        data = load(config.data, minival=self.recipe.minival, root=config.data_root, test=False)
        cache = cache_of(config.cache)
        assert cache is not None  # see prepare_supernet
        history = limited(config, space)
        training = training_of(history, data, self.shared, labels=self.labels)
        key = key_of(training.identity())
        folder = cache.folder.parent / "supernets" / key[:32]
        trained = trained_weights(training, folder, device=config.device)
        make = functools.partial(
            Shared,
            data,
            folder / WEIGHTS,
            key,
            training.recipe,
            device=config.device,
            cache=cache,
        )
        self.described.notes = (UNCHECKED,)
        if config.judge:
            judge = Judge(
                history.space,
                DataIdentity(self.data.digests, self.recipe.minival),
                spread(history.space, history.objective, config.judge),
                self.recipe,
                self.fidelity,
                len(data.train),
                self.data.minival,
            )
            found = judged(judge, trained, make(), config)
            self.described.notes = tuple(found.lines)
        print_err(*self.described.notes)
        return make, strategy


def limited(config: SearchConfig, space: SearchSpace) -> History:
    """Return an empty history with the space (with measured costs) and the objective."""
    aimed = aims(config, space, fallback="evolution")
    return History(aimed.space, aimed.objective)


def training_of(history: History, data: Data, recipe: Recipe, *, labels: float) -> SupernetTraining:
    """Return the training of the supernet for all networks that a search may evaluate.

    history  history of the search; only networks within its limits are trained.
    recipe   recipe of this training; see `nas.supernet.shared.recipe_of`.
    labels   weight of the labels; see `train.supernet.sandwich.Sandwich`.
    """
    space = history.space
    pool = sample_fresh(history, POOL, np.random.default_rng(0))
    pool = pool[np.argsort(space.costs(pool).flops, kind="stable")]
    side = space.resolution
    assert side is not None
    return SupernetTraining(Sandwich(space, pool, labels=labels), data, recipe, side)


def prepare_supernet(config: SearchConfig) -> tuple[SearchConfig, Sharing, StagedSpace]:
    """Return the config with all options set, the `Sharing`, and the space.

    `Sharing` and space are fitted to the data. No image is decoded and no training starts.

    Raises ValueError if options, space and images contradict each other.
    """
    if config.data is None:
        raise ValueError(
            "--data is missing; --evaluator supernet needs images, e.g. --data imagefolder:DIR"
        )
    if config.cache == "off":
        raise ValueError(
            "--cache: off is not allowed; use a folder, in which the weights of the supernet are "
            "stored"
        )
    recipe = change(preset(config.recipe), config.changes)
    check_random_start(recipe, "a search")
    if not recipe.minival:
        raise ValueError("--set minival: the search needs held-out images; use e.g. minival=0.1")
    data = summarise(config.data, minival=recipe.minival, root=config.data_root)
    print_notes(data.notes)
    if len(data.classes) < 2:
        raise ValueError(f"data: {config.data} has one class; there is nothing to learn")
    check_batch(recipe, data.train)
    config.check_sizes()
    name = config.space or "compact"
    space = data_space.space_for(
        data,
        name,
        resolution=config.resolution,
        classes=config.classes,
        width=config.width,
        small_images=config.small_images,
    )
    check_space(space)
    config = config.resolved(name, space)
    check_device(config.device, local=config.address is None)
    strategy = config.strategy or "evolution"
    fidelity = _fidelity(config, recipe, data)
    config = replace(config, fidelity=str(fidelity), strategy=strategy)
    shared = recipe_of(recipe, config.supernet_epochs)
    return config, Sharing(data, recipe, fidelity, shared, config.supernet_labels), space


def _fidelity(config: SearchConfig, recipe: Recipe, data: DataSummary) -> Fidelity:
    """Return the fidelity of the judge: the user's, or the default longest of `nas.fidelity`."""
    if config.fidelity:
        return fidelity_of(config.fidelity, recipe, config.changes, images=data.train)
    return longest_of(recipe, images=data.train, named=names_epochs(config.changes))
