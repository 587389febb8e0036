"""Evaluator without training, by zero-cost scores of a single batch (`zero_cost_scores`).

Scores have no common unit, so their ranks are combined instead of their values: each score of a
network is replaced by its percentile among random networks of the space, and the result is the mean
percentile.
For ImageNet networks of MBConv blocks, params and FLOPs rank as well as any other score (Kendall
tau 0.6). The benefit of the other scores differs between data sets and should be measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nas.evaluators.base import Answer, Evaluations, Evaluator
from nas.evaluators.zero_cost_scores import LEAST_IMAGES, SCORES, scores
from search_spaces.architecture import Architecture
from search_spaces.network import build
from search_spaces.space import SearchSpace
from train.data import Data, Step
from train.distributed import limit_threads
from train.recipe import Recipe
from train.state import preparation
from vbs.failures import is_infrastructure, is_out_of_memory
from vbs.text import one_of

DEFAULT = ("params", "flops", "naswot", "zico")


class Scored(NamedTuple):
    """Scores of one network.

    values   scores, float64 [k]; NaN for failed ones.
    seconds  duration of the computation.
    error    reason of a failure, or "".
    """

    values: np.ndarray
    seconds: float
    error: str


class ZeroCost(Evaluator):
    """Evaluator by mean percentiles, 0 to 100, of scores that need no training.

    images     float32 [n, channels, h, w], normalised, n >= 4; see `first_batch`. Networks run at
               this size, regardless of their resolution.
    targets    int64 [n] or float32 [n, classes].
    scores     names in `SCORES`.
    reference  number of random networks of the space for the percentiles. They are scored on first
               use, which takes as long as evaluating the same number of networks.
    seed       seed of the weights of all networks, and of the random networks.

    Equal arguments and networks give equal results, independent of the order. Raises ValueError
    for invalid images, targets or names.
    """

    name = "zero-cost"
    unit = "mean percentile of scores without training among random networks, not an accuracy"
    axis = "mean percentile of scores without training"

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        *,
        scores: Sequence[str] = DEFAULT,
        reference: int = 64,
        seed: int = 0,
    ) -> None:
        _check_batch(images, targets)
        self.scores = tuple(one_of("score", name, SCORES) for name in scores)
        if not self.scores or len(set(self.scores)) != len(self.scores):
            raise ValueError(f"scores: {list(scores)} is not allowed; use one or more, each once")
        if reference < 2:
            raise ValueError(f"reference: {reference} is not allowed; use 2 networks or more")
        self.images, self.targets = images, targets
        self.reference, self.seed = reference, seed
        self.unit = (
            f"mean percentile of {', '.join(self.scores)} among {reference} random networks of "
            "the space, 0 to 100, not an accuracy"
        )
        self._known: dict[Architecture, Scored] = {}

    def check(self, space: SearchSpace) -> None:
        """Raise ValueError if networks of the space cannot be built or do not fit the images."""
        network = space.decode(np.zeros(len(space.choices), np.int8))
        if not isinstance(network, Architecture):
            raise ValueError(
                f"zero-cost: space {space.name!r} decodes to {type(network).__name__}, which is "
                "not an Architecture and cannot be built"
            )
        channels = self.images.shape[1]
        if network.in_channels != channels:
            raise ValueError(
                f"zero-cost: networks of space {space.name!r} need {network.in_channels} channels, "
                f"but the images have {channels}"
            )
        soft = self.targets.ndim == 2
        if soft and network.classes != self.targets.shape[1]:
            raise ValueError(
                f"zero-cost: networks of space {space.name!r} have {network.classes} classes, "
                f"but the targets have {self.targets.shape[1]}"
            )
        if not soft and int(self.targets.max()) >= network.classes:
            raise ValueError(
                f"zero-cost: networks of space {space.name!r} have {network.classes} classes, "
                f"but a target is {int(self.targets.max())}"
            )

    def get_ready(self, space: SearchSpace) -> None:
        """Score the random networks of the reference."""
        limit_threads()
        self.check(space)
        self._references(space)

    def _references(self, space: SearchSpace) -> list[Scored]:
        sample = space.sample(self.reference, np.random.default_rng(self.seed))
        return [self._scored(space, genotype) for genotype in sample]

    def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
        """Return mean percentiles of genotypes int8 [n, decisions]; their std is unknown."""
        self.check(space)
        found = [self._scored(space, genotype) for genotype in genotypes]
        reference = self._references(space)
        values = np.array([each.values for each in found]).reshape(-1, len(self.scores))
        ranked = np.empty(values.shape)
        for column, name in enumerate(self.scores):
            others = np.array([each.values[column] for each in reference])
            if np.isfinite(others).sum() < 2:
                reasons = [each.error for each in reference if each.error]
                raise ValueError(f"zero-cost: no random network has a {name} ({reasons[0]})")
            ranked[:, column] = percentiles(values[:, column], others)
        answers = [
            Answer(float(accuracy), seconds=each.seconds, error=each.error)
            for accuracy, each in zip(ranked.mean(1), found, strict=True)
        ]
        return Evaluations.of_answers(answers)

    def features(
        self, space: SearchSpace, genotypes: np.ndarray
    ) -> tuple[tuple[str, ...], np.ndarray]:
        """Return the names of the scores, and their values, float64 [n, k]; NaN for failed ones."""
        self.check(space)
        rows = [self._scored(space, genotype).values for genotype in genotypes]
        return self.scores, np.array(rows).reshape(-1, len(self.scores))

    def _scored(self, space: SearchSpace, genotype: np.ndarray) -> Scored:
        """Return the scores of a network; a repeated one has the seconds of the first time."""
        architecture = space.decode(genotype)
        if architecture not in self._known:
            self._known[architecture] = self._measured(architecture)
        return self._known[architecture]

    def _measured(self, architecture: Architecture) -> Scored:
        started = time.perf_counter()
        values = np.full(len(self.scores), math.nan)
        try:
            with torch.random.fork_rng([]):
                torch.manual_seed(self.seed)
                network = build(architecture).to(self.images.device)
            found = scores(network, self.images, self.targets, names=self.scores, seed=self.seed)
            values = np.array([found[name] for name in self.scores])
            failed = [name for name in self.scores if not math.isfinite(found[name])]
            error = f"{failed[0]} is not a number" if failed else ""
        except Exception as problem:  # failures of a network are results, and not crashes
            if is_infrastructure(problem):
                raise
            error = _reason(problem)
        return Scored(values, time.perf_counter() - started, error)


def percentiles(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the percentiles of values [n] in a reference [m], 0 to 100, float64 [n].

    The i-th value of the sorted reference, from 0, has the percentile 100 (i + 1/2) / m; equal
    values have their mean, and values between two are interpolated. A value outside the range
    approaches 0 or 100 exponentially with its distance (by a factor of e per standard deviation of
    the reference), so that networks better than all of the reference are still ranked. NaN remains
    NaN, and NaN in the reference is ignored.
    """
    ordered = np.sort(reference[np.isfinite(reference)])
    points, first, repeats = np.unique(ordered, return_index=True, return_counts=True)
    places = (first + repeats / 2) / len(ordered)
    inner = np.interp(values, points, places)
    beyond = np.maximum(points[0] - values, values - points[-1]).clip(min=0)
    spread = ordered.std() or 1.0
    rest = np.exp(-beyond / spread)
    outer = np.where(values < points[0], inner * rest, 1 - (1 - inner) * rest)
    return 100 * np.where(beyond > 0, outer, inner)


