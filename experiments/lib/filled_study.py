"""A study with many finished trainings, written in bulk, for `experiments.thousand_workers`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.simulated_cluster import Curves
from nas.evaluators.base import Answer
from nas.storage.cache import network_key
from nas.storage.study_settings import SearchIdentity
from nas.storage.trial_writer import TrialWriter
from nas.storage.trials import GENOTYPE, ORDER, answer_attributes, curve_attribute

AT_ONCE = 5_000  # trials in one transaction
DRIVER = "elsewhere:1:x:1.1"
# SQL statement for each kind of row that `_rows` yields
STATEMENTS = {
    "trials": "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, "
    "datetime_complete) VALUES (?, ?, ?, 'COMPLETE', ?, ?)",
    "params": "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) "
    "VALUES (?, ?, ?, ?)",
    "attributes": "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)",
    "system": "INSERT INTO trial_system_attributes (trial_id, key, value_json) VALUES (?, ?, ?)",
    "values": "INSERT INTO trial_values (trial_id, objective, value, value_type) "
    "VALUES (?, 0, ?, 'FINITE')",
    "points": "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, "
    "intermediate_value_type) VALUES (?, ?, ?, 'FINITE')",
}


def fill(path: Path, search: SearchIdentity, rows: int, curves: Curves) -> None:
    """Write finished trainings into the only study of an sqlite file.

    The rows equal those that drivers write one at a time.
    """
    space = search.space
    drawn = space.sample(2 * rows, np.random.default_rng(0))
    drawn = drawn[np.sort(np.unique(space.keys(drawn), return_index=True)[1])]
    connection = sqlite3.connect(path)
    writer = TrialWriter(connection.execute("SELECT study_id FROM studies").fetchone()[0], search)
    for start in range(0, rows, AT_ONCE):
        parts: dict[str, list[tuple]] = {name: [] for name in STATEMENTS}
        genotypes = drawn[start : min(start + AT_ONCE, rows)]
        for number, genotype in enumerate(genotypes, start):
            for name, row in _rows(writer, number, genotype, curves):
                parts[name].append(row)
        for name, statement in STATEMENTS.items():
            connection.executemany(statement, parts[name])
        connection.commit()
    connection.close()


def _rows(
    writer: TrialWriter, number: int, genotype: np.ndarray, curves: Curves
) -> Iterator[tuple[str, tuple]]:
    """Yield (table, row) of one trial."""
    now = datetime.now(timezone.utc).replace(tzinfo=None).isoformat(" ")
    trial, space = number + 1, writer.search.space
    answer = Answer.of_curve(curves(genotype, 0))
    costs = space.costs(genotype[None])
    yield "trials", (trial, number, writer.study, now, now)
    for (name, text), index in zip(writer.distributions.items(), genotype.tolist(), strict=True):
        yield "params", (trial, name, index, text)
    about: dict[str, Any] = {
        **{name: costs.get(name)[0].item() for name in space.cost_names},
        "architecture": network_key(space, genotype),
        "seed": 0,
        "driver": DRIVER,
        **answer_attributes(answer),
    }
    inner = {
        GENOTYPE: genotype.tobytes().hex(),
        ORDER: number,
        "curve": curve_attribute(answer.curve),
    }
    for table, attributes in (("attributes", about), ("system", inner)):
        for key, value in attributes.items():
            yield table, (trial, key, json.dumps(value))
    reward = writer.search.objective.reward(np.array([answer.accuracy]), costs)[0]
    yield "values", (trial, float(reward))
    for point in answer.curve:
        yield "points", (trial, point.step, point.accuracy)
