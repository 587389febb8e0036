"""The arms of `experiments.noisy_student_cifar10`: settings, recipes, and how an arm runs."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces.architecture import Architecture, Stage
from search_spaces.cost import cost
from train.data import UNLABELLED, Data, Split
from train.data.listing import stratified
from train.execution import Execution
from train.loop import Report, train
from train.pseudo_labels import (
    PseudoLabels,
    agreement,
    balanced,
    load_teacher,
    read_labels,
    teacher_probabilities,
    with_pseudo_labels,
    write_labels,
)
from train.recipe import Recipe, preset
from vbs.console import print_err

ARMS = ("teacher", "longer", "student", "student-2")
TEACHER_OF = {"student": "teacher", "student-2": "student"}
SHARE = 0.1  # share of the training images that keep their labels
CONFIDENCE = 0.3

# Dense 3x3 convolutions train 2,350 images/s on each core; an EfficientNet of equal FLOPs with
# depthwise convolutions trains 360.
NETWORK = Architecture(
    stem=24,
    head=128,
    resolution=32,
    classes=10,
    stages=(
        Stage("fused", 1, 3, 1, 1, 24, se=0.0),
        Stage("fused", 1, 3, 2, 1, 48, se=0.0),
        Stage("fused", 2, 3, 2, 1, 96, se=0.0),
    ),
)


@dataclass(frozen=True)
class Setup:
    """Settings of all arms.

    epochs  of the teacher.
    ratio   pseudo-labelled images for each labelled one.
    """

    epochs: int
    ratio: float
    architecture: Architecture
    device: str

    def settings(self) -> dict[str, Any]:
        """Return everything that determines the outcomes, except the seed, as plain data."""
        costs = cost(self.architecture)
        return {
            "data": "cifar10",
            "labelled_share": SHARE,
            "minival": 0,
            "epochs": self.epochs,
            "ratio": self.ratio,
            "confidence": CONFIDENCE,
            "per_class": "unlabelled / classes",
            "architecture": json.loads(self.architecture.to_json()),
            "flops": costs.flops,
            "params": costs.params,
            "device": self.device,
            "recipes": {
                arm: recipe.to_dict() for arm, recipe in recipes(self.epochs, self.ratio, 0).items()
            },
        }


def recipes(epochs: int, ratio: float, seed: int) -> dict[str, Recipe]:
    """Return the recipe of every arm; an epoch is always one pass over the labelled images."""
    base = replace(
        preset("proxy"),
        name="noisy-student-cifar10",
        epochs=epochs,
        batch=64,
        optimizer="sgd",
        lr=0.1,
        lr_batch=64,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="linear",
        warmup_epochs=epochs / 12,
        clip_norm=0.0,
        ema_decay=0.0,
        label_smoothing=0.0,
        dropout=0.0,
        drop_path=0.0,
        crop="pad",
        flip=True,
        policy="none",
        erasing=0.0,
        mixup=0.0,
        cutmix=0.0,
        eval_crop=1.0,
        minival=0.0,
        seed=seed,
    )
    passes = max(1, round(4 * epochs / (1 + ratio)))
    # groups of eight, because a draw for every image would take as long as the training
    student = replace(
        base,
        epochs=passes,
        warmup_epochs=passes / 12,
        policy="randaugment",
        magnitude=3.0,
        layers=1,
        group=8,
        dropout=0.1,
        drop_path=0.05,
    )
    longer = replace(base, epochs=2 * epochs, warmup_epochs=epochs / 6)
    return {"teacher": base, "longer": longer, "student": student, "student-2": student}


def split_labels(data: Data, seed: int) -> tuple[Data, Split, np.ndarray]:
    """Return the labelled tenth as a data set, the other images unlabelled, and their labels."""
    targets = data.train.targets.numpy()
    rest, labelled = stratified(targets, SHARE, seed)
    truth = targets[rest]
    pool = data.train.select(rest)
    pool = pool.with_targets(pool.targets.new_full((len(rest),), UNLABELLED))
    digest = hashlib.sha256(labelled.tobytes()).hexdigest()[:16]
    settings = {**data.settings, "labelled": digest, "labelled_images": len(labelled)}
    few = replace(data, train=data.train.select(labelled), minival=None, settings=settings)
    return few, pool, truth


class Lines(Report):
    """Prints a line on stderr for every few epochs."""

    def __init__(self, name: str, epochs: int) -> None:
        self._name, self._epochs = name, epochs

    def epoch(self, row: dict[str, Any]) -> None:
        if row["epoch"] % max(1, self._epochs // 4) == 0:
            print_err(
                f"{self._name}: epoch {row['epoch']} of {self._epochs}, loss "
                f"{row['train_loss']:.3f}, {row['images_per_second']:.0f} images/s"
            )


def run_arm(arm: str, seed: int, place: Path, data: Data, setup: Setup) -> dict[str, Any]:
    """Train and score one arm in `place`/<arm>; its teacher's arm must have ended."""
    few, pool, truth = split_labels(data, seed)
    recipe = recipes(setup.epochs, setup.ratio, seed)[arm]
    outcome: dict[str, Any] = {"arm": arm, "seed": seed}
    labels = None
    if arm in TEACHER_OF:
        labels = _labels(place / arm, place / TEACHER_OF[arm], pool, setup.device)
        outcome["pseudo_labels"] = _quality(labels, truth)
        few = with_pseudo_labels(few, pool, labels, setup.ratio)
    started = time.monotonic()
    (place / arm).mkdir(parents=True, exist_ok=True)
    result = train(
        setup.architecture,
        few,
        recipe,
        execution=Execution(checkpoint=place / arm, device=setup.device),
        report=Lines(f"seed {seed} {arm}", recipe.epochs),
    )
    if result.failed or result.test is None:
        raise ValueError(f"seed {seed}, {arm}: {result.failed or 'the data have no test split'}")
    if labels is not None:
        distribution = teacher_probabilities(load_teacher(place / arm), pool, device=setup.device)
        outcome["agreement_with_teacher"] = round(agreement(distribution, labels.probabilities), 3)
    return outcome | {
        "top1": round(result.test.top1, 3),
        "loss": round(result.test.loss, 4),
        "images": result.steps * recipe.batch,
        "epochs": recipe.epochs,
        "train_loss": round(result.history[-1]["train_loss"], 4),
        "seconds_of_training": round(result.seconds, 1),
        "seconds": round(time.monotonic() - started, 1),  # since the last start
    }


