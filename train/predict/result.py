"""The result of classifying images."""

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
    """Predictions on all readable images, in their order.

    config         the options.
    store          the encoded images.
    classes        names of the network's classes.
    rows           rows of the images in the store, int64 [n].
    labels         most probable classes of each image, best first, int64 [n, k].
    probabilities  of these classes, float32 [n, k].
    unreadable     (name, why) of the images that could not be read.
    seconds        from the first image to the last prediction.
    runtime        description of the runtime and device.
    written        files that were written.
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
        """Yield for each image its name, "prediction" and "probability" (next ones _2, _3, ...)."""
        for index, row in enumerate(self.rows.tolist()):
            record: dict[str, Any] = {"image": self.store.name(row)}
            for place in range(self.labels.shape[1]):
                end = f"_{place + 1}" if place else ""
                record[f"prediction{end}"] = self.classes[int(self.labels[index, place])]
                record[f"probability{end}"] = float(self.probabilities[index, place])
            yield record

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 1 if images could not be read."""
        return FAILED if self.unreadable else 0
