"""Comparison of fidelities from a config: `run_fidelity`."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nas.evaluators.base import Answer
from nas.fidelity import record
from nas.fidelity.comparison import Comparison, prepare
from nas.fidelity.config import COMMAND, FIGURE, RECORD, FidelityConfig
from nas.fidelity.progress import Trainings, print_estimate, print_preview
from nas.fidelity.result import FidelityResult
from nas.fidelity.trainings import Job, Work, run_all, seconds_per_image
from nas.slots import slots
from nas.storage.cache import Cache, default_folder
from train.cluster.place import Place
from train.parser import check_device
from train.recipe import change, preset
from train.start import check_random_start
from vbs.command import resume_command
from vbs.folder import results_folder
from vbs.progress import Progress
from vbs.runs import opened_run
from vbs.signals import interrupted_with


def run_fidelity(
    config: FidelityConfig | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> FidelityResult:
    """Train networks at several fidelities and compare their ranks, as `python -m nas.fidelity`.

    config   options; None to resume.
    out      folder of the results; None: a new runs/fidelity-N.
    resume   whether to resume the comparison in `out`, with the options stored there.
    changes  options of a resumed comparison that change, such as {"workers": 2}.

    Raises ValueError for options that contradict each other, `vbs.failures.InfrastructureError` if
    the machine or the cluster fails, and KeyboardInterrupt after Ctrl-C.
    """
    started, place = time.monotonic(), None if out is None else str(out)
    with opened_run(COMMAND, config, out=out, resume=resume, changes=changes) as known:
        if known is not None:
            earlier = record.read_earlier(known, changes or {})
            comparison = prepare(earlier.config, earlier.recipe)
            earlier.check_same(comparison)
        else:
            assert config is not None  # see opened_run
            recipe = change(preset(config.recipe), config.changes)
            check_random_start(recipe, "nas.fidelity")
            comparison = prepare(config, recipe)
        config = comparison.config
        check_device(config.device, local=config.address is None)
        places = slots(config)
        with results_folder(
            place, kind="fidelity", files=(RECORD, FIGURE), command="nas.fidelity", resume=resume
        ) as folder:
            return _in_folder(folder, comparison, places, started)


def _in_folder(
    folder: Path, comparison: Comparison, place: Place, started: float
) -> FidelityResult:
    record.write(folder, comparison, "running")
    device = _device(comparison.config, place)
    command = resume_command(COMMAND.program, folder)
    with interrupted_with(f"interrupted; resume by: {command}"):
        print_preview(folder, comparison, processes=place.slots, device=device)
        answers = _trained(folder.resolve(), comparison, place, device)
        judged = record.finish(folder, comparison, answers)
    return FidelityResult(folder, comparison.config, judged, time.monotonic() - started, comparison)


def _device(config: FidelityConfig, place: Place) -> str:
    """Return the device of the trainings.

    A single training at a time runs in this process, on the device of the options. Worker processes
    use "cpu", or "cuda" if each of them has a GPU.
    """
    if place.slots == 1 and place.address is None:
        from train.distributed import pick_device

        return str(pick_device(config.device))
    return "cuda" if place.gpus else "cpu"


def _trained(folder: Path, comparison: Comparison, place: Place, device: str) -> dict[Job, Answer]:
    """Return the answers of all trainings, from the cache or by training."""
    cache, jobs = Cache(), comparison.jobs()
    keys = {job: comparison.key(job, device) for job in jobs}
    found = {job: cache.get(key) for job, key in keys.items()}
    answers = {job: answer for job, answer in found.items() if answer is not None}
    missing = [job for job in jobs if job not in answers]
    if not missing:
        return answers
    # a single training at a time in this process uses all its threads
    alone = place.slots == 1 and place.address is None
    middle = np.linspace(0, len(comparison.genotypes) - 1, 3).astype(int)
    seconds = (
        math.nan
        if place.address
        else seconds_per_image(
            comparison.space,
            comparison.genotypes[middle],
            comparison.timed,
            device=device,
            threads=0 if alone else max(1, int(place.cpus)),
        )
    )
    print_estimate(comparison, missing, seconds / min(place.slots, len(missing)))
    works = {job: _work(folder, comparison, job, device) for job in missing}
    trainings = Trainings(comparison, missing)
    with Progress(trainings.state()) as progress:
        for job, answer in run_all(works, None if alone else place):
            answers[job] = answer
            if not answer.error and cache.get(keys[job]) is None:  # trained on another machine
                cache.put(keys[job], answer)
            trainings.update(job, answer, progress)
    return answers


def _work(folder: Path, comparison: Comparison, job: Job, device: str) -> Work:
    config = comparison.config
    assert config.data is not None
    assert config.space is not None
    return Work(
        config.data,
        config.data_root,
        comparison.recipe,
        comparison.fidelities[job.fidelity],
        config.space,
        config.sizes(),
        comparison.genotypes[job.network],
        job.seed,
        device,
        default_folder(),
        folder / "unfinished" / comparison.folder_name(job),
    )
