"""history.parquet: every evaluation of a search, with columns that explain themselves."""

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

PART = 250_000  # rows that are converted, written and read at a time
KEYED = 2_000  # rows up to which all get the key of their network: a key takes about a millisecond
DECIMALS = 3  # of numbers that are rounded: a hundredth of the error that a surrogate states
ROUNDED = ("accuracy", "std", "reward")
MEANING = {
    "accuracy": "percent, as far as the evaluation got; NaN where it failed",
    "std": "error of the accuracy in points, one standard deviation: what the evaluator states, "
    "else the binomial error of the images; NaN where unknown",
    "images": "how many held-out images the accuracy was read on; 0 where unknown",
    "seconds": "seconds that the evaluation took",
    "reward": "what the search maximises; of an evaluation that was stopped early, of the accuracy "
    "that it was expected to reach",
    "flops": "multiply-adds of convolutions and linear layers for one image",
    "params": "parameters of the network",
    "activations": "output elements of convolutions and linear layers for one image",
    **{name: f"measured or predicted: {unit}" for name, unit in MEASURED.items()},
    "fidelity": "share of its steps that the evaluation got; below 1 where it was stopped early",
    "seed": "of the evaluation; 0 for the first one of a network",
    "key": "of the network, as in best.json and in the study; in a search of more than "
    f"{KEYED:,} evaluations only of the Pareto front, empty elsewhere",
    "repeat": "whether the network had been evaluated before: a finalist with another seed",
    "error": "why the evaluation failed; empty where it did not",
}


def write_history(folder: Path, history: History, *, rounded: bool = False) -> None:
    """Write history.parquet: a row for each evaluation in order, decisions by their options.

    What each column means is in the metadata of its field in the schema, under "description".

    rounded  whether accuracy, its error and the reward are written as float32 of `DECIMALS`
             decimals: where the evaluator can give the exact numbers again.
    """
    import pyarrow.parquet

    # only these repeat enough to be worth a dictionary
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


def history_table(history: History) -> pyarrow.Table:
    """The same as an Arrow table, with exact numbers."""
    import pyarrow

    return pyarrow.concat_tables(list(_parts(history, rounded=False))).unify_dictionaries()


def _parts(history: History, *, rounded: bool) -> Iterator[pyarrow.Table]:
    """Tables of the rows of a history in turn; one without rows where there are none."""
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
    """Which rows evaluate a network that an earlier row evaluated, bool [n]."""
    if history.networks == len(history):
        return np.zeros(len(history), bool)
    repeats = np.ones(len(history), bool)
    _, first = np.unique(history.space.keys(history.genotypes), return_index=True)
    repeats[first] = False
    return repeats


def _keys(history: History) -> dict[int, str]:
    """The keys of the networks by row, where they have one; see KEYED."""
    rows = range(len(history)) if len(history) <= KEYED else history.front().tolist()
    return {row: network_key(history.space, history.genotypes[row]) for row in rows}


def _texts(texts: dict[int, str], history: History, rows: slice) -> Any:
    """An Arrow column of the texts of some of the rows, by their place; "" elsewhere."""
    indices = np.zeros(len(history.genotypes[rows]), np.int32)
    known = {text: index for index, text in enumerate(dict.fromkeys(["", *texts.values()]))}
    for place, text in texts.items():
        if 0 <= place < len(indices):
            indices[place] = known[text]
    return _labelled(indices, tuple(known))


def _numbers(values: np.ndarray) -> Any:
    """A numeric array [n] as an Arrow array; `pyarrow.array` would import pandas to look at it."""
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
    """A bool array [n] as an Arrow array."""
    import pyarrow

    bits = pyarrow.py_buffer(np.packbits(values, bitorder="little"))
    return pyarrow.Array.from_buffers(pyarrow.bool_(), len(values), [None, bits])


def _labelled(indices: np.ndarray, labels: tuple) -> Any:
    """An Arrow column of labels given by their indices [n]; as text where they are no numbers."""
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
    """What `write_history` wrote; an empty history where the search had not got that far.

    evaluated  rows the record speaks of, 0 where it speaks of none. ValueError where the file is
               damaged, has fewer rows, or holds what this search could not have evaluated.
    evaluator  gives the exact numbers of a file with rounded ones.
    """
    import pyarrow
    import pyarrow.parquet

    history = History(space, objective)
    path = folder / "history.parquet"
    if not path.exists() and not evaluated:
        return history
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
    """Accuracies and their errors, of which rounded ones are known, by evaluating again.

    Where these do not agree, the evaluator is another one: what was written stays.
    """
    again = answers(evaluator, space, genotypes)
    agree = np.ones(len(genotypes), bool)
    for rounded, exact in zip(known, (again.accuracy, again.std), strict=True):
        agree &= np.isclose(rounded, exact, rtol=1e-6, atol=10.0**-DECIMALS, equal_nan=True)
    accuracy = np.where(agree, again.accuracy, known[0])
    return accuracy, np.where(agree, again.std, known[1])


def _whole(table: Any, name: str) -> np.ndarray | None:
    """A column of whole numbers, int64 [n]; None where an earlier version wrote the table."""
    return table[name].to_numpy().astype(np.int64) if name in table.column_names else None


def _option_indices(column: Any, options: tuple) -> np.ndarray:
    """Indices into a decision's options of a column that holds the options, or their texts."""
    known = {str(option): index for index, option in enumerate(options)}
    known |= {option: index for index, option in enumerate(options)}
    encoded = column.combine_chunks()
    if not hasattr(encoded, "dictionary"):
        encoded = encoded.dictionary_encode()
    order = np.array([known[value] for value in encoded.dictionary.to_pylist()], np.int8)
    return order[encoded.indices.to_numpy()]
