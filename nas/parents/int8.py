"""Accuracy of the fine-tuned parent in int8, the reference of searches with --quantised."""

from __future__ import annotations

from typing import NamedTuple

from nas.evaluators.inherited import preparation_of
from nas.evaluators.quantised import Quantiser
from nas.parents.teacher import Teacher
from train.data import Data
from train.parents import load_parent
from vbs.folder import write_json
from vbs.json_text import parse_json

FILE = "int8.json"  # in the folder of the teacher


class Int8(NamedTuple):
    """Top-1 in percent on the minival and on the test images (None without test images)."""

    minival: float
    test: float | None


def measure_int8(teacher: Teacher, data: Data) -> None:
    """Measure the fine-tuned parent in int8, unless its accuracy is known."""
    if read_int8(teacher) is not None:
        return
    parent = load_parent(str(teacher.weights))
    preparation = preparation_of(teacher.recipe, parent.architecture.resolution)
    assert data.minival is not None
    splits = [data.minival, *([data.test] if data.test is not None else [])]
    minival, *test = Quantiser(data.train, preparation).top1(parent.network(), *splits)
    write_json(teacher.folder / FILE, {"minival_top1": minival, "test_top1": [*test, None][0]})


def read_int8(teacher: Teacher) -> Int8 | None:
    """Return the measured accuracy; None if there is none."""
    try:
        known = parse_json((teacher.folder / FILE).read_bytes())
        test = known["test_top1"]
        return Int8(float(known["minival_top1"]), None if test is None else float(test))
    except (OSError, ValueError, KeyError, TypeError):
        return None
