"""Classification of images from a config: `predict_images`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from train.data.image_sources import Images, open_images
from train.parser import print_notes
from train.predict.batches import Batch, batches
from train.predict.config import PredictConfig
from train.predict.networks import Predictor, load_predictor
from train.predict.outputs import draw_sheet, write_table
from train.predict.result import PredictResult
from vbs.console import print_err
from vbs.folder import check_file
from vbs.processes import available_cpus
from vbs.progress import Progress, State
from vbs.text import shortened

MOST_LOADERS = 8  # most loaders if --loaders is not given
NAMED = 10  # most unreadable images that are reported one by one


def predict_images(config: PredictConfig) -> PredictResult:
    """Classify images with a trained network, as `python -m train.predict` does.

    The predictions are returned, and written to the files `out` and `contact_sheet` of the config.

    Raises ValueError (one line) if the network or the images do not exist or cannot be used, or
    if no image can be read; nothing is written then.
    """
    assert config.network is not None  # see PredictConfig.check
    _check_places(config)
    images = open_images(config.images)
    _check_not_read(config, images)
    predictor = load_predictor(config.network, config.device)
    print_notes(images.notes)
    result = _predicted(config, images, predictor)
    if not len(result):
        name, why = result.unreadable[0]
        raise ValueError(
            f"images: none of {len(images.store):,} can be read, e.g. {shortened(name)} ({why})"
        )
    written = []
    if config.out is not None:
        write_table(Path(config.out), result)
        written.append(config.out)
    if config.contact_sheet is not None and draw_sheet(
        Path(config.contact_sheet), result, predictor.preprocessing.channels
    ):
        written.append(config.contact_sheet)
    return replace(result, written=tuple(written))


def _check_places(config: PredictConfig) -> None:
    """Raise ValueError or OSError if an output file cannot be written."""
    for name, path in _places(config):
        if not path.parent.is_dir():
            raise ValueError(f"{name}: {path.parent} does not exist; create it first")
        if path.is_dir():
            raise ValueError(f"{name}: {path} is a folder; give a file in it")
        check_file(path)


def _check_not_read(config: PredictConfig, images: Images) -> None:
    """Raise ValueError if an output file would overwrite an input."""
    for name, path in _places(config):
        if not path.exists():
            continue  # a new file is no input
        for source in (config.network, *images.store.files()):
            if source and os.path.exists(source) and path.samefile(source):
                raise ValueError(f"{name}: {path} is an input file; give another file")


def _places(config: PredictConfig) -> Iterator[tuple[str, Path]]:
    """Yield the options of output files, with the files."""
    for name, given in (("--out", config.out), ("--contact-sheet", config.contact_sheet)):
        if given is not None:
            yield name, Path(given)


def _predicted(config: PredictConfig, images: Images, predictor: Predictor) -> PredictResult:
    count, kept = len(images.store), min(config.top_k, len(predictor.classes))
    rows, labels, probabilities = [], [], []
    unreadable: list[tuple[str, str]] = []
    prepared = batches(
        images.store,
        predictor.preprocessing,
        config.batch,
        device=predictor.device,
        loaders=_loaders(config),
    )
    began, done = time.perf_counter(), 0
    with Progress(State(0, count, "images")) as progress:
        for batch in prepared:
            for row, why in batch.unreadable:
                name = images.store.name(row)
                unreadable.append((name, why))
                if len(unreadable) <= NAMED:
                    progress.print(f"skipped {shortened(name)} ({why})")
            if len(batch.rows):
                top = _probabilities(predictor, batch, images).topk(kept)
                rows.append(batch.rows.numpy().copy())
                labels.append(top.indices.numpy())
                probabilities.append(top.values.numpy())
            done += len(batch.rows) + len(batch.unreadable)
            speed = done / (time.perf_counter() - began)
            progress.update(State(done, count, "images", notes=(f"{speed:,.0f} images/s",)))
    seconds = time.perf_counter() - began
    if len(unreadable) > NAMED:
        print_err(f"skipped {len(unreadable):,} unreadable images in all")
    empty = np.empty((0, kept))
    return PredictResult(
        config,
        images.store,
        predictor.classes,
        np.concatenate(rows) if rows else np.empty(0, np.int64),
        np.concatenate(labels) if labels else empty.astype(np.int64),
        np.concatenate(probabilities) if rows else empty.astype(np.float32),
        tuple(unreadable),
        seconds,
        predictor.runtime,
    )


def _probabilities(predictor: Predictor, batch: Batch, images: Images) -> Tensor:
    """Return probabilities, float32 [n, classes]; raises ValueError if any is not finite."""
    found = predictor.probabilities(batch.images)
    finite = found.isfinite().all(1)
    if not finite.all():
        name = images.store.name(int(batch.rows[int(finite.logical_not().nonzero()[0, 0])]))
        raise ValueError(
            f"network: its outputs for {shortened(name)} are not finite (NaN or infinite); "
            "its weights are damaged, or its activations overflow"
        )
    return found


def _loaders(config: PredictConfig) -> int:
    """Return the option, or by default one process less than processors, at most MOST_LOADERS."""
    if config.loaders is not None:
        return config.loaders
    return min(max(1, available_cpus() - 1), MOST_LOADERS)