def first_batch(
    data: Data, recipe: Recipe, *, size: int, count: int | None = None, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return random training images, prepared as for evaluation, and their targets.

    size   side in pixels: the networks' resolution, or less to be faster.
    count  number of images. None: 64 if `size` is at most 64 px, otherwise 16.

    float32 [n, channels, size, size] and int64 [n] (float32 [n, classes] for soft targets).
    """
    if count is None:
        count = 64 if size <= 64 else 16
    if count < LEAST_IMAGES:
        raise ValueError(f"count: {count} is not allowed; use {LEAST_IMAGES} images or more")
    how = preparation(replace(recipe, eval_resolution=size))
    chosen = np.random.default_rng(seed).permutation(len(data.train))[:count]
    return next(data.train.batches([Step(chosen, slice(0, len(chosen)), 0)], how))


def _check_batch(images: Tensor, targets: Tensor) -> None:
    if images.ndim != 4 or images.dtype != torch.float32 or len(images) < LEAST_IMAGES:
        raise ValueError(
            f"images: {images.dtype} {list(images.shape)} is not allowed; use torch.float32 "
            f"[n, channels, h, w], n of at least {LEAST_IMAGES}"
        )
    if targets.ndim not in (1, 2) or len(targets) != len(images):
        raise ValueError(
            f"targets: {list(targets.shape)} is not allowed; use one for each of the "
            f"{len(images)} images"
        )
    if targets.ndim == 1 and int(targets.min()) < 0:
        raise ValueError(f"targets: {int(targets.min())} is not a class; use 0 or more")


def _reason(problem: Exception) -> str:
    if is_out_of_memory(problem):
        return "out of memory"
    return f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0]}"