def _labels(folder: Path, teacher: Path, pool: Split, device: str) -> PseudoLabels:
    """Return the pseudo-labels of an arm, from its folder or computed now."""
    path, known = folder / "pseudo_labels.safetensors", load_teacher(teacher)
    if path.exists():
        labels = read_labels(path)
        if labels.about["teacher"] != known.digest:
            raise ValueError(f"{path} has labels of another teacher; remove {folder}/")
        return labels
    soft = teacher_probabilities(known, pool, device=device)
    labels = PseudoLabels(
        soft,
        balanced(soft.numpy(), confidence=CONFIDENCE),
        {"teacher": known.digest},
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_labels(path, labels)
    return labels


def _quality(labels: PseudoLabels, truth: np.ndarray) -> dict[str, Any]:
    """Return how many pseudo-labels are used, and how many percent of them are right."""
    right = labels.probabilities.argmax(1).numpy() == truth
    kept = np.unique(labels.chosen.indices)
    return {
        "accuracy_of_all": round(100 * float(right.mean()), 3),
        "accuracy_of_kept": round(100 * float(right[kept].mean()), 3),
        "confident": int(labels.chosen.confident.sum()),
        "kept": len(kept),
        "kept_of_class": labels.chosen.distinct.tolist(),
        "per_class": labels.chosen.per_class,
    }
