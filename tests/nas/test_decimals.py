"""Decimal columns of tables, which databases export, are read as numbers."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from nas.evaluators.table import read_table
from search_spaces.catalog import space


@pytest.mark.parametrize("kind", [pyarrow.decimal128(20, 4), pyarrow.decimal256(40, 6)])
def test_decimal_columns(kind: pyarrow.DataType, tmp_path: Path) -> None:
    the_space = space("efficientnet")
    genotypes = the_space.canonical(the_space.sample(5, np.random.default_rng(0)))
    rows = [the_space.choices_of(genotype) for genotype in genotypes]
    columns = {}
    for name, options in the_space.choices.items():
        values = [row[name] for row in rows]
        numbers = all(type(option) in (int, float) for option in options)
        texts = [Decimal(str(value)) for value in values] if numbers else [str(v) for v in values]
        columns[name] = pyarrow.array(texts, kind if numbers else None)
    accuracies = ["70.5", "71.25", "60", "65.125", "77"]
    columns["accuracy"] = pyarrow.array([Decimal(text) for text in accuracies], kind)
    path = tmp_path / "table.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    found = read_table(path, the_space).evaluate(the_space, genotypes)
    assert found.accuracy.tolist() == [70.5, 71.25, 60.0, 65.125, 77.0]
