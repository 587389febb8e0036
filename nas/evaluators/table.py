"""Evaluator that reads accuracies from a file of measured networks."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.evaluators.base import Evaluations, Evaluator, Measured
from search_spaces.space import SearchSpace
from vbs.folder import file_problem
from vbs.text import quoted, shortened

if TYPE_CHECKING:
    import pyarrow


class TableEvaluator(Evaluator):
    """Evaluator by lookup; a network that is not in the table is a failed evaluation.

    space     space of the networks.
    measured  networks and their mean accuracies.
    std       standard deviations of these means in points, [m]; NaN: unknown.
    """

    name = "table"
    unit = "accuracy in the table"
    cheap = False  # a row replaces a training, so that batches should be small
    pooled = True
    instant = True

    def __init__(self, space: SearchSpace, measured: Measured, std: np.ndarray) -> None:
        self.space, self.measured = space, measured
        self._accuracy, self._std = measured.accuracy, std
        keys = space.keys(measured.genotypes).tolist()
        self._row = {key: row for row, key in enumerate(keys)}

    def check(self, space: SearchSpace) -> None:
        """Raise ValueError unless the table was read for this space."""
        if space.choices != self.space.choices:
            raise ValueError(
                f"table: it was read for space {self.space.name!r}, not for space {space.name!r}"
            )

    def evaluate(self, space: SearchSpace, genotypes: np.ndarray) -> Evaluations:
        """Return the measured accuracies of genotypes int8 [n, decisions]."""
        rows = np.array([self._row.get(key, -1) for key in space.keys(genotypes).tolist()], int)
        missing = rows < 0
        accuracy = np.where(missing, np.nan, self._accuracy[rows])
        error = np.where(missing, "not in the table", "").astype(object)
        return Evaluations(
            accuracy,
            np.where(missing, np.nan, self._std[rows]),
            np.zeros(len(rows)),
            error if missing.any() else None,
        )


def read_table(path: str | Path, space: SearchSpace, *, column: str = "accuracy") -> TableEvaluator:
    """Read a CSV or parquet file with a column per decision of the space and one of accuracies.

    Accuracies are in percent. Rows with equal decisions are repeated measurements, which are
    averaged. The error of the mean is computed from the standard deviation of all repeated
    measurements; it is NaN if there are none.

    column  name of the column of accuracies.

    Raises ValueError with the file and the wrong row or column.
    """
    path = Path(path)
    table = _load(path)
    for name in [*space.choices, column]:
        count = table.column_names.count(name)
        if count != 1:
            hint = " (--table-column names the accuracy column)" if name == column else ""
            raise ValueError(
                f"table: {path} has {count or 'no'} column{'s' if count else ''} {name!r}{hint}; "
                f"its columns are {shortened(', '.join(table.column_names), 1000)}"
            )
    if not table.num_rows:
        raise ValueError(f"table: {path} has no rows")
    columns = [
        _indices(path, decision, table.column(decision).to_pylist(), options)
        for decision, options in space.choices.items()
    ]
    genotypes = space.canonical(np.stack(columns, axis=1))
    return _merged(space, genotypes, _accuracies(path, column, table.column(column).to_pylist()))


def _load(path: Path) -> pyarrow.Table:
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    if not path.is_file():
        raise ValueError(f"table: {path} {file_problem(path)}")
    try:
        with path.open("rb") as file:
            is_parquet = file.read(4) == b"PAR1"  # regardless of the file's name
        table = pyarrow.parquet.read_table(path) if is_parquet else pyarrow.csv.read_csv(path)
        return _without_decimals(table)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        kind = "parquet" if path.suffix == ".parquet" else "CSV or parquet"
        raise ValueError(f"table: {path} cannot be read as {kind} ({reason})") from None


def _without_decimals(table: pyarrow.Table) -> pyarrow.Table:
    """Return the table with float64 instead of decimal columns, which some databases export."""
    import pyarrow

    fields = [
        field.with_type(pyarrow.float64()) if pyarrow.types.is_decimal(field.type) else field
        for field in table.schema
    ]
    return table.cast(pyarrow.schema(fields))


def _accuracies(path: Path, column: str, values: list[Any]) -> np.ndarray:
    """Return the accuracies in percent, float64 [rows]; raises ValueError for other values."""
    for row, value in enumerate(values, start=1):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= 100:
            raise ValueError(
                f"table: row {row} of {path} has {column} = {quoted(value)}; use a percentage"
            )
    if max(values) <= 1:
        raise ValueError(f"table: {column} of {path} is from 0 to 1; use accuracies in percent")
    return np.array(values, np.float64)


def _indices(path: Path, decision: str, values: list[Any], options: tuple) -> np.ndarray:
    known = {option: index for index, option in enumerate(options)}
    # options without a plain CSV or parquet value, such as tuples, are stored as text
    by_text = {str(option): index for index, option in enumerate(options)}
    indices = np.empty(len(values), np.int8)
    for row, value in enumerate(values):
        index = None
        if isinstance(value, str):
            index = by_text.get(value.strip())
        elif isinstance(value, Hashable):
            index = known.get(value)
        if index is None:
            raise ValueError(
                f"table: row {row + 1} of {path} has {decision} = {quoted(value)}; "
                f"allowed are {', '.join(map(repr, options))}"
            )
        indices[row] = index
    return indices


def _merged(space: SearchSpace, genotypes: np.ndarray, accuracy: np.ndarray) -> TableEvaluator:
    """Return an evaluator with one row per network, the mean of repeated measurements."""
    keys = space.keys(genotypes)
    _, first, group, count = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    mean = np.bincount(group, accuracy) / count
    squares = np.bincount(group, (accuracy - mean[group]) ** 2).sum()
    repeats = int((count - 1).sum())
    noise = float(np.sqrt(squares / repeats)) if repeats and squares else np.nan
    std = noise / np.sqrt(count)
    return TableEvaluator(space, Measured(genotypes[first], mean), std)
