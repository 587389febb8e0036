"""Logger for TensorBoard: event files in the folder of the training, tensorboard/."""

from __future__ import annotations

from train.loggers.base import Logged, Logger
from train.logs import Row, TensorBoard


class TensorBoardLogger(Logger):
    """A logger by `train.logs.TensorBoard`, which reports its own failures."""

    def start(self, run: Logged) -> None:
        self._board = TensorBoard(run.folder / "tensorboard", resumed_at=run.resumed_at)
        self._board.__enter__()

    def epoch(self, row: Row) -> None:
        self._board.add(row)

    def close(self) -> None:
        self._board.__exit__(None, None, None)
