"""Figures of a training run can be decoded, have a sensible size, and show their content."""

from __future__ import annotations

import gc
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from train.pictures import confused_pairs, confusion, curves, mistakes, shorten, worst

NAMES = (
    "",
    "$x",
    "a_b^{",
    "$$$",
    "50% \\frac{",
    "猫",
    "naïve\ncafé",
    "\ud800\x00",
    "😀 " * 40,
    " ",
)


def size(path: Path) -> tuple[int, int]:
    """Return width and height of a PNG that can be decoded completely."""
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        return image.size


def inked(path: Path) -> float:
    """Return the share of pixels that are not white."""
    with Image.open(path) as image:
        return float((np.asarray(image.convert("L")) < 250).mean())


def rows(count: int, **others: Any) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "step": 9 * epoch,
            "seconds": 7.0 * epoch,
            "train_loss": 3 / epoch,
            "val_loss": 2 / epoch,
            "val_top1": 90 - 50 / epoch,
            "ema_loss": 2 / epoch,
            "ema_top1": 91 - 60 / epoch,
            "lr": 0.1,
            "resolution": 128,
            **others,
        }
        for epoch in range(1, count + 1)
    ]


HISTORIES: dict[str, list[dict[str, Any]]] = {
    "no rows": [],
    "one row": rows(1),
    "three rows": rows(3),
    "many rows": rows(350),
    "no averaged weights": rows(5, ema_loss=None, ema_top1=None),
    "training only": [{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.0}],
    "progressive": [*rows(3), *({**row, "resolution": 192} for row in rows(6)[3:])],
    "diverged": [*rows(3), *({**row, "train_loss": math.nan} for row in rows(6)[3:])],
    "diverged at once": rows(
        2,
        train_loss=math.nan,
        val_loss=math.inf,
        val_top1=math.nan,
        ema_loss=math.nan,
        ema_top1=math.nan,
        lr=math.nan,
    ),
    "losses of zero": rows(4, train_loss=0.0, val_loss=0.0, ema_loss=0.0, lr=0.0),
    "huge losses": rows(4, val_loss=1e30),
    "empty rows": [{}, {}],
    "validated now and then": [*rows(1), {"epoch": 2, "train_loss": 1.0}, *rows(3)[2:]],
}


