"""Warnings (doubts) about fidelities: accuracies at chance, or differences within the noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.evaluators.proxy import Fidelity
from train.data.summary import DataSummary
from vbs.accuracy import accuracy_error, pooled_deviation
from vbs.noise import Doubt, doubt_of

HELP = (
    "possible remedies: longer trainings (--longest epochs=N), more images, a larger minival "
    "(--set minival=0.2), larger networks (--target-flops)"
)


def doubt_about(accuracy: np.ndarray, data: DataSummary) -> Doubt | None:
    """Return the doubt about accuracies; None if there is none.

    accuracy  percent [networks, seeds]; NaN for missing ones.
    """
    rows = [row[np.isfinite(row)].tolist() for row in accuracy]
    known = [row for row in rows if row]
    return doubt_of(
        [sum(row) / len(row) for row in known],
        images=data.minival,
        chance=data.chance,
        deviation=pooled_deviation(known),
        trainings=min(map(len, known), default=1),
    )


def certainty(
    compared: Sequence[tuple[Fidelity, np.ndarray]], data: DataSummary, *, longest: np.ndarray
) -> list[str]:
    """Return lines with the error due to the number of images, and with every doubt.

    compared  fidelities with their accuracies in percent [networks, seeds].
    longest   accuracies of the longest fidelity.
    """
    mean = float(np.nanmean(longest)) if np.isfinite(longest).any() else 50.0
    error = float(accuracy_error(mean, data.minival))
    lines = [
        f"accuracies are measured on {data.minival:,} held-out images: their number alone causes "
        f"an error of ± {error:.2f} points at the longest, equal for all networks"
    ]
    for fidelity, accuracy in compared:
        doubt = doubt_about(accuracy, data)
        if doubt is not None:
            lines.append(f"warning: {fidelity}: {doubt.text}")
    return [*lines, HELP] if len(lines) > 1 else lines


class Watch:
    """Collector of accuracies, which reports a doubt about each fidelity at most once.

    shape  numbers of fidelities, networks and seeds.
    """

    def __init__(
        self, fidelities: Sequence[Fidelity], data: DataSummary, shape: tuple[int, int, int]
    ) -> None:
        self._fidelities, self._data = fidelities, data
        self._accuracy = np.full(shape, np.nan)
        self._found: set[int] = set()

    def update(self, fidelity: int, network: int, seed: int, accuracy: float) -> str:
        """Record an accuracy in percent (NaN: failed), and return a new doubt as text, or ""."""
        self._accuracy[fidelity, network, seed] = accuracy
        if fidelity in self._found:
            return ""
        doubt = doubt_about(self._accuracy[fidelity], self._data)
        if doubt is None:
            return ""
        self._found.add(fidelity)
        return f"{self._fidelities[fidelity]}: {doubt.text}; {HELP}"
