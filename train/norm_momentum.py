"""Momentum schedule of batch norm, for statistics that match the weights from the first step on.

Running means and variances are moving averages. With a small momentum (TensorFlow's .99, which is
.01 here) they contain their initial values for hundreds of steps, and a short training is evaluated
with statistics that match no weights. The momentum is therefore larger at first: after n batches it
is `WINDOW / (n + WINDOW)`, so that the first batch replaces the initial statistics and the average
covers a share of the batches so far. It never falls below the network's own momentum, which applies
from about `WINDOW / momentum` batches on; long trainings are not affected.

If the statistics are nearly right at the start (pretrained weights, a new input size in progressive
learning), the momentum begins at `NEAR` instead of 1. Measured in experiments/norm_statistics.py.
Early in a training the statistics still lag behind the weights; train/recalibrate.py measures them
again before an evaluation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

WINDOW = 20  # after n batches, the average covers about the last n / WINDOW of them
NEAR = 0.1  # first momentum if the statistics are nearly right


def norm_momentum(own: float, batches: int, *, near: bool = False) -> float:
    """Return the momentum of the next batch, in PyTorch's convention.

    own      momentum of the network; 0 (statistics never change) stays 0.
    batches  number of batches averaged so far.
    near     whether the statistics were nearly right before the first batch.
    """
    if not own:
        return own
    if near:
        batches += round(WINDOW / NEAR) - WINDOW
    return max(own, WINDOW / (batches + WINDOW))


def settled_after(own: float) -> int:
    """Return the number of batches after which the momentum is the network's own."""
    return round(WINDOW / own) - WINDOW if own else 0


class NormStatistics:
    """The batch norms of a network, with `norm_momentum` applied to each batch.

    first, near  batch at which the average begins, and whether it begins nearly right.
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
        """Start the average at batch `first` (of the whole run, from 0)."""
        self.first, self.near = first, near

    @contextlib.contextmanager
    def batch(self, number: int) -> Iterator[None]:
        """Wrap the forward and backward pass of a training batch; `number` counts from 0.

        The norms store the statistics of this batch alone (momentum 1). They are averaged after the
        backward pass, which needs them unchanged. The modules' momentum thus has only two values:
        torch.compile recompiles for each value and gives up after eight.
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