@pytest.mark.parametrize("name", HISTORIES)
def test_learning_curves_of_any_history_are_drawn_without_a_warning(
    name: str, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curves(tmp_path / "curves.png", HISTORIES[name], "a $run_1$ of 5 $")
    width, height = size(tmp_path / "curves.png")
    assert 800 <= width <= 1200
    assert 600 <= height <= 1200
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_a_learning_curve_is_seen(tmp_path: Path) -> None:
    blue = np.array([0x1F, 0x5F, 0xA8])  # of the validation
    for name in ("three rows", "training only"):
        curves(tmp_path / "curves.png", HISTORIES[name], "")
        with Image.open(tmp_path / "curves.png") as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        assert ((abs(pixels - blue).max(-1) < 8).sum() > 500) == (name == "three rows")


def random_counts(classes: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.3, (classes, classes))
    counts[np.arange(classes), np.arange(classes)] += 20
    counts[0] = 0  # a class without pictures
    return counts


@pytest.mark.parametrize("classes", [1, 2, 20, 21, 100, 1003])
def test_confusions_are_drawn_for_few_and_many_classes(classes: int, tmp_path: Path) -> None:
    confusion(tmp_path / "c.png", random_counts(classes), [f"class {i}" for i in range(classes)])
    width, height = size(tmp_path / "c.png")
    assert 480 <= width <= 2000
    assert 480 <= height <= 1600
    assert inked(tmp_path / "c.png") > 0.03


def test_names_of_classes_are_drawn_as_they_are(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        confusion(tmp_path / "few.png", random_counts(len(NAMES)), NAMES)
        confusion(tmp_path / "many.png", random_counts(21), (3 * NAMES)[:21])
        pictures = [np.zeros((4, 4, 3), np.uint8)] * len(NAMES)
        mistakes(tmp_path / "sheet.png", pictures, NAMES)
        curves(tmp_path / "curves.png", rows(2), "".join(NAMES))
    assert all(size(path) for path in tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    ("counts", "classes", "message"),
    [
        (np.zeros((2, 3), int), ("a", "b"), "use a square of 2"),
        (np.zeros((2, 2), int), ("a",), "use a square of 1"),
        (np.zeros((0, 0), int), (), "use a square of 0"),
        (np.zeros((1, 1)), ("a",), "use integers from 0"),
        (np.full((1, 1), -1), ("a",), "use integers from 0"),
    ],
)
def test_confusions_that_are_none_are_refused(
    counts: np.ndarray, classes: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        confusion(tmp_path / "c.png", counts, classes)
    assert not list(tmp_path.iterdir())


def test_the_most_confused_pairs_come_first_and_equals_in_order() -> None:
    counts = np.array([[9, 3, 0], [5, 9, 3], [0, 0, 99]])
    assert confused_pairs(counts, 9) == [(1, 0), (0, 1), (1, 2)]
    assert confused_pairs(counts, 1) == [(1, 0)]
    assert counts[2, 2] == 99  # the array of the caller is unchanged


@pytest.mark.parametrize(
    ("count", "expected"), [(1, (252, 312)), (9, (1848, 600)), (45, (1848, 1464))]
)
def test_a_contact_sheet_grows_to_forty_pictures_of_any_size(
    count: int, expected: tuple[int, int], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    sizes = [(32, 32), (1, 1), (1, 700), (1200, 900), (28, 28)]
    pictures = [rng.integers(0, 256, (*sizes[i % 5], 3), np.uint8) for i in range(count)]
    mistakes(tmp_path / "m.png", pictures, [f"true cat, predicted dog {i}%" for i in range(count)])
    # versions of matplotlib round differently
    np.testing.assert_allclose(size(tmp_path / "m.png"), expected, atol=1)


def test_small_pictures_keep_their_pixels(tmp_path: Path) -> None:
    board = np.zeros((2, 2, 3), np.uint8)
    board[0, 0] = board[1, 1] = (255, 0, 0)
    mistakes(tmp_path / "m.png", [board], [""])
    with Image.open(tmp_path / "m.png") as image:
        colours = image.convert("RGB").getcolors(1 << 20)
    assert colours is not None
    assert {colour for number, colour in colours if number > 300} == {
        (255, 255, 255),
        (255, 0, 0),
        (0, 0, 0),
    }


def test_no_mistakes_are_a_friendly_picture(tmp_path: Path) -> None:
    mistakes(tmp_path / "m.png", [], [])
    assert size(tmp_path / "m.png") == (720, 408)
    assert inked(tmp_path / "m.png") > 0.05


@pytest.mark.parametrize(
    ("pictures", "titles"),
    [
        ([np.zeros((2, 2, 3), np.uint8)], []),
        ([np.zeros((2, 2, 3))], [""]),
        ([np.zeros((2, 2), np.uint8)], [""]),
        ([np.zeros((0, 2, 3), np.uint8)], [""]),
    ],
)
def test_sheets_of_what_is_no_picture_are_refused(
    pictures: list[np.ndarray], titles: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"^(pictures|titles): "):
        mistakes(tmp_path / "m.png", pictures, titles)


LOGITS = np.array([[4.0, 0, 0], [0, 9, 0], [0, 9, 0], [0, 3, 1], [5, 0, 0], [0, 0, 1]])
TRUTH = np.array([0, 0, 2, 0, 1, 2])  # the first and the last are right


@pytest.mark.parametrize("kind", ["numpy", "float32", "bfloat16", "probabilities"])
def test_the_worst_mistakes_come_first_and_equals_in_order(kind: str) -> None:
    outputs: Any = LOGITS
    if kind == "probabilities":
        outputs = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    elif kind != "numpy":
        outputs = torch.tensor(LOGITS, dtype=getattr(torch, kind), requires_grad=True)
    targets: Any = TRUTH if kind == "numpy" else torch.tensor(TRUTH)
    found = worst(outputs, targets, 10)
    assert found.tolist() == [1, 2, 4, 3]
    assert found.dtype == np.int64
    assert worst(outputs, targets, 2).tolist() == [1, 2]
    assert worst(outputs, targets, 0).tolist() == []


def test_confidences_that_round_to_one_are_still_distinguished() -> None:
    logits = np.array([[60, 0.0], [90, 0], [50, 0], [800, 0]], np.float32)
    assert worst(logits, np.ones(4, int), 4).tolist() == [3, 1, 0, 2]


def test_outputs_that_are_no_numbers_are_the_last_mistakes() -> None:
    outputs = np.array([[math.nan, 0], [0.6, 0.4], [math.inf, 0], [0.9, 0.1], [0, math.nan]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert worst(outputs, np.array([0, 1, 1, 1, 1]), 5).tolist() == [3, 1, 0, 2, 4]


@pytest.mark.parametrize(
    ("outputs", "targets", "count"),
    [
        (np.zeros(3), np.zeros(3), 1),
        (np.zeros((3, 2)), np.zeros(2), 1),
        (np.zeros((3, 2)), np.zeros((3, 2)), 1),
        (np.zeros((3, 2)), np.zeros(3), -1),
    ],
)
def test_outputs_that_do_not_fit_are_refused(
    outputs: np.ndarray, targets: np.ndarray, count: int
) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        worst(outputs, targets, count)


def test_no_outputs_have_no_mistakes() -> None:
    assert worst(np.empty((0, 5)), np.empty(0, int), 3).tolist() == []
    assert worst(np.eye(2), np.arange(2), 3).tolist() == []


@pytest.mark.slow
def test_many_figures_leave_nothing_behind_and_no_window_system(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    def figures() -> int:
        gc.collect()
        return sum(type(found) is Figure for found in gc.get_objects())

    before, modules = figures(), set(sys.modules)
    for _ in range(5):
        mistakes(tmp_path / "m.png", [np.zeros((9, 9, 3), np.uint8)] * 3, ["", "", ""])
    assert figures() <= before  # fewer if figures of another test have been freed
    assert "matplotlib.pyplot" not in set(sys.modules) - modules


def test_a_picture_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves(tmp_path / "curves.png", rows(2), "old")
    before = (tmp_path / "curves.png").read_bytes()

    def half(figure: Any, path: Path, **_: Any) -> None:
        path.write_bytes(b"half a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", half)
    with pytest.raises(OSError, match="No space left"):
        curves(tmp_path / "curves.png", rows(3), "new")
    assert (tmp_path / "curves.png").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cat", "cat"), ("exactly ten", "exactl…ten"), ("German short-haired pointer", "German…ter")],
)
def test_long_names_lose_their_middle(name: str, expected: str) -> None:
    assert shorten(name, 10) == expected
