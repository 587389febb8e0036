"""The rounds of Noisy Student: labels, a student, and that student as the next teacher.

The result of every step is written to disk before the next step starts, so that a killed run can be
resumed. A resumed run reuses the labels and students that are complete; an unfinished student
continues from its checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train import record
from train.distributed import world
from train.noisy_student.images import Images
from train.noisy_student.record import SelfTraining, TeacherRun
from train.noisy_student.result import NoisyStudentResult
from train.options import loaders_of
from train.pseudo_labels import (
    PseudoLabels,
    Teacher,
    agreement,
    balanced,
    load_teacher,
    read_labels,
    teacher_probabilities,
    with_pseudo_labels,
    write_labels,
)
from train.run.config import TrainConfig
from train.run.record import Training
from train.run.report import show_result
from train.run.result import TrainResult
from train.run.training import train_in_folder
from vbs.console import print_err
from vbs.folder import status_after

LABELS = "pseudo_labels.safetensors"


def run_rounds(
    whole: SelfTraining, folder: Path, images: Images, run: TeacherRun, teacher: Teacher
) -> NoisyStudentResult:
    """Run all rounds, from where they stopped.

    run  the teacher's run.
    """
    config = whole.config
    rows = [{"name": "teacher", "run": config.teacher, **_scores(run.outcome)}]
    rounds = _Rounds(whole, folder, images)
    labels = rounds.labels(1, str(config.teacher), teacher)
    for number in range(1, config.rounds + 1):
        place = rounds.folder(number) / "student"
        ended = rounds.train_student(number, labels)
        if ended is not None and ended.status != "finished":
            whole.write(folder, rows, status=ended.status, failed=ended.reason)
            return NoisyStudentResult(folder, config, rows, ended.status, ended.reason)
        student = load_teacher(place)
        row = {
            "name": f"student {number}",
            "run": str(place),
            **_scores(record.read_run(place).outcome),
        }
        row |= {"kept": labels.chosen.distinct.tolist(), "per_class": labels.chosen.per_class}
        if number < config.rounds:
            following = rounds.labels(number + 1, str(place), student)
            predicted = following.probabilities
        else:
            predicted = rounds.predict(student)
        row["agreement"] = round(agreement(predicted, labels.probabilities), 3)
        rows.append(row)
        if number < config.rounds:
            labels = following
        whole.write(folder, rows, status="running")
    whole.write(folder, rows, status="finished")
    return NoisyStudentResult(folder, config, rows, "finished", "")


class _Rounds:
    """The steps of a round of self-training in a folder."""

    def __init__(self, whole: SelfTraining, folder: Path, images: Images) -> None:
        self._whole, self._folder, self._images = whole, folder, images
        self._config = whole.config

    def folder(self, number: int) -> Path:
        """Return the folder of a round; numbers start at 1."""
        return self._folder / f"round-{number}"

    def predict(self, teacher: Teacher) -> Any:
        """Return probabilities [n, classes] of the unlabelled images."""
        config = self._config
        return teacher_probabilities(
            teacher, self._images.unlabelled, device=config.device, loaders=loaders_of(config)
        )

    def labels(self, number: int, run: str, teacher: Teacher) -> PseudoLabels:
        """Return a round's pseudo-labels, read from its folder or new."""
        config, count = self._config, len(self._images.unlabelled)
        path = self.folder(number) / LABELS
        about = {
            "teacher_digest": teacher.digest,
            "confidence": config.confidence,
            "unlabelled_images": self._whole.found["unlabelled images"],
            "per_class": config.per_class,
        }
        if path.exists():
            labels = read_labels(path)
            if {name: labels.about.get(name) for name in about} != about:
                raise ValueError(
                    f"{path}: made by another teacher or of other images; remove {path.parent}/"
                )
            return labels
        print_err("", f"round {number} of {config.rounds}: {run} labels {count:,} images")
        found = self.predict(teacher)
        chosen = balanced(found.numpy(), confidence=config.confidence, per_class=config.per_class)
        path.parent.mkdir(parents=True, exist_ok=True)
        about |= {"teacher": run, "unlabelled": config.unlabelled}
        labels = PseudoLabels(found, chosen, about)
        write_labels(path, labels)
        print_err(*_kept(labels, self._images.data.classes))
        return labels

    def train_student(self, number: int, labels: PseudoLabels) -> TrainResult | None:
        """Train or resume a round's student; return None if it is already finished."""
        config, images = self._config, self._images
        folder = self.folder(number) / "student"
        data = with_pseudo_labels(images.data, images.unlabelled, labels, config.ratio)
        if _is_finished(folder, labels.digest()):
            return None
        folder.mkdir(parents=True, exist_ok=True)
        training = self._training(number, str(labels.about["teacher"]), data.settings)
        print_err(
            "",
            f"round {number} of {config.rounds}: a student; an epoch is one pass over the "
            f"{len(images.data.train):,} labelled images, each with {config.ratio:g} "
            "pseudo-labelled ones",
        )
        with status_after(folder / "run.json"), world(config.device) as here:
            result = train_in_folder(training, data, folder, here)
        if result.status == "finished":
            show_result(result)
        return result

    def _training(self, number: int, teacher: str, data: Mapping[str, Any]) -> Training:
        """Return a student's training in the form of train.run, with its round."""
        config, recipe = self._config, self._whole.recipe
        names = (
            "network",
            "recipe",
            "variant",
            "resolution",
            "width",
            "depth",
            "small_images",
            "device",
            "loaders",
            "data_root",
        )
        noise = [f"{name}={getattr(recipe, name)}" for name in ("policy", "dropout", "drop_path")]
        like = TrainConfig(
            data=self._images.source,
            changes=(*noise, *config.changes),
            **{name: getattr(config, name) for name in names},
        )
        labelled = ("unlabelled", "ratio", "confidence", "per_class")
        return Training(
            like,
            self._whole.architecture,
            recipe,
            data,
            noisy_student={
                "round": number,
                "teacher": teacher,
                **{name: getattr(config, name) for name in labelled},
            },
        )


