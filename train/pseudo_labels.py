"""Pseudo-labels: a teacher's predictions on unlabelled images, and the choice of images.

Source: Xie et al. 2020, "Self-training with Noisy Student improves ImageNet classification"
(arXiv 1911.04252), algorithm 1 and section 3.1: soft labels of a teacher without noise; images of
low confidence are left out; classes are balanced by taking the most confident images of the
classes that have too many and repeating images of the classes that have too few.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from search_spaces.network import Network, build
from train.checkpoint import Weights, load_into, read_weights
from train.data import Data, Split, blend
from train.distributed import pick_device
from train.evaluate import PREDICTION, predict
from train.preprocessing import Preprocessing
from train.recipe import Recipe
from train.state import precision
from train.weight_sources import no_weights
from vbs.folder import write_whole
from vbs.json_text import parse_json

FORMAT = "vision-baseline-search pseudo-labels 1"


@dataclass(frozen=True)
class Chosen:
    """The images that a student learns from.

    indices    int64 [m]: class by class, the most confident first; images may be repeated.
    distinct   int64 [classes]: number of different images of each class in `indices`.
    confident  int64 [classes]: number of images at or above the threshold.
    per_class  number of images that each class was filled up or cut down to.
    """

    indices: np.ndarray
    distinct: np.ndarray
    confident: np.ndarray
    per_class: int


@dataclass(frozen=True)
class PseudoLabels:
    """Pseudo-labels of a set of unlabelled images.

    probabilities  float32 [n, classes], the teacher's for all n images.
    chosen         the images to learn from.
    about          plain data: the teacher, and how the images were chosen.
    """

    probabilities: Tensor
    chosen: Chosen
    about: Mapping[str, Any]

    def digest(self) -> str:
        """Return 16 hex digits that identify the chosen images and all probabilities."""
        state = hashlib.sha256(self.chosen.indices.tobytes())
        state.update(self.probabilities.numpy().tobytes())
        return state.hexdigest()[:16]


@dataclass(frozen=True)
class Teacher:
    """A network in evaluation mode, its weights file's content, and 16 hex digits of its hash."""

    network: Network
    weights: Weights
    digest: str


def load_teacher(run: Path) -> Teacher:
    """Return the network of a run's best.safetensors.

    Raises ValueError if the file is missing or damaged.
    """
    path = run / "best.safetensors"
    if not path.is_file():
        raise ValueError(f"teacher: {no_weights(run)}")
    weights = read_weights(path)
    if "recipe" not in weights.about:
        raise ValueError(f"teacher: {path} was not written by train.run; give the folder of a run")
    network = build(weights.architecture).eval()
    load_into(network, weights.tensors, source=path)
    return Teacher(network, weights, hashlib.sha256(path.read_bytes()).hexdigest()[:16])


def teacher_probabilities(
    teacher: Teacher, images: Split, *, device: str = "auto", loaders: int = 0
) -> Tensor:
    """Return a teacher's probabilities, float32 [n, classes], without noise.

    Images are prepared as in the teacher's evaluation: no dropout, no stochastic depth, no
    augmentation. Raises ValueError if the probabilities are not finite.
    """
    weights, where = teacher.weights, pick_device(device)
    preparation = Preprocessing.of_weights(weights).preparation
    network = teacher.network.to(where, memory_format=torch.channels_last)
    recipe = Recipe.from_dict(weights.about["recipe"])
    inference = replace(PREDICTION, loaders=loaders, precision=precision(recipe, where))
    found = predict(network, images, preparation, device=where, inference=inference).probabilities
    if not bool(torch.isfinite(found).all()):
        raise ValueError("teacher: its probabilities are not finite; train another teacher")
    return found


