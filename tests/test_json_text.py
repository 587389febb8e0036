"""JSON from users is parsed strictly: equal keys and invalid numbers are refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.block_times.table import read_times
from nas.search.record import read_earlier
from scaling.family.resolved import read_grid
from search_spaces.zoo import NETWORKS
from tests.commands import show
from train.record import read_run
from vbs.json_text import parse_json

NETWORK = NETWORKS["efficientnet_b0"]().to_json()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "the key 'b' appears twice"),
        ('{"a": NaN}', "NaN is not"),
        ("[-Infinity]", "-Infinity is not"),
        ("[1e999]", "1e999 is too large"),
        ("[" + "9" * 5000 + "]", "is too large"),
        ("[1" + "0" * 310 + "]", "is too large"),
        ("[-1" + "0" * 399 + "]", "is too large"),
        ("[" * 10**6, "nested too deeply"),
        (b'"\xff"', "it is not text"),
        ("", "Expecting value"),
        ('{"\\u001b[2J": 1, "\\u001b[2J": 1}', r"'\\x1b"),
    ],
)
def test_what_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as found:
        parse_json(text)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 300


def test_a_key_that_is_there_twice_is_found_soon() -> None:
    text = "{" + ",".join(f'"k{index}":1' for index in range(200_000)) + ',"k199999":2}'
    began = time.process_time()
    with pytest.raises(ValueError, match="'k199999' appears twice"):
        parse_json(text)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("value", [{"a": [1, -2.5, None, True, "x"], "b": {"a": {}}}, [], 1e308])
def test_the_rest_is_as_json_has_it(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode()) == value


def readers(folder: Path, text: str) -> dict[str, Callable[[], object]]:
    """Return the functions that read files from users, each with a file of that text."""
    for name in ("run.json", "search.json", "grid.json", "times.json"):
        (folder / name).write_text(text)
    return {
        "run": lambda: read_run(folder),
        "search": lambda: read_earlier(folder, {}),
        "grid": lambda: read_grid(folder / "grid.json"),
        "times": lambda: read_times(folder / "times.json"),
    }


@pytest.mark.parametrize(
    "text",
    ['{"settings": {}, "settings": {}, "outcome": {}}', '{"settings": {"x": NaN}, "outcome": {}}'],
)
@pytest.mark.parametrize("name", ["run", "search", "grid", "times"])
def test_every_reader_is_strict(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="json"):
        readers(tmp_path, text)[name]()


def test_a_network_with_equal_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.json"
    path.write_text(NETWORK.replace('"head": 1280', '"head": 1280, "head": 640'))
    assert show([str(path)]) == 2
    assert "the key 'head' appears twice" in capsys.readouterr().err


@pytest.mark.parametrize(("stages", "layers"), [(10_000, 1_000), (10_000, 1), (6, 1_000)])
def test_networks_of_endless_blocks_are_refused_at_once(
    stages: int, layers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = json.loads(NETWORK)
    row = {**fields["stages"][0], "layers": layers}
    path = tmp_path / "net.json"
    path.write_text(json.dumps({**fields, "stages": [row] * stages}))
    began = time.process_time()
    assert show([str(path)]) == 2
    assert time.process_time() - began < 2
    error = capsys.readouterr().err
    assert "layers in all are not allowed; use at most 5,000" in error
    assert error.count("\n") == 1
