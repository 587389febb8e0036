"""Figures of a training run: learning curves, confusion matrix, worst mistakes.

Every figure is a PNG that is written atomically. Names of classes are drawn literally (a $ does not
start a formula); characters that cannot be printed are escaped.
"""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from train.pictures.confusion_matrix import confused_pairs, confusion
    from train.pictures.contact_sheet import mistakes, picture_sheet, small, worst
    from train.pictures.learning_curves import curves
    from train.pictures.style import shorten

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "confused_pairs": "train.pictures.confusion_matrix",
        "confusion": "train.pictures.confusion_matrix",
        "curves": "train.pictures.learning_curves",
        "picture_sheet": "train.pictures.contact_sheet",
        "mistakes": "train.pictures.contact_sheet",
        "shorten": "train.pictures.style",
        "small": "train.pictures.contact_sheet",
        "worst": "train.pictures.contact_sheet",
    },
)
