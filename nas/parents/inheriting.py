"""Setup of searches from pretrained weights: parent, teacher, evaluator and space."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nas.asha import Asha
from nas.evaluators.base import Evaluator
from nas.evaluators.inherited import Inherited
from nas.evaluators.quantised import check_installed
from nas.parents.starting import Starting
from nas.parents.teacher import Teacher, teacher_of
from nas.search.config import SearchConfig
from nas.search.setup import cache_of
from nas.strategies.base import Strategy
from search_spaces.architecture import Architecture
from search_spaces.parent import parent_space, total_stride
from search_spaces.space import SearchSpace
from search_spaces.staged import StagedSpace
from train.data import load
from train.data.summary import DataSummary, summarise
from train.distill import check_teacher
from train.length import check_batch, enough_epochs, names_epochs
from train.parents import Parent, load_parent
from train.parser import check_device, print_notes
from train.recipe import NORM_STATISTICS, Recipe, change, preset
from train.start import check_pretrained_start
from train.state import resolved
from vbs.text import counted, quoted

RECIPE = "finetune"  # default recipe here; other searches train from random weights
EPOCHS = 6  # epochs of the parent by that recipe; smaller networks train longer (finalists.py)
# Changes of a recipe that request a teacher. By default there is no teacher, because without it the
# same time allows more epochs: a network of a third of the size of Lite0 reached 95.9% in 163 s
# without a teacher, and 94.0% in 131 s with one (one seed; experiments/finetuned_children.py).
DISTILLATION = ("teacher", "temperature")


@dataclass(frozen=True)
class Inheriting:
    """Evaluation of a parent's sub-networks on images; implements `nas.search.job.Measurement`.

    recipe     recipe for fine-tuning networks, without a teacher.
    elastic    epochs of training the teacher together with its sub-networks; 0: none.
    quantised  whether accuracies are those of networks in int8.
    """

    data: DataSummary
    teacher: Teacher
    recipe: Recipe
    elastic: int = 0
    quantised: bool = False

    @property
    def source(self) -> str:
        """The file of the weights that networks inherit."""
        return str(self.teacher.source(self.elastic))

    @property
    def described(self) -> Evaluator:
        """Description of the evaluator for reports; it cannot evaluate."""
        evaluator = Evaluator()
        bits = ", in int8" * self.quantised
        evaluator.name = Inherited.name
        evaluator.unit, evaluator.axis = f"{Inherited.unit}{bits}", f"{Inherited.axis}{bits}"
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
            "parent": self.teacher.parent.digest,
            **({"elastic": self.elastic} if self.elastic else {}),
        }

    def preview(self, budget: int, asha: Asha | None) -> list[str]:
        """Return the lines that describe the search before it starts."""
        parent = self.teacher.network
        return [
            f"each of {counted(budget, 'network')} inherits from {self.teacher.parent.source} at "
            f"{parent.resolution} px and is scored on {self.data.minival:,} held-out images"
        ]

    def start(
        self, config: SearchConfig, space: SearchSpace, strategy: Strategy
    ) -> tuple[Callable[[], Evaluator], Strategy]:
        """Return a function that creates the evaluator in a worker, and the strategy."""
        assert config.data is not None
        data = load(config.data, minival=self.recipe.minival, root=config.data_root, test=False)
        make = functools.partial(
            Inherited,
            data,
            self.source,
            self.recipe,
            score=config.score,
            device=config.device,
            cache=cache_of(config.cache),
            quantised=self.quantised,
        )
        return make, Starting(strategy)


def parent_cost(space: SearchSpace, name: str) -> float:
    """Return a cost of the parent, the network of the first options of its space."""
    return space.costs(np.zeros((1, len(space.choices)), np.int8)).get(name)[0].item()


def prepare_parent(config: SearchConfig) -> tuple[SearchConfig, Inheriting, StagedSpace]:
    """Return the config with all options set, the `Inheriting`, and the space of the parent.

    Parent and space are fitted to the data. No image is decoded and no training starts.

    Raises ValueError if options, parent and images contradict each other.
    """
    assert config.parent is not None
    if config.data is None:
        raise ValueError("--data is missing; --parent needs images, e.g. --data imagefolder:DIR")
    check_device(config.device, local=config.address is None)
    name = RECIPE if config.recipe == SearchConfig.recipe else config.recipe
    recipe = change(preset(name), config.changes)
    check_pretrained_start(recipe)
    if not recipe.minival:
        raise ValueError("--set minival: the search needs held-out images; use e.g. minival=0.1")
    data = summarise(config.data, minival=recipe.minival, root=config.data_root)
    print_notes(data.notes)
    parent = load_parent(config.parent)
    network = _fitted(parent, config, data)
    check_batch(recipe, data.train)
    check_teacher(recipe, len(data.classes))
    if not names_epochs(config.changes):
        epochs = EPOCHS if name == RECIPE else recipe.epochs
        epochs = enough_epochs(recipe, data.train, epochs=epochs)
        config = replace(config, changes=(f"epochs={epochs}", *config.changes))
        recipe = change(preset(name), config.changes)
    recipe = _for_parent(recipe, parent, config)
    teacher = teacher_of(
        parent,
        network,
        resolved(recipe, network),
        changes=config.changes,
        digests=data.digests,
    )
    space = parent_space(network)
    config = replace(config, recipe=name, evaluator="inherited")
    quantised = config.quantised is not None
    if quantised:
        check_installed()
    return config, Inheriting(data, teacher, recipe, config.elastic, quantised), space


def _for_parent(recipe: Recipe, parent: Parent, config: SearchConfig) -> Recipe:
    """Return the recipe with the parent's mean and std and no teacher, unless changes set them."""
    if parent.mean and parent.std and not _names(config, "mean", "std"):
        recipe = replace(recipe, mean=parent.mean, std=parent.std)
    return recipe if _names(config, *DISTILLATION) else replace(recipe, teacher_weight=0.0)


def _fitted(parent: Parent, config: SearchConfig, data: DataSummary) -> Architecture:
    """Return the parent's architecture with the classes and the side of the images.

    Raises ValueError if it cannot be trained on them.
    """
    network = parent.architecture
    if network.in_channels != 3:
        raise ValueError(
            f"--parent: {quoted(parent.source)} needs {network.in_channels} channels, but images "
            "have 3"
        )
    classes = len(data.classes)
    if config.classes is not None and config.classes != classes:
        raise ValueError(
            f"classes: {config.classes} is not allowed; the data have {classes} classes"
        )
    if classes < 2:
        raise ValueError("data: the images have one class; there is nothing to learn")
    if data.train < classes:
        raise ValueError(
            f"data: {data.train:,} training images are fewer than the {classes:,} classes"
        )
    side = config.resolution or min(data.side or network.resolution, network.resolution)
    least = total_stride(network)
    if side < least:
        raise ValueError(
            f"resolution: {side} px is not allowed; the parent's strides need at least {least} px: "
            f"use --resolution {least} or more"
        )
    return replace(network, classes=classes, resolution=side)


def _names(config: SearchConfig, *fields: str) -> bool:
    """Return whether the user changes one of these fields of the recipe."""
    return any(text.startswith(fields) for text in config.changes)
