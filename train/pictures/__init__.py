"""Pictures of a training run: learning curves, which classes are confused, the worst mistakes.

Every picture is a PNG that is written atomically. Names of classes are drawn as they are (a $
begins no formula); characters that cannot be printed are escaped.
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
