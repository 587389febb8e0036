"""Pseudo-labels: what a teacher says of unlabelled images, and which of them a student learns from.

Source: Xie et al. 2020, "Self-training with Noisy Student improves ImageNet classification"
(arXiv 1911.04252), algorithm 1 and section 3.1: soft labels of a teacher without noise, images of
low confidence left out, classes balanced by taking the most confident images of those that have
too many and repeating images of those that have too few.
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
from vbs.folder import write_whole
from vbs.json_text import parse_json

FORMAT = "vision-baseline-search pseudo-labels 1"


@dataclass(frozen=True)
class Chosen:
    """The images that a student learns from.

    indices    int64 [m]: class after class, the most confident first; repeats are meant.
    distinct   int64 [classes]: different images of each class among them.
    confident  int64 [classes]: images at or above the threshold, most of `distinct` or more.
    per_class  what every class was filled up or cut down to.
    """

    indices: np.ndarray
    distinct: np.ndarray
    confident: np.ndarray
    per_class: int


@dataclass(frozen=True)
class PseudoLabels:
    """A teacher's probabilities float32 [n, classes] for all n unlabelled images, those chosen,
    and in `about`, plain data, whose they are and how they were chosen.
    """

    probabilities: Tensor
    chosen: Chosen
    about: Mapping[str, Any]

    def digest(self) -> str:
        """16 hex digits of which images are chosen and of all probabilities."""
        state = hashlib.sha256(self.chosen.indices.tobytes())
        state.update(self.probabilities.numpy().tobytes())
        return state.hexdigest()[:16]


@dataclass(frozen=True)
class Teacher:
    """A network in evaluation mode, its description, and 16 hex digits of its file."""

    network: Network
    weights: Weights
    digest: str


def load_teacher(run: Path) -> Teacher:
    """The network of a run's best.safetensors; ValueError where it is missing or damaged."""
    path = run / "best.safetensors"
    if not path.is_file():
        raise ValueError(f"teacher: {run} has no best.safetensors; give the folder of a run")
    weights = read_weights(path)
    if "recipe" not in weights.about:
        raise ValueError(f"teacher: {path} was not written by train.run; give the folder of a run")
    network = build(weights.architecture).eval()
    load_into(network, weights.tensors, source=path)
    return Teacher(network, weights, hashlib.sha256(path.read_bytes()).hexdigest()[:16])


def teacher_probabilities(
    teacher: Teacher, images: Split, *, device: str = "auto", loaders: int = 0
) -> Tensor:
    """Probabilities float32 [n, classes] of a teacher without noise, prepared as it was evaluated.

    No dropout, no stochastic depth, no augmentation. Raises ValueError where they are not finite.
    """
    weights, where = teacher.weights, pick_device(device)
    preparation = Preprocessing.of_weights(weights).preparation
    network = teacher.network.to(where, memory_format=torch.channels_last)
    recipe = Recipe.from_dict(weights.about["recipe"])
    inference = replace(PREDICTION, loaders=loaders, precision=precision(recipe, where))
    found = predict(network, images, preparation, device=where, inference=inference).probabilities
    if not bool(torch.isfinite(found).all()):
        raise ValueError("teacher: its probabilities are not all numbers; train another one")
    return found


def balanced(
    probabilities: np.ndarray, *, confidence: float, per_class: int | None = None
) -> Chosen:
    """Of images with probabilities [n, classes], as many of each class as of any other.

    An image is of the class it is most probable of (the first of equals) and as confident as that
    is probable; it counts from `confidence` on. Each class gives its `per_class` most confident
    images, the first by index where they tie. A class with fewer gives them over and over, the
    most confident first (the paper repeats at random); one with none gives none.

    per_class  n // classes where not given, at least 1: as many images in all as there are. (The
               paper takes 130,000 of each class from 300M images, 130M in all, 81M of them
               different.)

    Raises ValueError where the numbers are not allowed or no image is confident enough.
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
    """The data set with the chosen images added to its training images, `ratio` for each of those.

    Its settings name the labels by their digest: a run is not resumed with others.
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
    """Percent of images that probabilities [n, classes] of two networks put in the same class."""
    return 100 * float((first.argmax(1) == second.argmax(1)).double().mean())


def write_labels(path: Path, labels: PseudoLabels) -> None:
    """A safetensors file: 4 bytes for every image and class, whole or not at all."""
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
        raise ValueError(f"{path}: damaged ({error}); remove it to have it made again") from None


def read_labels(path: Path) -> PseudoLabels:
    """What `write_labels` wrote; ValueError names the file that is damaged or of others."""
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
        raise ValueError(f"{path}: damaged ({error}); remove it to have it made again") from None
