"""Warnings during a search about accuracies that chance or noise may explain."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nas.evaluators.base import Evaluator
from nas.evaluators.proxy import Fidelity, used_images
from nas.history import History
from train.recipe import Recipe
from vbs.console import print_err
from vbs.noise import Doubt, doubt_of

if TYPE_CHECKING:
    from train.data.summary import DataSummary

LONGER = 3  # factor of the epochs that are suggested


def doubt_about(history: History, evaluator: Evaluator) -> Doubt | None:
    """Return the doubt about a search so far; None if there is none or the images are unknown.

    If networks were stopped early, all are compared at the first step at which one was stopped.
    """
    if not evaluator.scored_on or not len(history):
        return None
    rows = np.flatnonzero(np.isfinite(history.accuracy) & (history.seed == 0))
    last = history.steps.last[rows]
    step = int(last[last > 0].min()) if last.any() else 0
    accuracies = history.accuracy[rows]
    when = ""
    if (history.fidelity[rows] < 1).any() and step:
        accuracies = history.steps.at(step)[rows]
        when = f"after {step} of {evaluator.steps} epochs "
    return doubt_of(
        accuracies,
        images=evaluator.scored_on,
        chance=evaluator.chance,
        deviation=history.deviation(),
        when=when,
    )


def advised(doubt: Doubt, evaluator: Evaluator) -> str:
    """Return a doubt and its remedies as printed."""
    return f"{doubt.text}" + (f"; {evaluator.remedies}" if evaluator.remedies else "")


def remedies(
    recipe: Recipe,
    fidelity: Fidelity,
    data: DataSummary,
    *,
    larger: str = "larger networks (a higher target)",
) -> str:
    """Return suggestions that make the accuracies of trainings more certain, with options.

    larger  phrase that suggests larger networks.
    """
    steps = max(1, used_images(fidelity, data.train) // recipe.batch) * fidelity.epochs
    longer = replace(fidelity, epochs=LONGER * fidelity.epochs)
    parts = [f"longer trainings (--fidelity {longer}; these take {steps:,} optimizer steps)"]
    held_of_train = recipe.minival * (data.train + data.minival)
    if abs(data.minival - held_of_train) <= len(data.classes):
        parts.append(f"a larger minival (--set minival={min(0.5, 2 * recipe.minival):g})")
    parts += [larger, "pretrained weights (train.run NETWORK --recipe finetune --init WEIGHTS)"]
    return f"possible remedies: more images, {', '.join(parts[:-1])}, or {parts[-1]}"


class Watch:
    """Callback that checks the history of a search, and prints each kind of doubt once on stderr.

    The time of a check is proportional to the length of the history, so the next check is made
    when the history is 5% longer.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._printed: set[str] = set()
        self._next = 0  # rows of the history at the next check

    def __call__(self, history: History) -> None:
        """Check the history and print a new doubt."""
        if len(history) < self._next:
            return
        self._next = len(history) + max(1, len(history) // 20)
        doubt = doubt_about(history, self._evaluator)
        if doubt is not None and doubt.kind not in self._printed:
            self._printed.add(doubt.kind)
            print_err(f"warning: {advised(doubt, self._evaluator)}")
