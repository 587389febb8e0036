"""The accuracy that an export loses, measured on the same images as the network in float32."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NORMAL_95 = 1.959964  # standard errors of a two-sided interval of 95%


@dataclass(frozen=True)
class Loss:
    """Top-1 accuracies in percent, and their difference.

    before, after  accuracy of the network in float32, and of the export.
    points         before - after.
    error          standard error of `points`, for accuracies on the same images.
    interval       95% confidence interval of `points`.
    divergence     mean Kullback-Leibler divergence of the export's probabilities, in nats.
    images         number of images.
    """

    before: float
    after: float
    points: float
    error: float
    interval: tuple[float, float]
    divergence: float
    images: int

    def __str__(self) -> str:
        """Return the loss as a sentence."""
        low, high = self.interval
        return (
            f"loses {self.points:.2f} ± {self.error:.2f} points of top-1 ({self.before:.2f}% to "
            f"{self.after:.2f}% on {self.images:,} images; 95% interval {low:.2f} to {high:.2f})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def accuracy_loss(before: Tensor, after: Tensor, targets: Tensor) -> Loss:
    """Compute the loss from the logits `before` and `after`, both [n, classes], with labels [n].

    The error is that of a difference of two paired proportions, by Agresti and Min 2005 ("Simple
    improved confidence intervals for comparing matched proportions"): one half is added to each of
    the four counts, so that the error is not 0 if both are right on the same images.
    """
    right, still = before.argmax(1) == targets, after.argmax(1) == targets
    lost, won = int((right & ~still).sum()), int((~right & still).sum())
    count = len(targets)
    total = count + 2
    shift = (lost - won) / total
    error = math.sqrt(max(0.0, (lost + won + 1) / total - shift**2) / total)
    logs = F.log_softmax(after.double(), 1), F.log_softmax(before.double(), 1)
    divergence = F.kl_div(*logs, reduction="batchmean", log_target=True)
    return Loss(
        before=100 * float(right.double().mean()),
        after=100 * float(still.double().mean()),
        points=100 * (lost - won) / count,
        error=100 * error,
        interval=(100 * (shift - NORMAL_95 * error), 100 * (shift + NORMAL_95 * error)),
        divergence=float(divergence),
        images=count,
    )


def as_logits(outputs: Tensor, *, probabilities: bool) -> Tensor:
    """Return logits [n, classes] from an export's outputs."""
    if not probabilities:
        return outputs
    return outputs.clamp_min(torch.finfo(torch.float32).tiny).log()
