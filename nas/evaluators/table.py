"""Measurements in a file: a search among networks somebody has already trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.evaluators.base import Evaluations, Evaluator, Measured
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    import pyarrow


class TableEvaluator(Evaluator):
    """Looks accuracies up; a network that is not in the table is a failed evaluation."""

    name = "table"
    unit = "accuracy as the table states it"
    cheap = False  # a row stands for a training: choose them one by one, as if they were dear
    pooled = True

    def __init__(self, space: SearchSpace, measured: Measured, std: np.ndarray) -> None:
        self.space, self.measured = space, measured
        self._accuracy, self._std = measured.accuracy, std
        keys = space.keys(measured.genotypes).tolist()
        self._row = {key: row for row, key in enumerate(keys)}

    def check(self, space: SearchSpace) -> None:
        """ValueError unless the table was read for this space."""
        if space.choices != self.space.choices:
            raise ValueError(
                f"table: read for space {self.space.name!r}, not for space {space.name!r}"
            )

    def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
        """The measured accuracies of genotypes int8 [n, decisions]."""
        rows = np.array([self._row.get(key, -1) for key in space.keys(genotypes).tolist()], int)
        missing = rows < 0
        accuracy = np.where(missing, np.nan, self._accuracy[rows])
        error = np.where(missing, "not in the table", "").astype(object)
        return Evaluations(
            accuracy, np.where(missing, np.nan, self._std[rows]), np.zeros(len(rows)),
            error if missing.any() else None,
        )  # fmt: skip


def read_table(path: str | Path, space: SearchSpace, *, column: str = "accuracy") -> TableEvaluator:
    """A CSV or parquet file with one column a decision of the space and one of accuracies.

    Rows with equal decisions count as repeated measurements: their mean, and the standard
    deviation of all repeats (0 where nothing is repeated). ValueError names the file, and the
    row or column that is wrong.
    """
    path = Path(path)
    table = _load(path)
    missing = [name for name in [*space.choices, column] if name not in table.column_names]
    if missing:
        hint = " (--table-column names the accuracy column)" if column in missing else ""
        raise ValueError(
            f"table: {path} has no column {missing[0]!r}{hint}; it has "
            f"{', '.join(table.column_names[:40])}"
        )
    if not table.num_rows:
        raise ValueError(f"table: {path} has no rows")
    columns = [
        _indices(path, decision, table.column(decision).to_pylist(), options)
        for decision, options in space.choices.items()
    ]
    genotypes = space.canonical(np.stack(columns, axis=1))
    try:
        accuracy = np.array(table.column(column).to_pylist(), np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"table: column {column!r} of {path} is not numeric") from None
    if not np.isfinite(accuracy).all():
        row = int(np.flatnonzero(~np.isfinite(accuracy))[0])
        raise ValueError(f"table: row {row + 1} of {path} has no finite {column!r}")
    return _merged(space, genotypes, accuracy)


def _load(path: Path) -> pyarrow.Table:
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    if not path.is_file():
        raise ValueError(f"table: {path} is not a file")
    try:
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path)
        return pyarrow.csv.read_csv(path)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"table: {path} cannot be read as {path.suffix or 'CSV'} ({reason})") \
            from None  # fmt: skip


def _indices(path: Path, decision: str, values: list[Any], options: tuple) -> np.ndarray:
    known = {option: index for index, option in enumerate(options)}
    # options that are no plain CSV or parquet value, such as tuples, are written as text
    by_text = {str(option): index for index, option in enumerate(options)}
    indices = np.empty(len(values), np.int8)
    for row, value in enumerate(values):
        index = known.get(value, by_text.get(value) if isinstance(value, str) else None)
        if index is None:
            raise ValueError(
                f"table: row {row + 1} of {path} has {decision} = {value!r}; "
                f"allowed are {', '.join(map(repr, options))}"
            )
        indices[row] = index
    return indices


def _merged(space: SearchSpace, genotypes: np.ndarray, accuracy: np.ndarray) -> TableEvaluator:
    """Repeated networks as one row with their mean."""
    keys = space.keys(genotypes)
    _, first, group, count = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    mean = np.bincount(group, accuracy) / count
    squares = np.bincount(group, (accuracy - mean[group]) ** 2).sum()
    repeats = int((count - 1).sum())
    noise = float(np.sqrt(squares / repeats)) if repeats else 0.0
    std = noise / np.sqrt(count)
    return TableEvaluator(space, Measured(genotypes[first], mean), std)
