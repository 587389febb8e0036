"""Evaluator that scores networks with the weights of a supernet, which all networks share."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.evaluators.base import Answer, Evaluator, Point
from nas.evaluators.inherited import HELD_OUT_BATCH, preparation_of
from nas.evaluators.inherited_scores import accuracy, recalibrate
from nas.evaluators.proxy import DataIdentity
from nas.storage.cache import Cache, key_of
from search_spaces.architecture import Architecture
from search_spaces.network import build
from search_spaces.space import SearchSpace
from train.data import Data
from train.distributed import limit_threads, pick_device
from train.inherit.importance import Batch
from train.inherit.inheritance import BATCH, some_batches
from train.recipe import Recipe
from train.supernet.training import read_supernet
from train.supernet.weights import child_weights
from vbs.failures import InfrastructureError

CALIBRATION = 8  # batches of `BATCH` training images, for batch-norm statistics


class Shared(Evaluator):
    """Evaluator by held-out accuracy with shared weights and recalibrated batch norm.

    data     images; networks are scored on `data.minival`.
    weights  file that `train.supernet.training.train_supernet` wrote.
    key      key of these weights: a hash of everything that they depend on.
    recipe   recipe with the preparation of the images.
    device   "auto", "cpu", "cuda" or "cuda:N".
    cache    scores of earlier searches; None: no cache.

    On a CPU, equal arguments and networks give equal scores.
    """

    name = "supernet"
    unit = "minival accuracy in percent with the weights of the supernet"
    axis = "minival accuracy with shared weights (%)"

    def __init__(
        self,
        data: Data,
        weights: Path,
        key: str,
        recipe: Recipe,
        *,
        device: str = "auto",
        cache: Cache | None = None,
    ) -> None:
        assert data.minival is not None
        self.data, self.weights, self.key, self.recipe = data, weights, key, recipe
        self.scored_on = len(data.minival)
        self._device, self._cache = device, cache

    def get_ready(self, space: SearchSpace) -> None:
        """Load the shared weights."""
        limit_threads()
        assert self._tensors

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
        network = build(child)
        network.load_state_dict(child_weights(self._tensors, child))
        network = network.to(self._where, memory_format=torch.channels_last)
        calibration, held_out = self._batches(child.resolution)
        recalibrate(network, calibration)
        point = Point(1, accuracy(network, held_out), time.perf_counter() - started)
        if self._cache is not None:
            self._cache.put(key, Answer.of_curve([point], images=self.scored_on))
        yield point

    def identity(self, child: Architecture) -> dict[str, Any]:
        """Return everything that a score depends on, as plain data."""
        return {
            "network": json.loads(child.to_json()),
            "supernet": self.key,
            "data": asdict(DataIdentity.of(self.data)),
            "calibration": [CALIBRATION, BATCH],
            "device": self._where.type,
        }

    @functools.cached_property
    def _where(self) -> torch.device:
        return pick_device(self._device)

    @functools.cached_property
    def _tensors(self) -> dict[str, Tensor]:
        trained = read_supernet(self.weights)
        if trained is None:
            raise InfrastructureError(f"{self.weights}: the weights of the supernet are missing")
        return trained.tensors

    @functools.lru_cache(maxsize=4)  # noqa: B019, one evaluator lives as long as its process
    def _batches(self, side: int) -> tuple[list[Batch], list[Batch]]:
        """Return training images for batch norm, and held-out images; equal for all networks."""
        assert self.data.minival is not None
        preparation = preparation_of(self.recipe, side)
        draw = functools.partial(some_batches, preparation=preparation, device=self._where)
        count = -(-len(self.data.minival) // HELD_OUT_BATCH)
        return (
            draw(self.data.train, count=CALIBRATION, batch=BATCH),
            draw(self.data.minival, count=count, batch=HELD_OUT_BATCH),
        )
