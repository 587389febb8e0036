"""Evaluator that scores networks with weights inherited from a trained parent, in seconds."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.evaluators.base import Answer, Evaluator, Point
from nas.evaluators.inherited_scores import RATE, SCORES, Views
from nas.evaluators.proxy import DataIdentity
from nas.evaluators.quantised import on_cpu, simulated_top1
from nas.storage.cache import Cache, key_of
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace
from train.data import Data, Split, Step
from train.data.augment import Preparation
from train.distributed import limit_threads, pick_device
from train.inherit.importance import Batch
from train.inherit.inheritance import BATCH, BATCHES, Inheritance, inheritance, some_batches
from train.parents import Parent, load_parent
from train.progressive import phase
from train.recipe import Recipe
from train.steps import augmentation

DEFAULT = "steps"
TRAIN_BATCHES = 8  # batches of `BATCH` images, for batch-norm statistics and features
STEPS = 30  # steps of fine-tuning of the score "steps"
HELD_OUT_BATCH = 256
SEED = 1  # seed of the images of these steps


class Inherited(Evaluator):
    """Evaluator that scores networks of a `search_spaces.parent` space with inherited weights.

    data       images; networks are scored on `data.minival`.
    teacher    source of the trained parent, for `train.parents.load_parent`.
    recipe     recipe of fine-tuning; scores use its preparation of images and its optimizer.
    score      a name in `nas.evaluators.inherited_scores.SCORES`.
    device     "auto", "cpu", "cuda" or "cuda:N".
    cache      scores of earlier searches; None: no cache.
    quantised  whether the accuracy is that of the network in simulated int8.

    On a CPU, equal arguments and networks give equal scores.
    """

    name = "inherited"
    unit = "minival accuracy in percent before fine-tuning"
    axis = "minival accuracy before fine-tuning (%)"

    def __init__(
        self,
        data: Data,
        teacher: str,
        recipe: Recipe,
        *,
        score: str = DEFAULT,
        device: str = "auto",
        cache: Cache | None = None,
        quantised: bool = False,
    ) -> None:
        if data.minival is None:
            raise ValueError(
                "data: there are no held-out images; use a recipe with minival above 0"
            )
        self.data, self.teacher, self.recipe, self.score = data, teacher, recipe, score
        self.scored_on = len(data.minival)
        self._device, self._cache, self.quantised = device, cache, quantised

    def get_ready(self, space: SearchSpace) -> None:
        """Load the parent, and measure the importance of its channels."""
        limit_threads()
        assert self._inheritance is not None

    def curve(
        self,
        space: SearchSpace,
        genotype: np.ndarray,
        *,
        seed: int = 0,
        folder: Path | None = None,
    ) -> Iterator[Point]:
        """Yield the score of one network as a single point."""
        child = space.decode(genotype)
        key = "" if self._cache is None else key_of(self.identity(child))
        known = None if self._cache is None else self._cache.get(key)
        if known is not None:
            yield from known.curve
            return
        started = time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            network = self._inheritance.network(child).to(self._where)
            views = self._views(child.resolution)
            value = SCORES[self.score](network, views, self.recipe)
            if self.quantised:
                value = simulated_top1(network.cpu(), on_cpu(views.train), on_cpu(views.held_out))
        point = Point(1, value, time.perf_counter() - started)
        if self._cache is not None:
            self._cache.put(key, Answer.of_curve([point], images=self.scored_on))
        yield point

    def identity(self, child: Architecture) -> dict[str, Any]:
        """Return everything that a score depends on, as plain data."""
        return {
            "network": json.loads(child.to_json()),
            "teacher": self._parent.digest,
            "recipe": self.recipe.to_dict(),
            "data": asdict(DataIdentity.of(self.data)),
            "score": [self.score, TRAIN_BATCHES, STEPS, BATCHES, BATCH, RATE],
            "device": self._where.type,
            **({"quantised": "int8"} if self.quantised else {}),
        }

    @functools.cached_property
    def _where(self) -> torch.device:
        return pick_device(self._device)

    @functools.cached_property
    def _inheritance(self) -> Inheritance:
        network = self._parent.network().to(self._where)
        preparation = preparation_of(self.recipe, self._parent.architecture.resolution)
        batches = some_batches(self.data.train, preparation, device=self._where)
        return inheritance(network, batches, self._parent.importance)

    @functools.cached_property
    def _parent(self) -> Parent:
        return load_parent(self.teacher)

    @functools.lru_cache(maxsize=16)  # noqa: B019, one evaluator lives as long as its process
    def _views(self, side: int) -> Views:
        return views_of(self.data, self.recipe, side, device=self._where)


def views_of(data: Data, recipe: Recipe, side: int, *, device: torch.device) -> Views:
    """Return the images for scoring networks of an input side; equal for all networks."""
    assert data.minival is not None
    preparation = preparation_of(recipe, side)
    train = some_batches(data.train, preparation, device=device, count=TRAIN_BATCHES, batch=BATCH)
    count = -(-len(data.minival) // HELD_OUT_BATCH)
    held_out = some_batches(
        data.minival, preparation, device=device, count=count, batch=HELD_OUT_BATCH
    )
    return Views(train, _augmented(data.train, recipe, side, device), held_out)


def preparation_of(recipe: Recipe, side: int) -> Preparation:
    """Return the preparation of the recipe's evaluation images for an input side."""
    return Preparation(size=side, crop_share=recipe.eval_crop, mean=recipe.mean, std=recipe.std)


def _augmented(split: Split, recipe: Recipe, side: int, device: torch.device) -> list[Batch]:
    """Return `STEPS` augmented training batches, from as many epochs as necessary."""
    rng = np.random.default_rng(SEED)
    orders: list[np.ndarray] = []
    while len(orders) < STEPS:
        orders.extend(split.order(rng, min(recipe.batch, len(split))))
    steps = [Step(order, slice(None), SEED + n) for n, order in enumerate(orders[:STEPS])]
    last = phase(replace(recipe, resolution=side), recipe.epochs - 1)
    found = split.batches(steps, augmentation(recipe, last, side=side), device=device, workers=0)
    return [(images.clone(), targets.clone()) for images, targets in found]
