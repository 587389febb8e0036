"""The rounds of Noisy Student: labels, a student, and that student as the next teacher.

Everything is on disk before the next step begins, so a run that was killed goes on from there: a
round's labels if they are written, its student if it is finished, otherwise from its checkpoint.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.architecture import Architecture
from train import record
from train.command import Interrupts, draw_pictures, write_result
from train.data import Data, Split
from train.distributed import world
from train.length import names_epochs
from train.loop import train
from train.pseudo_labels import (
    PseudoLabels,
    Teacher,
    agreement,
    balanced,
    load_teacher,
    read_labels,
    say,
    with_pseudo_labels,
    write_labels,
)
from train.recipe import Recipe
from train.report import Reporter, closing, opening
from train.scored import with_error
from vbs.console import print_err, print_results
from vbs.folder import circumstances, status_after, write_json
from vbs.load import LoadWatch
from vbs.tables import Console, Table
from vbs.text import shell_command

LABELS = "pseudo_labels.safetensors"


@dataclass(frozen=True)
class Images:
    """The labelled data and the unlabelled images, and where the latter came from."""

    data: Data
    unlabelled: Split
    source: str


@dataclass(frozen=True)
class Place:
    """Where everything goes, and on what it is computed."""

    record: Path  # noisy_student.json; everything else is beside it
    device: str
    workers: int

    @property
    def folder(self) -> Path:
        return self.record.parent

    def round(self, number: int) -> Path:
        """The folder of a round, from 1 on."""
        return self.folder / f"round-{number}"


def run_rounds(
    place: Place, settings: dict[str, Any], images: Images, known: dict[str, Any], teacher: Teacher
) -> str:
    """All rounds from where they stopped; why a training ended early, "" where none did."""
    rows = [{"name": "teacher", "run": settings["teacher"], **_scores(known)}]
    labels = _labels(place, 1, settings["teacher"], teacher, settings, images)
    for number in range(1, settings["rounds"] + 1):
        folder = place.round(number) / "student"
        failed = _student(place, number, settings, images, labels)
        if failed:
            status = "interrupted" if failed == "interrupted" else "failed"
            write_record(place.record, settings, status, rows, failed=failed)
            return failed
        student = load_teacher(folder)
        row = {"name": f"student {number}", "run": str(folder), **_scores(record.read_run(folder))}
        row |= {"kept": labels.chosen.distinct.tolist(), "per_class": labels.chosen.per_class}
        if number < settings["rounds"]:
            following = _labels(place, number + 1, str(folder), student, settings, images)
            said = following.probabilities
        else:
            said = say(student, images.unlabelled, device=place.device, workers=place.workers)
        row["agreement"] = round(agreement(said, labels.probabilities), 3)
        rows.append(row)
        if number < settings["rounds"]:
            labels = following
        write_record(place.record, settings, "running", rows)
    write_record(place.record, settings, "finished", rows)
    _close(place, rows, settings)
    return ""


def _labels(
    place: Place, number: int, run: str, teacher: Teacher, settings: dict[str, Any], images: Images
) -> PseudoLabels:
    """A round's pseudo-labels, from its folder or made now."""
    path = place.round(number) / LABELS
    about = {
        "teacher_digest": teacher.digest, "confidence": settings["confidence"],
        "unlabelled_images": settings["found"]["unlabelled images"],
        "per_class": settings["per_class"],
    }  # fmt: skip
    if path.exists():
        labels = read_labels(path)
        if {name: labels.about.get(name) for name in about} != about:
            raise ValueError(f"{path}: of another teacher or other images; remove {path.parent}/")
        return labels
    print_err(
        "",
        f"round {number} of {settings['rounds']}: {run} labels {len(images.unlabelled):,} images",
    )
    found = say(teacher, images.unlabelled, device=place.device, workers=place.workers)
    chosen = balanced(
        found.numpy(), confidence=settings["confidence"], per_class=settings["per_class"]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = PseudoLabels(
        found, chosen, {**about, "teacher": run, "unlabelled": settings["unlabelled"]}
    )
    write_labels(path, labels)
    print_err(*_kept(labels, images.data.classes))
    return labels


def _kept(labels: PseudoLabels, classes: tuple[str, ...]) -> list[str]:
    """What became of the unlabelled images, in a line or two."""
    chosen = labels.chosen
    sure, n = int(chosen.confident.sum()), len(labels.probabilities)
    lines = [
        f"{sure:,} of {n:,} are confident; kept {int(chosen.distinct.sum()):,}, "
        f"{chosen.distinct.min():,} to {chosen.distinct.max():,} of a class, repeated to "
        f"{chosen.per_class:,}"
    ]
    without = [name for name, count in zip(classes, chosen.distinct, strict=True) if not count]
    if without:
        more = f" and {len(without) - 5} more" if len(without) > 5 else ""
        lines.append(f"no image of {', '.join(without[:5])}{more}")
    return lines


def _student(
    place: Place, number: int, settings: dict[str, Any], images: Images, labels: PseudoLabels
) -> str:
    """Train a round's student, or what is left of it; why that failed, "" if it did not."""
    folder = place.round(number) / "student"
    data = with_pseudo_labels(images.data, images.unlabelled, labels, settings["ratio"])
    if _is_finished(folder, data.settings["pseudo_labels"]):
        return ""
    architecture = Architecture.from_dict(settings["student_architecture"])
    recipe = Recipe.from_dict(settings["student_recipe"])
    told = _as_run(settings, number, str(labels.about["teacher"]), images.source, data)
    folder.mkdir(parents=True, exist_ok=True)
    record.write_run(folder, told, status="running")
    print_err(
        "",
        f"round {number} of {settings['rounds']}: a student; an epoch is one pass over the "
        f"{len(images.data.train):,} labelled images, {settings['ratio']:g} pseudo-labelled "
        "beside each",
    )
    watch = LoadWatch()
    with status_after(folder / "run.json"), world(place.device) as here:
        opening(folder, architecture, data, recipe, here)
        with Interrupts() as interrupts, Reporter(folder, recipe, here, interrupts.asked) as report:
            result = train(
                architecture, data, recipe, checkpoint=folder, report=report,
                device=place.device, workers=place.workers,
            )  # fmt: skip
    load = watch.load()
    status = write_result(folder, told, result, data, load=load)
    draw_pictures(folder, told, result, data, device=place.device)
    if status == "finished":
        closing(folder, told, result, status, load=load, data=data)
    return result.failed


def _as_run(
    settings: dict[str, Any], number: int, teacher: str, source: str, data: Data
) -> dict[str, Any]:
    """A student's settings as train.run writes them, with the round they belong to."""
    changes = settings["changes"] or []
    names = ("unlabelled", "ratio", "confidence", "per_class")
    return {
        "network": settings["network"], "data": source, "init": None,
        "architecture": settings["student_architecture"], "recipe": settings["student_recipe"],
        "own_colours": any(text.startswith(("mean", "std")) for text in changes),
        "own_epochs": names_epochs(changes),
        "data_settings": data.settings,
        "noisy_student": {
            "round": number, "teacher": teacher, **{name: settings[name] for name in names}
        },
    }  # fmt: skip


def _is_finished(folder: Path, digest: str) -> bool:
    """Whether the student is trained; ValueError where that was on other pseudo-labels."""
    if not (folder / "run.json").is_file() or not (folder / "best.safetensors").is_file():
        return False
    known = record.read_run(folder)
    if known.get("status") != "finished":
        return False
    if known["settings"].get("data_settings", {}).get("pseudo_labels") != digest:
        raise ValueError(f"{folder}: was trained on other pseudo-labels; remove it to train anew")
    return True


def _scores(known: dict[str, Any]) -> dict[str, Any]:
    """Minival and test top-1 of a run in percent, None where it has none; and on how many images
    they were read (earlier versions did not record that)."""
    outcome = known["outcome"]
    test, images = outcome.get("test") or {}, outcome.get("images") or {}
    return {
        "minival": (outcome.get("chosen") or {}).get("top1"), "test": test.get("top1"),
        "images": {name: images.get(name) for name in ("minival", "test")},
    }  # fmt: skip


def write_record(
    path: Path, settings: dict[str, Any], status: str, rows: list[dict[str, Any]],
    *, failed: str = "",
) -> None:  # fmt: skip
    """noisy_student.json: what was asked for, what was found, and the networks so far."""
    content = {
        "status": status, "settings": settings, "outcome": {"failed": failed, "networks": rows},
        **circumstances(record.PACKAGES),
    }  # fmt: skip
    write_json(path, content)


def _close(place: Place, rows: list[dict[str, Any]], settings: dict[str, Any]) -> None:
    """Teacher and students in a table on stdout, and what to do next."""
    console = Console()
    table = Table(box=None, pad_edge=False)
    for name in ("", "minival top-1", "test top-1", "kept of a class", "agreement"):
        table.add_column(name, justify="right" if name else "left")
    for row in rows:
        kept = row.get("kept")
        table.add_row(
            row["name"],
            *(with_error(row[name], row["images"][name]) for name in ("minival", "test")),
            f"{min(kept):,} to {max(kept):,}" if kept else "", _percent(row.get("agreement")),
        )  # fmt: skip
    console.print(table)
    console.print("±: one standard deviation, of the number of images; another seed is extra")
    console.print("agreement: unlabelled images that student and its teacher put in one class")
    last = rows[-1]["run"]
    students = [f"round-{number}/student/" for number in range(1, len(rows))]
    again = ["--teacher", last, "--student", settings["network"]]
    again += ["--unlabelled", settings["unlabelled"]]
    commands = (["train.export", last, "--to", "timm"], ["train.noisy_student", *again])
    print_results(
        place.folder, [place.record.name, *students],
        [shell_command([sys.executable, "-m", *words]) for words in commands],
    )  # fmt: skip


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}%"
