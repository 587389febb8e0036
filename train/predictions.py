"""Predictions on the test images of a training, as the table test_predictions.parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from train.data import Split
from train.distributed import pick_device
from train.evaluate import PREDICTION, Predicted, predict
from train.loop import Result
from train.recipe import Recipe
from train.state import precision, preparation, resolved
from vbs.folder import write_whole


def predicted_of(result: Result, split: Split, recipe: Recipe, device: str) -> Predicted:
    """Return a trained network's predictions on a split, prepared as in the recipe's evaluation."""
    assert result.network is not None
    where, recipe = pick_device(device), resolved(recipe, result.network.architecture)
    inference = replace(PREDICTION, precision=precision(recipe, where))
    return predict(result.network, split, preparation(recipe), device=where, inference=inference)


def write_test_predictions(
    path: Path, split: Split, predicted: Predicted, classes: Sequence[str]
) -> None:
    """Write a parquet file with one row for each image of a split, in its order, atomically.

    image        path of the image file; ARCHIVE/NAME in an archive; "FILE, row N" in a parquet
                 file; the index in the split if images have no names.
    label        name of the true class.
    prediction   name of the most probable class.
    probability  of the prediction, float32.

    Unreadable images have no row.
    """
    import pyarrow
    import pyarrow.parquet

    own = np.flatnonzero(predicted.indices == np.arange(len(split)))
    probabilities = predicted.probabilities[own]
    targets = predicted.targets[own]
    labels = targets if targets.ndim == 1 else targets.argmax(1)
    names = [split.name(index) for index in own.tolist()]
    named = [storable_name(name) for name in names if name is not None]
    table = pyarrow.table(
        {
            "image": named if len(named) == len(names) else own,
            "label": _called(labels.tolist(), classes),
            "prediction": _called(probabilities.argmax(1).tolist(), classes),
            "probability": probabilities.amax(1).numpy(),
        }
    )
    write_whole(path, lambda unfinished: pyarrow.parquet.write_table(table, unfinished))


def storable_name(name: str) -> str:
    """Return the text with characters that UTF-8 cannot encode written as escapes."""
    return name.encode(errors="backslashreplace").decode()


def _called(numbers: Sequence[int], classes: Sequence[str]) -> list[str]:
    return [storable_name(classes[number]) for number in numbers]
