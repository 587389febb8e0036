"""history.parquet: seeds, keys, repeats, meanings of columns, and files of earlier versions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pyarrow.parquet
import pytest

from nas import catalog
from nas.evaluators.base import Answer, Evaluations
from nas.history import History
from nas.history_file import history_table, read_history, write_history
from nas.objective import Objective
from nas.storage.cache import network_key
from search_spaces.catalog import space
from tests.nas.studies import EASY, every_network
from tests.nas.toys import b0_space, tiny_space

ADDED = ["images", "seed", "key", "repeat"]


def some_history() -> History:
    """Return two networks scored on 72 images, the first one also with a second seed."""
    history = History(tiny_space(), EASY)
    genotypes = every_network(history.space)[[0, 5, 0]]
    answers = [Answer(50.0, images=72), Answer(40.0, images=72), Answer(60.0, images=72)]
    evaluations = Evaluations.of_answers(answers, seeds=[0, 0, 1])
    history.extend(genotypes, evaluations, history.space.costs(genotypes))
    return history


def test_a_row_says_its_seed_its_network_and_whether_it_repeats_one(tmp_path: Path) -> None:
    history = some_history()
    write_history(tmp_path, history)
    table = pyarrow.parquet.read_table(tmp_path / "history.parquet")
    assert table["seed"].to_pylist() == [0, 0, 1]
    assert table["repeat"].to_pylist() == [False, False, True]
    assert table["images"].to_pylist() == [72] * 3
    keys = [network_key(history.space, genotype) for genotype in history.genotypes]
    assert table["key"].to_pylist() == keys
    assert keys[0] == keys[2] != keys[1]


def test_every_column_says_what_it_means(tmp_path: Path) -> None:
    write_history(tmp_path, some_history())
    schema = pyarrow.parquet.read_schema(tmp_path / "history.parquet")
    for field in schema:
        assert len(field.metadata[b"description"]) > 10, field.name
    assert b"points" in schema.field("std").metadata[b"description"]


def test_a_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    history = History(tiny_space(), EASY)
    genotypes = every_network(history.space)[:2]
    evaluations = Evaluations(np.array([50.0, 60.0]), np.array([0.1, 0.2]), np.zeros(2))
    history.extend(genotypes, evaluations, history.space.costs(genotypes))
    write_history(tmp_path, history)
    path = tmp_path / "history.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).drop_columns(ADDED), path)
    known = read_history(tmp_path, tiny_space(), EASY, evaluated=2)
    np.testing.assert_array_equal(known.accuracy, history.accuracy)
    np.testing.assert_array_equal(known.std, [0.1, 0.2])
    assert known.images.tolist() == known.seed.tolist() == [0, 0]


@pytest.mark.parametrize("count", [30, 2100])
def test_a_long_history_has_the_keys_of_its_front(count: int, tmp_path: Path) -> None:
    history = History(b0_space(), Objective(1e9))
    genotypes = history.space.sample(count, np.random.default_rng(0))
    numbers = np.random.default_rng(1).uniform(50, 60, count)
    evaluations = Evaluations(numbers, np.full(count, 0.1), np.zeros(count))
    history.extend(genotypes, evaluations, history.space.costs(genotypes))
    write_history(tmp_path, history)
    keys = pyarrow.parquet.read_table(tmp_path / "history.parquet")["key"].to_pylist()
    known = {row for row, key in enumerate(keys) if key}
    assert known == (set(range(count)) if count < 100 else {*history.front().tolist()})
    row = int(history.front()[-1])
    assert keys[row] == history.space.decode(history.genotypes[row]).key


def test_rounded_numbers_are_exact_again_where_the_evaluator_gives_them(tmp_path: Path) -> None:
    the_space, objective = space("efficientnet"), Objective(1e9)
    evaluator = catalog.evaluator("surrogate", the_space)
    history = History(the_space, objective)
    genotypes = the_space.sample(300, np.random.default_rng(0))
    history.extend(genotypes, evaluator.evaluate(the_space, genotypes), the_space.costs(genotypes))
    write_history(tmp_path, history, rounded=True)
    written = pyarrow.parquet.read_table(tmp_path / "history.parquet")["accuracy"].to_numpy()
    assert written.dtype == np.float32
    np.testing.assert_allclose(written, history.accuracy, atol=6e-4)
    again = read_history(tmp_path, the_space, objective, evaluated=300, evaluator=evaluator)
    for name in ("accuracy", "std", "reward"):
        np.testing.assert_array_equal(getattr(again, name), getattr(history, name))
    unknown = read_history(tmp_path, the_space, objective, evaluated=300)
    np.testing.assert_array_equal(unknown.accuracy, written.astype(np.float64))


def test_a_long_history_is_written_and_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(b0_space(), Objective(1e9))
    genotypes = history.space.sample(40, np.random.default_rng(0))
    answers = [Answer(50.0 + row / 7, seconds=row) for row in range(39)] + [Answer.failed("why")]
    evaluations = Evaluations.of_answers(answers)
    history.extend(genotypes, evaluations, history.space.costs(genotypes))
    whole = history_table(history).to_pandas()
    monkeypatch.setattr("nas.history_file.PART", 7)
    write_history(tmp_path, history)
    assert pyarrow.parquet.ParquetFile(tmp_path / "history.parquet").num_row_groups == 6
    read = pandas.read_parquet(tmp_path / "history.parquet")
    assert read.astype(str).equals(whole.astype(str))  # numbers are not categories in the file
    again = read_history(tmp_path, history.space, history.objective, evaluated=40)
    assert again.error.tolist() == history.error.tolist()
    for name in ("genotypes", "accuracy", "seconds", "reward"):
        np.testing.assert_array_equal(getattr(again, name), getattr(history, name))
