"""Preview and progress of a comparison of fidelities, printed to stderr."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nas.evaluators.base import Answer
from nas.evaluators.proxy import fitted
from nas.fidelity.comparison import Comparison
from nas.fidelity.doubts import Watch
from nas.fidelity.trainings import Job
from nas.lengths import length_lines
from vbs.console import print_err
from vbs.progress import Progress, State
from vbs.text import counted, shell_word
from vbs.units import clock, short


def print_preview(folder: Path, comparison: Comparison, *, processes: int, device: str) -> None:
    """Print the data, networks, trainings and device of a comparison to stderr."""
    config, data, space = comparison.config, comparison.data, comparison.space
    flops = space.costs(comparison.genotypes).flops
    target = config.target_flops
    limit = f", within {short(target)}" if target is not None else ""
    count, fidelities = len(comparison.genotypes), comparison.fidelities
    total = count * comparison.seeds * len(fidelities)
    where = "CPU" if device == "cpu" else device.split(":")[0]
    print_err(
        f"data {config.data}: {len(data.classes)} classes, {data.train:,} training images "
        f"and {data.minival:,} held-out images",
        f"space {space.name} at {space.resolution} px: {count} networks spread over "
        f"{short(flops.min())} to {short(flops.max())} FLOPs{limit}",
        f"recipe {comparison.recipe.name}: {len(fidelities)} fidelities x {count} networks x "
        f"{counted(comparison.seeds, 'seed')} = {counted(total, 'training')}, {processes} at once "
        f"on {where}",
    )
    for fidelity in fidelities:
        longest = "  (the longest; the others are compared with it)"
        recipe = fitted(comparison.recipe, fidelity, images=data.train)
        length, warning = length_lines(
            recipe, fidelity, images=data.train, option="--longest {text}"
        )
        print_err(f"  {fidelity}: {length}{longest if fidelity is fidelities[-1] else ''}")
    if warning:  # about the longest; the other fidelities are short on purpose
        print_err(warning)
    print_err(f"results go to {shell_word(f'{folder}/')}")


class Trainings:
    """Progress of the trainings of a comparison.

    missing  trainings whose results are not in the cache.
    """

    def __init__(self, comparison: Comparison, missing: Sequence[Job]) -> None:
        self._comparison, jobs = comparison, comparison.jobs()
        self._ended, self._of = len(jobs) - len(missing), len(jobs)
        self._work = sum(map(comparison.work, jobs))
        self._done = self._work - sum(map(comparison.work, missing))
        fidelities, networks = comparison.fidelities, len(comparison.genotypes)
        shape = (len(fidelities), networks, comparison.seeds)
        self._watch = Watch(fidelities, comparison.data, shape)

    def state(self) -> State:
        """Return the number of trained networks, and their share of all work."""
        share = 1.0 if self._ended == self._of else self._done / self._work
        return State(self._ended, self._of, "trained", share=share)

    def update(self, job: Job, answer: Answer, progress: Progress) -> None:
        """Display a training that ended, and a new doubt about its fidelity."""
        self._ended, self._done = self._ended + 1, self._done + self._comparison.work(job)
        outcome = answer.error or f"{answer.accuracy:.2f}% in {clock(answer.seconds)}"
        progress.update(
            self.state(),
            note=f"{self._comparison.fidelities[job.fidelity]}, network {job.network}, "
            f"seed {job.seed}: {outcome}",
        )
        warning = self._watch.update(job.fidelity, job.network, job.seed, answer.accuracy)
        if warning:
            progress.warn(warning, warning)


def print_estimate(comparison: Comparison, missing: Sequence[Job], seconds: float) -> None:
    """Print the estimated duration of the missing trainings to stderr.

    seconds  seconds per training image, with all processes together.
    """
    known = len(comparison.jobs()) - len(missing)
    print_err(
        f"{len(missing)} trainings{f' ({known} more are already known)' if known else ''}: about "
        f"{clock(sum(map(comparison.work, missing)) * seconds)} in total, estimated from a few "
        "timed steps"
    )
