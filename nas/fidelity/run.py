"""Compare fidelities from a config: `run_fidelity`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nas.evaluators.base import Answer
from nas.fidelity import record
from nas.fidelity.comparison import Comparison, prepare
from nas.fidelity.config import FIGURE, RECORD, FidelityConfig
from nas.fidelity.progress import Progress, print_preview
from nas.fidelity.report import resume_command
from nas.fidelity.result import FidelityResult
from nas.fidelity.trainings import Job, Work, run_all, seconds_per_image
from nas.storage.cache import Cache, default_folder
from train.recipe import change, check_random_start, preset
from vbs.folder import results_folder, resumed_folder
from vbs.processes import available_cpus
from vbs.signals import Interrupted


def run_fidelity(
    config: FidelityConfig | None = None, *, out: str | Path | None = None, resume: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> FidelityResult:  # fmt: skip
    """Train networks at several fidelities and compare their ranks, as `python -m nas.fidelity`.

    out      folder of the results; default: a new runs/fidelity-N.
    resume   whether to resume the comparison in `out`; its config is read from there.
    changes  options of a resumed comparison that change, such as {"workers": 2}.

    Raises ValueError for options that do not go together, `nas.fidelity.trainings.LostWorker`
    where a process that trains has died, and KeyboardInterrupt after Ctrl-C.
    """
    started, place = time.monotonic(), None if out is None else str(out)
    with resumed_folder(place, resume=resume, command="nas.fidelity"):
        if resume:
            if not place:
                raise ValueError("resume: which comparison? give its folder as --out DIR")
            earlier = record.read_earlier(Path(place), changes or {})
            comparison = prepare(earlier.config, earlier.recipe)
            earlier.check_same(comparison)
        else:
            assert config is not None, "a new comparison needs a config"
            recipe = change(preset(config.recipe), config.changes)
            check_random_start(recipe, "nas.fidelity")
            comparison = prepare(config, recipe)
        devices = _devices(comparison.config.device)
        with results_folder(
            place, kind="fidelity", files=(RECORD, FIGURE), command="nas.fidelity", resume=resume
        ) as folder:
            return _in_folder(folder, comparison, devices, started)


def _in_folder(
    folder: Path, comparison: Comparison, devices: list[str], started: float
) -> FidelityResult:
    record.write(folder, comparison, "running")
    try:
        usual = len(devices) if devices[0] != "cpu" else available_cpus()
        processes = comparison.config.workers or usual
        print_preview(folder, comparison, processes=processes, device=devices[0])
        answers = _trained(folder, comparison, devices, processes)
        judged = record.finish(folder, comparison, answers)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; resume by: {resume_command(folder)}") from None
    return FidelityResult(folder, comparison.config, judged, time.monotonic() - started, comparison)


def _devices(name: str) -> list[str]:
    """Where trainings run, in turn: the device of that name, or all GPUs of the machine."""
    import torch

    from train.distributed import pick_device

    picked = pick_device(name)
    if name in ("auto", "cuda") and picked.type == "cuda":
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [str(picked)]


def _trained(
    folder: Path, comparison: Comparison, devices: list[str], processes: int
) -> dict[Job, Answer]:
    """The answers of all trainings: what is known already, then what is missing."""
    cache, jobs = Cache(), comparison.jobs()
    found = {job: cache.get(comparison.key(job, devices[0])) for job in jobs}
    answers = {job: answer for job, answer in found.items() if answer is not None}
    missing = [job for job in jobs if job not in answers]
    if not missing:
        return answers
    # by one process in this one, which keeps the threads that it has
    threads = 0 if processes == 1 else max(1, available_cpus() // processes)
    middle = np.linspace(0, len(comparison.genotypes) - 1, 3).astype(int)
    seconds = seconds_per_image(
        comparison.space, comparison.genotypes[middle], comparison.timed,
        device=devices[0], threads=threads,
    )  # fmt: skip
    progress = Progress(comparison, missing, seconds / min(processes, len(missing)))
    works = {
        job: _work(folder, comparison, job, devices[index % len(devices)], threads)
        for index, job in enumerate(missing)
    }
    with progress:
        for job, answer in run_all(works, processes=processes):
            answers[job] = answer
            progress.update(job, answer)
    return answers


def _work(folder: Path, comparison: Comparison, job: Job, device: str, threads: int) -> Work:
    config = comparison.config
    assert config.data is not None
    assert config.space is not None
    return Work(
        config.data, config.data_root, comparison.recipe, comparison.fidelities[job.fidelity],
        config.space, config.sizes(), comparison.genotypes[job.network], job.seed, device, threads,
        default_folder(), folder / "unfinished" / comparison.folder_name(job),
    )  # fmt: skip
