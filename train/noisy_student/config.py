"""Options of `python -m train.noisy_student`."""

from __future__ import annotations

from dataclasses import dataclass

from train.options import (
    DataOptions,
    DeviceOptions,
    RecipeOptions,
    SizeOptions,
    absolute_path,
    data_text,
    network_text,
)
from vbs.config import ConfigError, option
from vbs.options import Command

RECORD = "noisy_student.json"


@dataclass(frozen=True, kw_only=True)
class NoisyStudentConfig(DataOptions, RecipeOptions, SizeOptions, DeviceOptions):
    """The teacher, student network, unlabelled images and rounds of a self-training."""

    title = "self-training"
    # fields that version 0.1 stored in the settings
    recorded = ("norm_statistics", "student_recipe", "student_architecture", "found")

    # options that may be in other places when a run is resumed; their digests are compared
    teacher: str | None = option(
        None, metavar="RUN", parse=absolute_path, later=True, help="folder of a finished run"
    )
    network: str | None = option(
        None, metavar="NETWORK", flag="student", parse=network_text, help="network to train"
    )
    unlabelled: str | None = option(None, metavar="DIR", later=True, help="images without labels")
    data: str | None = option(
        None,
        metavar="DATA",
        parse=data_text,
        later=True,
        help="labelled images (default: the teacher's)",
    )
    rounds: int = option(
        1,
        metavar="N",
        limits=(1, 1000),
        help="number of students; each one teaches the next (default 1)",
    )
    ratio: float = option(
        1.0,
        metavar="X",
        limits=(0.0, 1e3),
        help="unlabelled images for each labelled one in a batch (default 1; the paper uses 3 for "
        "larger networks)",
    )
    confidence: float = option(
        0.3,
        metavar="P",
        limits=(0.0, 1.0),
        help="lowest probability of a pseudo-label's class (default 0.3)",
    )
    per_class: int | None = option(
        None,
        metavar="N",
        limits=(1, 10**9),
        help="number of images kept in each class, the most confident; repeated if there are fewer "
        "(default: unlabelled images / classes)",
    )

    def check(self) -> None:
        for name, shown, metavar in (
            ("teacher", "teacher", "RUN"),
            ("network", "student", "NETWORK"),
            ("unlabelled", "unlabelled", "DIR"),
        ):
            if getattr(self, name) is None:
                raise ValueError(f"--{shown} is missing; give --{shown} {metavar}")
        if self.ratio == 0:
            raise ConfigError("ratio", f"{self.ratio} is not allowed; use a number above 0")
        if any(text.startswith("minival=") for text in self.changes):
            raise ValueError(
                "--set minival: the student holds out the same images as its teacher; leave it out"
            )


COMMAND = Command(
    program="train.noisy_student",
    config=NoisyStudentConfig,
    run="train.noisy_student.run:run_noisy_student",
    report="train.noisy_student.report:show_result",
    kind="noisy-student",
    record=RECORD,
    description="Train students on a teacher's labels of unlabelled images.",
    epilog="""\
RUN is the folder of a finished train.run, NETWORK a network of train.run, DIR a folder of images
(at any depth), FILE.zip, parquet:DIR, or a named set, whose training images are used. Images that
are also among the labelled ones are not removed; a warning is printed if they are held-out ones.
The labelled data are the teacher's, with the same images held out. The student's recipe is a preset
(default proxy) with added noise: policy randaugment, dropout and drop_path at least 0.2; --set is
applied afterwards. The folder gets noisy_student.json and round-N/ with pseudo_labels.safetensors
and student/, a folder like those of train.run: train.export takes it, and it can be a teacher.""",
    interrupted="interrupted; nothing was done yet",
)
