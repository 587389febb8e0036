"""On how many images a run's accuracies were read, and how that is shown."""

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
    """Images of the minival and the test split, None where there is none; and what guessing gets on
    the minival in percent (`vbs.accuracy.guessing`), None where that is unknown."""
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
    """An accuracy in percent with its binomial error, "83.54% ± 2.89"; without where the number of
    images is unknown, `empty` where there is no accuracy.

    The error is that of `ERROR_NOTE`.
    """
    if accuracy is None or math.isnan(accuracy):
        return empty
    error = error_of(accuracy, images)
    return f"{accuracy:.2f}%" + ("" if error is None else f" ± {error:.2f}")


def error_of(accuracy: float | None, images: Any) -> float | None:
    """The binomial error of an accuracy in points; None where it or the images are unknown."""
    if accuracy is None or math.isnan(accuracy) or not isinstance(images, int) or images <= 0:
        return None
    return round(float(accuracy_error(accuracy, images)), 3)
