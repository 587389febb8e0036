"""Self-training from a config: `run_noisy_student`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.cost import cost
from train.length import lengthened, names_epochs
from train.noisy_student.config import COMMAND, RECORD, NoisyStudentConfig
from train.noisy_student.record import (
    SelfTraining,
    TeacherRun,
    read_self_training,
    read_teacher_run,
)
from train.noisy_student.result import NoisyStudentResult
from train.recipe import Recipe, change, preset
from train.resolve import architecture_of
from train.start import check_random_start
from vbs.command import resume_command
from vbs.console import print_err
from vbs.folder import results_folder
from vbs.runs import opened_run
from vbs.signals import interrupted_with

if TYPE_CHECKING:
    from train.noisy_student.images import Images
    from train.pseudo_labels import Teacher

DROPOUT = DROP_PATH = 0.2  # minimum for students; the paper's survival probability is 0.8


def run_noisy_student(
    config: NoisyStudentConfig | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> NoisyStudentResult:
    """Train students in rounds, as `python -m train.noisy_student` does.

    config   options of a new run; None with `resume`.
    out      folder of the results; default: a new runs/noisy-student-N.
    resume   whether to resume the run in `out`, whose config is read from there.
    changes  options of a resumed run to change, e.g. {"unlabelled": "DIR"}.

    Raises ValueError if options do not go together, and KeyboardInterrupt after Ctrl-C outside a
    training; during a training, the result has the status "interrupted".
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("torchrun: not supported; train.noisy_student runs in one process")
    place = None if out is None else str(out)
    with opened_run(COMMAND, config, out=out, resume=resume, changes=changes) as earlier:
        if earlier is not None:
            whole = read_self_training(earlier, changes or {})
            if whole.networks is not None:
                return NoisyStudentResult(earlier, whole.config, whole.networks, "finished", "")
        else:
            assert config is not None  # see opened_run
            whole = _new(config)
        return _prepared(whole, place, resume=resume)


def _new(config: NoisyStudentConfig) -> SelfTraining:
    assert config.network is not None  # see NoisyStudentConfig.check
    base = preset(config.recipe, network=config.network, variant=config.variant or "paper")
    check_random_start(change(base, config.changes), "train.noisy_student")
    recipe = change(noisy(base), config.changes)
    return SelfTraining(config, architecture_of(config.network, config), recipe)


def noisy(recipe: Recipe) -> Recipe:
    """Return the recipe with the three kinds of noise of Noisy Student."""
    return replace(
        recipe,
        name=f"noisy-{recipe.name}",
        policy="randaugment",
        dropout=max(DROPOUT, recipe.dropout),
        drop_path=max(DROP_PATH, recipe.drop_path),
    )


def _prepared(whole: SelfTraining, out: str | None, *, resume: bool) -> NoisyStudentResult:
    # imports torch only now, so that errors in the options are reported at once
    from train.distributed import pick_device
    from train.noisy_student.images import load_images
    from train.noisy_student.rounds import run_rounds
    from train.pseudo_labels import load_teacher

    config = whole.config
    assert config.teacher is not None  # see NoisyStudentConfig.check
    pick_device(config.device)
    run = read_teacher_run(config.teacher)
    teacher = load_teacher(Path(config.teacher))
    whole = whole.remembered("teacher's weights", teacher.digest)
    images, whole = load_images(whole, run, teacher)
    whole = _fitted(whole, run, teacher, images)
    with results_folder(
        out,
        kind="noisy-student",
        files=(RECORD, "round-1"),
        command="train.noisy_student",
        resume=resume,
    ) as folder:
        whole.write(folder, [], status="running")
        again = resume_command(COMMAND.program, folder)
        with interrupted_with(f"interrupted; resume by: {again}"):
            return run_rounds(whole, folder, images, run, teacher)


def _fitted(whole: SelfTraining, run: TeacherRun, teacher: Teacher, images: Images) -> SelfTraining:
    """Complete network and recipe of the student by the data; raise ValueError on a mismatch."""
    import numpy as np

    from train.data import blend
    from train.state import resolved

    theirs, data = teacher.weights.architecture, images.data
    requested = whole.architecture
    if requested.in_channels != theirs.in_channels:
        raise ValueError(
            f"student: it has {requested.in_channels} input channels, and its teacher has "
            f"{theirs.in_channels}"
        )
    architecture = replace(requested, classes=len(data.classes))
    recipe = resolved(replace(whole.recipe, minival=run.minival), architecture)
    # raises an error for a batch without images of one kind, before labels are computed for hours
    blended = blend(data.train, data.train, ratio=whole.config.ratio)
    order = blended.order(np.random.default_rng(0), recipe.batch)
    own, other = cost(architecture).params, cost(theirs).params
    if own < other:
        print_err(
            f"warning: the student has {own:,} parameters, its teacher {other:,}; the paper's "
            "students are equal or larger"
        )
    if not names_epochs(whole.config.changes):
        recipe = lengthened(recipe, order.size)
    return replace(whole, architecture=architecture, recipe=recipe)
