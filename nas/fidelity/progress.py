"""What a comparison of fidelities prints on stderr: a preview, and its progress."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.evaluators.base import Answer
from nas.evaluators.proxy import fitted
from nas.fidelity.comparison import Comparison
from nas.fidelity.doubts import Watch
from nas.fidelity.trainings import Job
from nas.lengths import length_lines
from vbs.console import print_err
from vbs.progress import Pulse, seconds_left, timing
from vbs.text import shell_word
from vbs.units import clock, short


def print_preview(folder: Path, comparison: Comparison, *, processes: int, device: str) -> None:
    """Print on stderr what is trained, on what, how often, and where."""
    config, data, space = comparison.config, comparison.data, comparison.space
    flops = space.costs(comparison.genotypes).flops
    target = config.target_flops
    limit = f", within {short(target)}" if target is not None else ""
    count, fidelities = len(comparison.genotypes), comparison.fidelities
    total = count * comparison.seeds * len(fidelities)
    where = "CPU" if device == "cpu" else device.split(":")[0]
    print_err(
        f"data {config.data}: {len(data.classes)} classes, {data.train:,} training images, "
        f"{data.minival:,} held out of them",
        f"space {space.name} at {space.settings['resolution']} px: {count} networks spread over "
        f"{short(flops.min())} to {short(flops.max())} FLOPs{limit}",
        f"recipe {comparison.recipe.name}: {len(fidelities)} fidelities x {count} networks x "
        f"{comparison.seeds} seeds = {total} trainings, {processes} at once on {where}",
    )
    for fidelity in fidelities:
        longest = "  (the longest, what the others are compared with)"
        recipe = fitted(comparison.recipe, fidelity, images=data.train)
        length, warning = length_lines(
            recipe, fidelity, images=data.train, option="--longest {text}"
        )
        print_err(f"  {fidelity}: {length}{longest if fidelity is fidelities[-1] else ''}")
    if warning:  # of the longest; that the others are short is what is compared
        print_err(warning)
    print_err(f"results go to {shell_word(f'{folder}/')}")


class Progress:
    """A context manager: a line on stderr for every training that ends, and every half minute.

    missing  trainings that are not known yet; seconds for a training image, with all processes.
    """

    def __init__(self, comparison: Comparison, missing: Sequence[Job], seconds: float) -> None:
        self._comparison, self._count = comparison, len(missing)
        self._left = sum(map(comparison.work, missing))
        self._done, self._ended, self._started = 0.0, 0, time.monotonic()
        all_jobs = len(comparison.jobs())
        known = f" ({all_jobs - len(missing)} more are known already)"
        print_err(
            f"{len(missing)} trainings{known if all_jobs > len(missing) else ''}: "
            f"about {clock(self._left * seconds)} in all, by a few steps that were timed"
        )
        self._pulse = Pulse(lambda: print_err(self._line()))
        fidelities, networks = comparison.fidelities, len(comparison.genotypes)
        shape = (len(fidelities), networks, comparison.seeds)
        self._watch = Watch(fidelities, comparison.data, shape)

    def __enter__(self) -> Progress:
        self._pulse.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._pulse.__exit__(*error)

    def update(self, job: Job, answer: Answer) -> None:
        """Print a line about a training that ended."""
        work = self._comparison.work(job)
        self._done, self._left, self._ended = self._done + work, self._left - work, self._ended + 1
        shown = answer.error or f"{answer.accuracy:.2f}% in {clock(answer.seconds)}"
        print_err(
            f"{self._line()}: {self._comparison.fidelities[job.fidelity]}, network {job.network}, "
            f"seed {job.seed}: {shown}"
        )
        self._watch.update(job.fidelity, job.network, job.seed, answer.accuracy)
        self._pulse.reported()

    def _line(self) -> str:
        spent = time.monotonic() - self._started
        left = seconds_left(spent, self._done, self._done + self._left)
        return f"{self._ended:>4} of {self._count} trained, {timing(spent, left)}"