def _kept(labels: PseudoLabels, classes: tuple[str, ...]) -> list[str]:
    """Describe the use of the unlabelled images, in a line or two."""
    chosen = labels.chosen
    sure, n = int(chosen.confident.sum()), len(labels.probabilities)
    lines = [
        f"{sure:,} of {n:,} are confident; kept {int(chosen.distinct.sum()):,}, "
        f"{chosen.distinct.min():,} to {chosen.distinct.max():,} per class, repeated to "
        f"{chosen.per_class:,}"
    ]
    without = [name for name, count in zip(classes, chosen.distinct, strict=True) if not count]
    if without:
        more = f" and {len(without) - 5} more" if len(without) > 5 else ""
        lines.append(f"no image of {', '.join(without[:5])}{more}")
    return lines


def _is_finished(folder: Path, digest: str) -> bool:
    """Return whether the student is finished; raise ValueError if it had other pseudo-labels."""
    if not (folder / "run.json").is_file() or not (folder / "best.safetensors").is_file():
        return False
    run = record.read_run(folder)
    if run.status != "finished":
        return False
    images = run.training.get("data_settings") or {}
    if images.get("pseudo_labels") != digest:
        raise ValueError(f"{folder}: was trained on other pseudo-labels; remove it to train again")
    return True


def _scores(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return minival and test top-1 of a run in percent, None if it has none.

    "images" has the numbers of images behind them, which earlier versions did not record.
    """
    test, images = outcome.get("test") or {}, outcome.get("images") or {}
    return {
        "minival": (outcome.get("chosen") or {}).get("top1"),
        "test": test.get("top1"),
        "images": {name: images.get(name) for name in ("minival", "test")},
    }
