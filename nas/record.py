"""The folder of a search: settings first, then results; each file appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nas.evaluators.base import Evaluations
from nas.history import History
from nas.objective import Objective
from nas.settings import without_password
from nas.storage.cache import network_key, plain
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace
from vbs.folder import circumstances, empty_folder, write_json, write_whole

FILES = ("search.json", "history.parquet", "best.json", "pareto.csv", "pareto.png")


def new_folder(out: str | None) -> Path:
    """A folder without results, made if need be; ValueError where that cannot be."""
    return empty_folder(out, kind="search", files=FILES)


def read_record(folder: Path) -> dict[str, Any]:
    """search.json of a folder to resume, its settings and outcome; ValueError where it is none."""
    path = folder / "search.json"
    if not path.is_file():
        raise ValueError(f"resume: {folder} holds no search (there is no search.json in it)")
    try:
        content = json.loads(path.read_text())
        outcome = content["outcome"]
        evaluated = outcome.get("evaluated", 0) if isinstance(outcome, dict) else None
        if not isinstance(content["settings"], dict) or not isinstance(evaluated, int):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"resume: {path} is not the record of a search") from None
    return content


def write_search(folder: Path, settings: Mapping[str, Any], *, status: str, **outcome: Any) -> None:
    """search.json: everything needed to run the search again, and how it ended."""
    content = {
        "status": status, "settings": without_password(settings), "outcome": outcome,
        **circumstances(("numpy", "pyarrow", "optuna", "torch")),
    }  # fmt: skip
    write_json(folder / "search.json", content)


def sha256(path: Path) -> str:
    """Digest of a file's content; ValueError where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None


def write_history(folder: Path, history: History) -> None:
    """history.parquet: every evaluation in order, decisions by their options; a table for later."""
    import pyarrow
    import pyarrow.parquet

    columns: dict[str, Any] = {}
    for column, (decision, options) in enumerate(history.space.choices.items()):
        columns[decision] = _labelled(history.genotypes[:, column], options)
    for name in ("accuracy", "std", "seconds", "reward"):
        columns[name] = _numbers(getattr(history, name))
    for name in history.space.cost_names:
        columns[name] = _numbers(history.costs.get(name))
    columns["fidelity"] = _numbers(history.fidelity)
    reasons = {reason: index for index, reason in enumerate(dict.fromkeys(["", *history.error]))}
    indices = np.array([reasons[reason] for reason in history.error], np.int64)
    columns["error"] = _labelled(indices, tuple(reasons))
    table = pyarrow.table(columns)
    few = [*history.space.choices, "error"]  # only these repeat enough to be worth a dictionary
    write_whole(
        folder / "history.parquet",
        lambda path: pyarrow.parquet.write_table(table, str(path), use_dictionary=few),
    )


def _numbers(values: np.ndarray) -> Any:
    """A numeric array [n] as an Arrow array; `pyarrow.array` would import pandas to look at it."""
    import pyarrow

    kinds = {"int8": pyarrow.int8(), "int64": pyarrow.int64(), "float64": pyarrow.float64()}
    buffer = pyarrow.py_buffer(np.ascontiguousarray(values))
    return pyarrow.Array.from_buffers(kinds[values.dtype.name], len(values), [None, buffer])


def _labelled(indices: np.ndarray, labels: tuple) -> Any:
    """An Arrow column of labels given by their indices [n]; as text where they are no numbers."""
    import pyarrow

    kinds = {type(label) for label in labels}
    if kinds == {float} or (kinds == {int} and max(map(abs, labels)) < 2**63):
        values = _numbers(np.array(labels))
    elif kinds == {bool}:
        bits = pyarrow.py_buffer(np.packbits(labels, bitorder="little"))
        values = pyarrow.Array.from_buffers(pyarrow.bool_(), len(labels), [None, bits])
    else:
        texts = [str(label).encode() for label in labels]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        values = pyarrow.StringArray.from_buffers(
            len(texts), pyarrow.py_buffer(ends), pyarrow.py_buffer(b"".join(texts))
        )
    return pyarrow.DictionaryArray.from_arrays(_numbers(indices), values)


def read_history(
    folder: Path, space: SearchSpace, objective: Objective, *, evaluated: int
) -> History:
    """What `write_history` wrote; an empty history where the search had not got that far.

    evaluated  rows the record speaks of, 0 where it speaks of none. ValueError where the file is
               damaged, has fewer rows, or holds what this search could not have evaluated.
    """
    import pyarrow
    import pyarrow.parquet

    history = History(space, objective)
    path = folder / "history.parquet"
    if not path.exists() and not evaluated:
        return history
    try:
        table = pyarrow.parquet.read_table(path)
        genotypes = np.empty((table.num_rows, len(space.choices)), np.int8)
        for column, (decision, options) in enumerate(space.choices.items()):
            genotypes[:, column] = _option_indices(table[decision], options)
        accuracy, std, seconds = (
            table[name].to_numpy().astype(np.float64) for name in ("accuracy", "std", "seconds")
        )
        error = np.array(table["error"].to_pylist(), object)
        history.extend(
            genotypes, Evaluations(accuracy, std, seconds, error), space.costs(genotypes)
        )
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as failure:
        reason = str(failure).splitlines()[0]
        raise ValueError(f"resume: {path} cannot be read ({reason})") from None
    distinct = len(np.unique(space.keys(genotypes))) == len(genotypes)
    if len(history) < evaluated or not distinct or not objective.feasible(history.costs).all():
        raise ValueError(f"resume: {path} is not the history of the search in search.json")
    return history


def _option_indices(column: Any, options: tuple) -> np.ndarray:
    """Indices into a decision's options of a column that holds the options, or their texts."""
    known = {str(option): index for index, option in enumerate(options)}
    known |= {option: index for index, option in enumerate(options)}
    encoded = column.combine_chunks()
    if not hasattr(encoded, "dictionary"):
        encoded = encoded.dictionary_encode()
    order = np.array([known[value] for value in encoded.dictionary.to_pylist()], np.int8)
    return order[encoded.indices.to_numpy()]


def best_record(history: History, row: int) -> dict[str, Any]:
    """What best.json says of one evaluated network; the same search gives the same bytes."""
    space, summary = history.space, history.summary(row)
    genotype = history.genotypes[row]
    choices, network = space.choices_of(genotype), space.decode(genotype)
    if isinstance(network, Architecture):
        architecture, key = json.loads(network.to_json()), network.key
    else:
        architecture, key = None, network_key(space, genotype)
    return {
        "architecture": architecture,
        "key": key,
        "choices": {name: plain(option) for name, option in choices.items()},
        **{name: history.costs.get(name)[row].item() for name in history.space.cost_names},
        # rounded: the last digits of a sum differ between processors
        "accuracy": round(summary.accuracy, 6),
        "accuracy_std": None if np.isnan(summary.std) else round(summary.std, 6),
        "reward": round(summary.reward, 6),
        "evaluations": summary.evaluations,
    }
