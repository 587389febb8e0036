"""The cache of results across runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from nas.evaluators.base import Answer, Point
from nas.storage.cache import Cache, default_folder, key_of, network_key
from search_spaces.cost import Cost
from search_spaces.space import SearchSpace
from tests.nas.toys import b0_space, tiny_space

KEY = key_of({"network": "abc", "seed": 0})
ANSWER = Answer(
    71.25,
    std=0.5,
    seconds=60.0,
    curve=(Point(1, 40.0, 30.0), Point(2, 71.25, 60.0)),
    fidelity=0.5,
    images=72,
)


def test_an_answer_is_found_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "results")
    assert cache.get(KEY) is None
    assert cache.put(KEY, ANSWER)
    assert cache.get(KEY) == ANSWER == Cache(tmp_path / "results").get(KEY)
    assert cache.get(key_of({"network": "abc", "seed": 1})) is None
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [tmp_path / "results" / KEY[:2] / f"{KEY[2:]}.json"]


def test_an_unknown_deviation_stays_unknown(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put(KEY, Answer(70.0))
    found = cache.get(KEY)
    assert found is not None
    assert math.isnan(found.std)


def test_an_entry_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put(KEY, ANSWER)
    content = json.loads(cache.path(KEY).read_text())
    del content["images"]  # it did not record the number of images
    cache.path(KEY).write_text(json.dumps(content))
    found = cache.get(KEY)
    assert found is not None
    assert (found.accuracy, found.images) == (ANSWER.accuracy, 0)


@pytest.mark.parametrize("answer", [Answer.failed("out of memory"), Answer(math.nan)])
def test_failures_are_not_kept(tmp_path: Path, answer: Answer) -> None:
    assert not Cache(tmp_path).put(KEY, answer)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"version": 1}',
        b"[" * 100_000,
        b'{"version": 0, "accuracy": 1, "std": 1, "seconds": 1, "fidelity": 1, "curve": []}',
        b'{"version": 1, "accuracy": "9", "std": 1, "seconds": 1, "fidelity": 1, "curve": []}',
        b'{"version": 1, "accuracy": NaN, "std": 1, "seconds": 1, "fidelity": 1, "curve": []}',
        b'{"version": 1, "accuracy": 1, "std": 1, "seconds": 1, "fidelity": 1, "curve": [[1]]}',
        b'{"version": 1, "accuracy": 1, "std": 1, "seconds": 1, "fidelity": 1, "curve": 7}',
    ],
)
def test_a_damaged_entry_counts_as_missing_and_is_written_anew(
    tmp_path: Path, damage: bytes
) -> None:
    cache = Cache(tmp_path)
    cache.put(KEY, ANSWER)
    cache.path(KEY).write_bytes(damage)
    assert cache.get(KEY) is None
    assert cache.put(KEY, ANSWER)
    assert cache.get(KEY) == ANSWER


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "a" * 63, KEY.upper(), KEY + "\n", "/"])
def test_a_key_that_is_none_is_no_path(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="is not a key"):
        Cache(tmp_path).get(key)
    with pytest.raises(ValueError, match="is not a key"):
        Cache(tmp_path).put(key, ANSWER)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_entry(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    cache = Cache(tmp_path / "results")
    assert not cache.put(KEY, ANSWER)
    assert cache.get(KEY) is None


def test_keys_depend_on_content_and_not_on_order() -> None:
    assert key_of({"a": 1, "b": [1.5, None]}) == key_of({"b": [1.5, None], "a": 1})
    different = [{"a": 1}, {"a": 2}, {"b": 1}, {"a": "1"}, {"a": 1.5}, {"a": [1]}, {"a": {"a": 1}}]
    assert len({key_of(content) for content in different}) == len(different)
    assert key_of({"ü": "\ud800"}) != key_of({"ü": "x"})


def test_equal_networks_have_one_key_and_different_ones_their_own() -> None:
    space = b0_space()
    genotypes = np.unique(space.sample(50, np.random.default_rng(0)), axis=0)
    keys = [network_key(space, genotype) for genotype in genotypes]
    assert len(set(keys)) == len(genotypes)
    assert keys[0] == space.decode(genotypes[0]).key


def test_networks_that_are_no_architectures_are_known_by_their_space() -> None:
    one = tiny_space()
    other = SearchSpace("other", one.choices, tuple, cost=lambda network: Cost(1))
    genotypes = one.sample(20, np.random.default_rng(0))
    assert network_key(one, genotypes[0]) == network_key(tiny_space(), genotypes[0])
    assert network_key(one, genotypes[0]) != network_key(other, genotypes[0])
    assert len({network_key(one, g) for g in genotypes}) == len(np.unique(genotypes, axis=0))


def test_results_lie_where_caches_belong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Cache().folder == tmp_path / "vision-baseline-search" / "results"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "vision-baseline-search" / "results"


def test_a_file_is_readable_by_people(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put(KEY, ANSWER)
    assert json.loads(cache.path(KEY).read_text())["accuracy"] == 71.25
