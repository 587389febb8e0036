"""Arrays of a history that grow together; a column of equal values takes no memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

ROOM = 1024  # rows of the first allocation


class Columns:
    """Named arrays of n rows.

    shapes    name -> (dtype, shape of a row).
    defaults  name -> value of rows that are appended without a value.

    A column is allocated when a value that differs from the previous ones is appended. Until then,
    its rows are a view of one value, so that unused columns take no memory.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[Any, tuple[int, ...]]],
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self._shapes = dict(shapes)
        self._defaults = dict(defaults or {})
        self._arrays: dict[str, np.ndarray] = {}
        self._single: dict[str, np.ndarray] = {}  # 0-dimensional: the value of all rows so far
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def add(self, name: str, values: np.ndarray) -> None:
        """Add a column, with the values [n] of the existing rows."""
        self._shapes[name] = (values.dtype, values.shape[1:])
        self._allocate(name, self._count)[: self._count] = values

    def append(self, count: int, rows: Mapping[str, Any]) -> None:
        """Append `count` rows: for each column an array [count], or one value for all of them.

        A column without values gets its default.
        """
        end = self._count + count
        for name in self._shapes:
            values = self._given(name, rows)
            if name not in self._arrays and self._is_single(name, values):
                continue
            column = self._reserved(name, end)
            column[self._count : end] = values
        self._count = end

    def _given(self, name: str, rows: Mapping[str, Any]) -> np.ndarray:
        """Return the values of a column as an array; 0-dimensional if all rows have one value."""
        dtype, _ = self._shapes[name]
        if rows.get(name) is not None:
            return np.asarray(rows[name], dtype)
        one = np.empty(1, dtype)
        one[0] = self._defaults[name]  # np.array would convert a tuple to an array
        return one.reshape(())

    def _is_single(self, name: str, values: np.ndarray) -> bool:
        """Return whether all values are equal to each other and to the column's rows so far."""
        if self._shapes[name][1]:
            return False
        values = values.ravel()
        if not len(values):
            return True
        one = self._single.get(name)
        if one is None:
            one = values[:1].reshape(()).copy()
        if not (values == one).all():
            return False
        self._single[name] = one
        return True

    def _reserved(self, name: str, rows: int) -> np.ndarray:
        """Return the array of a column with space for `rows` rows."""
        array = self._arrays.get(name)
        if array is None or len(array) < rows:
            return self._allocate(name, rows)
        return array

    def _allocate(self, name: str, rows: int) -> np.ndarray:
        """Return a new array, twice as long, so that appending takes constant time on average."""
        dtype, shape = self._shapes[name]
        old = self._arrays.get(name)
        room = max(ROOM, rows, 0 if old is None else 2 * len(old))
        grown = np.empty((room, *shape), dtype)
        if old is not None:
            grown[: self._count] = old[: self._count]
        elif name in self._single:
            grown[: self._count] = self._single.pop(name)  # for all rows so far
        self._arrays[name] = grown
        return grown

    def view(self, name: str) -> np.ndarray:
        """Return the rows of a column as a read-only array."""
        if name in self._arrays:
            view = self._arrays[name][: self._count]
            view.flags.writeable = False
            return view
        dtype, shape = self._shapes[name]
        one = self._single.get(name, np.zeros((), dtype))
        return np.broadcast_to(one, (self._count, *shape))

    def put(self, name: str, rows: np.ndarray, values: np.ndarray) -> None:
        """Set the values [k] of some rows [k] of a column."""
        self._reserved(name, self._count)[rows] = values
