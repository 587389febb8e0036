"""What a network predicts of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vbs.command import FAILED

if TYPE_CHECKING:
    import numpy as np

    from train.data.stores import Store
    from train.predict.config import PredictConfig


@dataclass(frozen=True)
class PredictResult:
    """Predictions of all images that could be read, in their order.

    config         the options.
    store          the encoded images.
    classes        names of the network's classes.
    rows           which images of the store they are, int64 [n].
    labels         the likeliest classes of each, best first, int64 [n, k].
    probabilities  of these, float32 [n, k].
    unreadable     (name, why) of the images that could not be read.
    seconds        from the first image to the last prediction.
    runtime        what has computed, in words.
    written        the files of the predictions.
    """

    config: PredictConfig
    store: Store
    classes: tuple[str, ...]
    rows: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    unreadable: tuple[tuple[str, str], ...]
    seconds: float
    runtime: str
    written: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def records(self) -> Iterator[dict[str, Any]]:
        """Of each image its name, and "prediction" and "probability" (with _2, _3 for the next)."""
        for index, row in enumerate(self.rows.tolist()):
            record: dict[str, Any] = {"image": self.store.name(row)}
            for place in range(self.labels.shape[1]):
                end = f"_{place + 1}" if place else ""
                record[f"prediction{end}"] = self.classes[int(self.labels[index, place])]
                record[f"probability{end}"] = float(self.probabilities[index, place])
            yield record

    @property
    def exit_code(self) -> int:
        """That of the command line: 1 where images could not be read."""
        return FAILED if self.unreadable else 0
