"""Data sets: finding, reading, decoding, splitting and augmenting images."""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from train.data.blended import Blend, blend
    from train.data.loading import Data, load, load_unlabelled
    from train.data.reading import Reading
    from train.data.split import UNLABELLED, ImageRequest, Split, Step, evaluation_steps

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ImageRequest": "train.data.split",
        "Blend": "train.data.blended",
        "Data": "train.data.loading",
        "Reading": "train.data.reading",
        "Split": "train.data.split",
        "Step": "train.data.split",
        "UNLABELLED": "train.data.split",
        "blend": "train.data.blended",
        "evaluation_steps": "train.data.split",
        "load": "train.data.loading",
        "load_unlabelled": "train.data.loading",
    },
)
