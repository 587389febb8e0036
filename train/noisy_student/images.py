"""Labelled and unlabelled images of a self-training."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

import torch

from train.data import Data, Split, load, load_unlabelled
from train.data.find import find, find_unlabelled, unlabelled_source
from train.data.listing import Listing
from train.data.reading import Reading
from train.data.source import NAMED, PARQUET
from train.data.stores import ParquetStore
from train.noisy_student.record import SelfTraining, TeacherRun
from train.parser import print_notes
from train.pseudo_labels import Teacher
from vbs.console import print_err


@dataclass(frozen=True)
class Images:
    """The labelled data, the unlabelled images, and the source of the labelled data."""

    data: Data
    unlabelled: Split
    source: str


def load_images(
    whole: SelfTraining, run: TeacherRun, teacher: Teacher
) -> tuple[Images, SelfTraining]:
    """Load the images; return them, and the self-training with their digests.

    run  the teacher's run.

    Raises ValueError if they do not match the teacher, or differ from those of the resumed run.
    """
    config = whole.config
    unlabelled, root = config.unlabelled, config.data_root
    assert unlabelled is not None  # see NoisyStudentConfig.check
    reading = Reading(channels=teacher.weights.architecture.in_channels)
    text = config.data or run.data
    _refuse_the_same(unlabelled, text)
    data = load(text, minival=run.minival, seed=run.seed, root=root, reading=reading)
    print_notes(data.notes)
    if data.classes != teacher.weights.classes:
        raise ValueError(f"data: the classes of {text} are not those of the teacher")
    if data.digests != run.digests:
        print_err(
            "warning: the labelled images are not the teacher's; students may be trained on images "
            "that the teacher held out"
        )
    own = {k: v for k, v in data.settings.items() if k not in ("source", "split")}
    whole = whole.remembered("labelled images", own)
    pool = load_unlabelled(unlabelled, root=root, reading=reading)
    listing = find_unlabelled(unlabelled, root=root, download=False)
    digest = {"n": len(pool), "digest": listing.digest()}
    whole = whole.remembered("unlabelled images", digest)
    shared = _shared(whole, listing, text, run.seed, held_out=data.minival is not None)
    if shared:
        print_err(
            f"WARNING: --unlabelled holds images of the labelled data's {' and '.join(shared)}: "
            "students are trained on them, so their scores there are too high"
        )
    return Images(data, pool, text), whole


def _refuse_the_same(unlabelled: str, labelled: str) -> None:
    """Raise ValueError if the unlabelled images are the labelled data set with its test split."""
    ours, theirs = unlabelled_source(unlabelled), unlabelled_source(labelled)
    # of a named set, only the training images are used
    if NAMED in (ours.kind, theirs.kind) or (ours.kind == PARQUET) != (theirs.kind == PARQUET):
        return
    if os.path.realpath(ours.place) == os.path.realpath(theirs.place):
        raise ValueError(
            f"--unlabelled: {unlabelled} is the labelled data itself, with its minival and test "
            "images; give other images, or only its folder of training images"
        )


def _shared(
    whole: SelfTraining, listing: Listing, labelled: str, seed: int, *, held_out: bool
) -> list[str]:
    """Return the scored splits (minival, test) that share files with the unlabelled images.

    Files are compared by their path. Copies under other names are not found, nor copies of a
    folder in an archive.
    """
    taken = _files(listing)
    if not taken:  # a named set that is not stored as image files
        return ["minival"] if held_out and whole.config.unlabelled == labelled else []
    splits = find(labelled, seed=seed, root=whole.config.data_root, download=False).listings()
    # without a val split the minival is a part of train
    minival = splits["val"] or splits["train"]
    scored = {"minival": minival if held_out else None, "test": splits["test"]}
    return [
        name
        for name, other in scored.items()
        if other is not None and not taken.isdisjoint(_files(other))
    ]


def _files(listing: Listing) -> set[str]:
    """Return the real paths of a listing's images; empty if they are not files."""
    images = listing.images
    if isinstance(images, torch.Tensor):
        return set()
    if isinstance(images, ParquetStore):
        return {os.path.realpath(path) for path in images.paths}
    real = functools.cache(os.path.realpath)
    places = (os.path.split(images.name(int(row))) for row in listing.rows)
    return {os.path.join(real(folder), name) for folder, name in places}
