"""Batch-norm statistics that describe the current weights from the first optimizer step on.

Running means and variances are moving averages. With a small momentum (TensorFlow's .99, which is
.01 here) they contain their initial values for hundreds of steps, and a short training is evaluated
with statistics that fit no weights. The momentum is therefore larger at first: after n batches it
is `WINDOW / (n + WINDOW)`, so that the first batch replaces the initial statistics and the average
covers a share of the batches so far. It never falls below the network's own momentum, which applies
from about `WINDOW / momentum` batches on: long trainings are what they are without this.

Where the statistics are close to right already (pretrained weights, another input size of
progressive learning), the momentum begins at `NEAR` instead of 1. Measured in
experiments/norm_statistics.py. What lags behind even so, early in a training, is measured again
before it is used (train/recalibrate.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

WINDOW = 20  # batches; after n of them the average covers about n / WINDOW
NEAR = 0.1  # first momentum where the statistics are nearly right


def norm_momentum(own: float, batches: int, *, near: bool = False) -> float:
    """The momentum of the next batch, in PyTorch's convention.

    own      the network's momentum; 0 (statistics never change) stays 0.
    batches  that the statistics have been averaged over so far.
    near     whether the statistics were close to right before the first batch.
    """
    if not own:
        return own
    if near:
        batches += round(WINDOW / NEAR) - WINDOW
    return max(own, WINDOW / (batches + WINDOW))


def settled_after(own: float) -> int:
    """Batches from which on the momentum is the network's own."""
    return round(WINDOW / own) - WINDOW if own else 0


class NormStatistics:
    """Applies `norm_momentum` to the batch norms of a network.

    first, near  batch at which the average begins, and whether it begins close to right.
    """

    def __init__(self, network: nn.Module, *, near: bool = False) -> None:
        self._norms = [
            module
            for module in network.modules()
            if isinstance(module, _BatchNorm) and module.track_running_stats and module.momentum
        ]
        self._before: list[Tensor] = []
        self.first, self.near = 0, near

    def begin_at(self, first: int, *, near: bool) -> None:
        """Average from batch `first` (of the whole run, from 0) on."""
        self.first, self.near = first, near

    @contextlib.contextmanager
    def batch(self, number: int) -> Iterator[None]:
        """Around forward and backward pass of the training batch of that number (from 0).

        The norms store the statistics of the batch alone (momentum 1) and are averaged after the
        backward pass, which needs them unchanged. The modules' momentum thus has two values in all:
        torch.compile compiles again for each value, and gives up after eight.
        """
        own = self._own()
        momentum = norm_momentum(own, number - self.first, near=self.near)
        if momentum <= own:
            yield
            return
        values = [each for norm in self._norms for each in (norm.running_mean, norm.running_var)]
        if not self._before:
            self._before = [torch.empty_like(value) for value in values]
        torch._foreach_copy_(self._before, values)
        for norm in self._norms:
            norm.momentum = 1.0
        try:
            yield
        finally:
            for norm in self._norms:
                norm.momentum = own
        with torch.no_grad():
            torch._foreach_lerp_(values, self._before, 1.0 - momentum)

    def _own(self) -> float:
        active = any(norm.training for norm in self._norms)
        return self._norms[0].momentum or 0.0 if active else 0.0