def balanced(
    probabilities: np.ndarray, *, confidence: float, per_class: int | None = None
) -> Chosen:
    """Choose the same number of images of each class.

    The class of an image is its most probable one (the first if several are equal), and its
    confidence is that probability. Images below `confidence` are left out. Each class contributes
    its `per_class` most confident images; ties go to the lower index. If a class has fewer, its
    images are repeated in order, the most confident first (the paper repeats at random); a class
    without images contributes none.

    probabilities  [n, classes].
    confidence     from 0 to 1.
    per_class      at least 1; None: n // classes, at least 1. (The paper takes 130,000 of each
                   class from 300M images, 130M in all, 81M of them different.)

    Raises ValueError if an argument is not allowed or no image is confident enough.
    """
    if not 0 <= confidence <= 1:
        raise ValueError(f"confidence: {confidence!r} is not allowed; use a number from 0 to 1")
    if per_class is not None and per_class < 1:
        raise ValueError(f"per-class: {per_class!r} is not allowed; use 1 or more")
    n, classes = probabilities.shape
    each = per_class or max(1, n // classes)
    labels, surest = probabilities.argmax(1), probabilities.max(1)
    sure = surest >= np.asarray(confidence, surest.dtype)
    if not sure.any():
        raise ValueError(
            f"confidence: none of {n:,} images reaches {confidence:g}, the most confident has "
            f"{surest.max():.3g}; use a lower --confidence"
        )
    order = np.argsort(-surest, kind="stable")
    order = order[sure[order]]
    chosen, distinct, confident = [], [], []
    for label in range(classes):
        own = order[labels[order] == label]
        confident.append(len(own))
        distinct.append(min(len(own), each))
        chosen.append(np.resize(own[:each], each if len(own) else 0))
    counts = np.array(distinct, np.int64), np.array(confident, np.int64)
    return Chosen(np.concatenate(chosen).astype(np.int64), *counts, each)


def with_pseudo_labels(data: Data, unlabelled: Split, labels: PseudoLabels, ratio: float) -> Data:
    """Return the data set with the chosen images added, `ratio` of them per training image.

    The settings contain the digest of the labels, so that a run is not resumed with others.
    """
    indices = labels.chosen.indices
    extra = unlabelled.select(indices).with_targets(labels.probabilities[torch.from_numpy(indices)])
    settings = {
        **data.settings,
        "pseudo_labels": labels.digest(),
        "pseudo_labelled_images": len(indices),
        "ratio": ratio,
    }
    return replace(data, train=blend(data.train, extra, ratio=ratio), settings=settings)


def agreement(first: Tensor, second: Tensor) -> float:
    """Return the percentage of images for which two networks predict the same class.

    first, second  probabilities [n, classes] of the networks.
    """
    return 100 * float((first.argmax(1) == second.argmax(1)).double().mean())


def write_labels(path: Path, labels: PseudoLabels) -> None:
    """Write a safetensors file atomically; it takes 4 bytes for each image and class."""
    chosen = labels.chosen
    tensors = {"probabilities": labels.probabilities.contiguous()}
    for name in ("indices", "distinct", "confident"):
        tensors[name] = torch.from_numpy(getattr(chosen, name))
    content = json.dumps({"about": dict(labels.about), "per_class": chosen.per_class})
    metadata = {"format": FORMAT, "content": content}
    write_whole(path, lambda unfinished: save_file(tensors, str(unfinished), metadata))


def _content(path: Path, text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error}); remove it to create it again") from None


def read_labels(path: Path) -> PseudoLabels:
    """Read a file of `write_labels`; raise ValueError for other or damaged files."""
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"{path}: not a file of pseudo-labels")
            content = _content(path, metadata["content"])
            chosen = Chosen(
                indices=file.get_tensor("indices").numpy(),
                distinct=file.get_tensor("distinct").numpy(),
                confident=file.get_tensor("confident").numpy(),
                per_class=int(content["per_class"]),
            )
            return PseudoLabels(file.get_tensor("probabilities"), chosen, dict(content["about"]))
    except (safetensors.SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged ({error}); remove it to create it again") from None
