"""Number of images behind an accuracy, and the standard error that follows from it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from vbs.accuracy import accuracy_error, guessing

if TYPE_CHECKING:
    from train.data import Data

ERROR_NOTE = (
    "±: one standard deviation due to the number of images; "
    "differences between seeds are not included"
)


def scored_images(data: Data) -> dict[str, Any]:
    """Return the number of images of the minival and the test split, and the chance accuracy.

    Each is None if unknown. "chance" is the accuracy of guessing on the minival, in percent (see
    `vbs.accuracy.guessing`).
    """
    minival = data.minival
    chance = None
    if minival is not None and minival.targets.ndim == 1:
        chance = round(guessing(minival.targets.numpy(), len(data.classes)), 4)
    return {
        "minival": None if minival is None else len(minival),
        "test": None if data.test is None else len(data.test),
        "chance": chance,
    }


def with_error(accuracy: float | None, images: Any, *, empty: str = "") -> str:
    """Return an accuracy in percent with its binomial error, e.g. "83.54% ± 2.89".

    The error (see `ERROR_NOTE`) is left out if the number of images is unknown. `empty` is
    returned if there is no accuracy.
    """
    if accuracy is None or math.isnan(accuracy):
        return empty
    error = error_of(accuracy, images)
    return f"{accuracy:.2f}%" + ("" if error is None else f" ± {error:.2f}")


def error_of(accuracy: float | None, images: Any) -> float | None:
    """Return the binomial error of an accuracy in points; None if either argument is unknown."""
    if accuracy is None or math.isnan(accuracy) or not isinstance(images, int) or images <= 0:
        return None
    return round(float(accuracy_error(accuracy, images)), 3)
