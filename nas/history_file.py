"""The file history.parquet: every evaluation of a search, with a description of each column."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.evaluators.base import Evaluations, Evaluator
from nas.history import History
from nas.objective import Objective
from nas.search.loop import answers
from nas.storage.cache import network_key
from search_spaces.cost import MEASURED, Cost, is_measured, split_cost
from search_spaces.space import SearchSpace
from vbs.folder import write_whole

if TYPE_CHECKING:
    import pyarrow

PART = 100_000  # rows that are converted, written and read at a time
KEYED = 2_000  # most rows for which all keys are written; a key takes about a millisecond
DECIMALS = 3  # decimals of rounded numbers: about a hundredth of the error of the surrogate
ROUNDED = ("accuracy", "std", "reward")
MEANING = {
    "accuracy": "percent, at the last evaluated step; NaN if the evaluation failed",
    "std": "standard deviation of the accuracy in points: the evaluator's value, or the binomial "
    "error of the images; NaN if unknown",
    "images": "number of held-out images that the accuracy was computed on; 0 if unknown",
    "seconds": "duration of the evaluation",
    "reward": "the reward that the search maximises; after an early stop, the reward of the "
    "accuracy that is expected at the end",
    "flops": "multiply-adds of convolutions and linear layers for one image",
    "params": "parameters of the network",
    "activations": "output elements of convolutions and linear layers for one image",
    **{name: f"measured or predicted: {unit}" for name, unit in MEASURED.items()},
    "fidelity": "share of the steps that were evaluated; below 1 if it was stopped early",
    "seed": "seed of the evaluation; 0 for the first one of a network",
    "key": "key of the network, as in best.json and in the study; in a search of more than "
    f"{KEYED:,} evaluations only for the Pareto front, otherwise empty",
    "repeat": "whether the network was evaluated before: a finalist with another seed",
    "error": "reason why the evaluation failed; empty if it succeeded",
}


def write_history(folder: Path, history: History, *, rounded: bool = False) -> None:
    """Write history.parquet, with a row for each evaluation and a column for each decision.

    The metadata of each field in the schema contains its "description".

    rounded  whether accuracy, its error and the reward are written as float32 with `DECIMALS`
             decimals, for evaluators that can compute the exact numbers again.
    """
    import pyarrow.parquet

    # only these columns have enough repeated values for a dictionary
    few = [*history.space.choices, "key", "error", *(ROUNDED if rounded else ())]
    packed = dict.fromkeys((*Cost._fields, "images", "seed"), "DELTA_BINARY_PACKED")

    def write(path: Path) -> None:
        tables = _parts(history, rounded=rounded)
        first = next(tables)
        with pyarrow.parquet.ParquetWriter(
            str(path), first.schema, compression="zstd", use_dictionary=few, column_encoding=packed
        ) as writer:
            for table in itertools.chain([first], tables):
                writer.write_table(table, row_group_size=PART)

    write_whole(folder / "history.parquet", write)
    pyarrow.default_memory_pool().release_unused()  # which the report can use


def history_table(history: History) -> pyarrow.Table:
    """Return the content of history.parquet as an Arrow table, with exact numbers."""
    import pyarrow

    return pyarrow.concat_tables(list(_parts(history, rounded=False))).unify_dictionaries()


def _parts(history: History, *, rounded: bool) -> Iterator[pyarrow.Table]:
    """Yield tables of the rows of a history; one empty table for an empty history."""
    repeats, keys = _repeats(history), _keys(history)
    for start in range(0, max(1, len(history)), PART):
        yield _table(history, slice(start, start + PART), repeats, keys, rounded=rounded)


def _table(
    history: History, rows: slice, repeats: np.ndarray, keys: dict[int, str], *, rounded: bool
) -> pyarrow.Table:
    import pyarrow

    columns: dict[str, Any] = {}
    for column, (decision, options) in enumerate(history.space.choices.items()):
        columns[decision] = _labelled(history.genotypes[rows, column], options)
    for name in ("accuracy", "std", "seconds", "reward"):
        values = getattr(history, name)[rows]
        if rounded and name in ROUNDED:
            values = np.round(values, DECIMALS).astype(np.float32)
        columns[name] = _numbers(values)
    for name in history.space.cost_names:
        columns[name] = _numbers(history.costs.get(name)[rows])
    for name in ("fidelity", "images", "seed"):
        columns[name] = _numbers(getattr(history, name)[rows])
    columns["key"] = _texts({row - rows.start: key for row, key in keys.items()}, history, rows)
    columns["repeat"] = _bits(repeats[rows])
    errors = history.error[rows]
    failed = np.flatnonzero(errors != "").tolist()
    columns["error"] = _texts({row: errors[row] for row in failed}, history, rows)
    fields = [
        pyarrow.field(name, column.type, metadata={"description": _meaning(name)})
        for name, column in columns.items()
    ]
    return pyarrow.table(list(columns.values()), schema=pyarrow.schema(fields))


def _meaning(name: str) -> str:
    if is_measured(name):
        kind, device = split_cost(name)
        return f"{MEANING[kind]}{f', on {device}' * bool(device)}"
    return MEANING.get(name, "a decision of the space, see search_spaces.show")


def _repeats(history: History) -> np.ndarray:
    """Return which rows evaluate a network of an earlier row again, bool [n]."""
    if history.networks == len(history):
        return np.zeros(len(history), bool)
    repeats = np.ones(len(history), bool)
    _, first = np.unique(history.space.keys(history.genotypes), return_index=True)
    repeats[first] = False
    return repeats


def _keys(history: History) -> dict[int, str]:
    """Return the keys of the networks by row, for the rows that have one; see KEYED."""
    rows = range(len(history)) if len(history) <= KEYED else history.front().tolist()
    return {row: network_key(history.space, history.genotypes[row]) for row in rows}


def _texts(texts: dict[int, str], history: History, rows: slice) -> Any:
    """Return an Arrow column of texts by their place in `rows`; "" for other rows."""
    indices = np.zeros(len(history.genotypes[rows]), np.int32)
    known = {text: index for index, text in enumerate(dict.fromkeys(["", *texts.values()]))}
    for place, text in texts.items():
        if 0 <= place < len(indices):
            indices[place] = known[text]
    return _labelled(indices, tuple(known))


def _numbers(values: np.ndarray) -> Any:
    """Return a numeric array [n] as an Arrow array; `pyarrow.array` would import pandas."""
    import pyarrow

    kinds = {
        "int8": pyarrow.int8(),
        "int32": pyarrow.int32(),
        "int64": pyarrow.int64(),
        "float32": pyarrow.float32(),
        "float64": pyarrow.float64(),
    }
    buffer = pyarrow.py_buffer(np.ascontiguousarray(values))
    return pyarrow.Array.from_buffers(kinds[values.dtype.name], len(values), [None, buffer])


def _bits(values: np.ndarray) -> Any:
    """Return a bool array [n] as an Arrow array."""
    import pyarrow

    bits = pyarrow.py_buffer(np.packbits(values, bitorder="little"))
    return pyarrow.Array.from_buffers(pyarrow.bool_(), len(values), [None, bits])


def _labelled(indices: np.ndarray, labels: tuple) -> Any:
    """Return an Arrow column of labels given by their indices [n]; as text unless numeric."""
    import pyarrow

    kinds = {type(label) for label in labels}
    if kinds == {float} or (kinds == {int} and max(map(abs, labels)) < 2**63):
        values = _numbers(np.array(labels))
    elif kinds == {bool}:
        values = _bits(np.array(labels))
    else:
        texts = [str(label).encode() for label in labels]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        values = pyarrow.StringArray.from_buffers(
            len(texts), pyarrow.py_buffer(ends), pyarrow.py_buffer(b"".join(texts))
        )
    return pyarrow.DictionaryArray.from_arrays(_numbers(indices), values)


def read_history(
    folder: Path,
    space: SearchSpace,
    objective: Objective,
    *,
    evaluated: int,
    evaluator: Evaluator | None = None,
) -> History:
    """Read the file that `write_history` wrote.

    evaluated  number of evaluations in the record of the search. If it is 0 and there is no file,
               the history is empty.
    evaluator  evaluator that computes the exact numbers of a rounded file; None to keep these.

    Raises ValueError if the file is damaged, has fewer rows than `evaluated`, or contains networks
    that this search cannot have evaluated.
    """
    history = History(space, objective)
    path = folder / "history.parquet"
    if not path.exists() and not evaluated:
        return history
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=PART):
                _extend(history, pyarrow.Table.from_batches([batch]), evaluator)
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as failure:
        reason = str(failure).splitlines()[0]
        raise ValueError(f"resume: {path} cannot be read ({reason})") from None
    distinct = history.networks == len(history)
    if len(history) < evaluated or not distinct or not objective.feasible(history.costs).all():
        raise ValueError(f"resume: {path} is not the history of the search in search.json")
    return history


def _extend(history: History, table: pyarrow.Table, evaluator: Evaluator | None) -> None:
    """Append the rows of a table."""
    space = history.space
    genotypes = np.empty((table.num_rows, len(space.choices)), np.int8)
    for column, (decision, options) in enumerate(space.choices.items()):
        genotypes[:, column] = _option_indices(table[decision], options)
    accuracy, std, seconds = (
        table[name].to_numpy().astype(np.float64) for name in ("accuracy", "std", "seconds")
    )
    if evaluator is not None and str(table["accuracy"].type) == "float":
        accuracy, std = _exact(space, genotypes, (accuracy, std), evaluator)
    error = np.array(table["error"].to_pylist(), object)
    seed, images = (_whole(table, name) for name in ("seed", "images"))
    evaluations = Evaluations(accuracy, std, seconds, error, seed=seed, images=images)
    history.extend(genotypes, evaluations, space.costs(genotypes))


def _exact(
    space: SearchSpace,
    genotypes: np.ndarray,
    known: tuple[np.ndarray, np.ndarray],
    evaluator: Evaluator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return exact accuracies and errors by evaluating again; `known` contains the rounded ones.

    Values that do not agree come from a different evaluator; their rounded values are kept.
    """
    again = answers(evaluator, space, genotypes)
    agree = np.ones(len(genotypes), bool)
    for rounded, exact in zip(known, (again.accuracy, again.std), strict=True):
        agree &= np.isclose(rounded, exact, rtol=1e-6, atol=10.0**-DECIMALS, equal_nan=True)
    accuracy = np.where(agree, again.accuracy, known[0])
    return accuracy, np.where(agree, again.std, known[1])


def _whole(table: Any, name: str) -> np.ndarray | None:
    """Return a column of whole numbers, int64 [n]; None in tables of earlier versions."""
    return table[name].to_numpy().astype(np.int64) if name in table.column_names else None


def _option_indices(column: Any, options: tuple) -> np.ndarray:
    """Return the option indices of a column that contains the options or their texts."""
    known = {str(option): index for index, option in enumerate(options)}
    known |= {option: index for index, option in enumerate(options)}
    encoded = column.combine_chunks()
    if not hasattr(encoded, "dictionary"):
        encoded = encoded.dictionary_encode()
    order = np.array([known[value] for value in encoded.dictionary.to_pylist()], np.int8)
    return order[encoded.indices.to_numpy()]
