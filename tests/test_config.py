"""Configs: values from options, files, records and Python are read in the same way."""

from __future__ import annotations

import copy
import json
import pickle
import re
from dataclasses import FrozenInstanceError, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.search.config import COMMAND as SEARCH
from nas.search.config import SearchConfig
from scaling.grid.config import COMMAND as GRID
from vbs.config import Config, ConfigError, flag, from_values, given_values, groups, option
from vbs.config_file import read_values, resumed, typed
from vbs.options import Command, parser_of, read_request
from vbs.units import parse_quantity, parse_seconds


@dataclass(frozen=True, kw_only=True)
class Workers(Config):
    title = "workers"

    workers: int | None = option(None, help="at once", later=True)
    timeout: float | None = option(
        None, parse=parse_seconds, limits=(0, 1e9), later=True, help="e.g. 2h"
    )


@dataclass(frozen=True, kw_only=True)
class Toy(Workers):
    title = "toy"

    target: float = option(parse=parse_quantity, help="e.g. 400M", metavar="SIZE")
    seed: int = option(0, limits=(0, 100), help="seed")
    kind: str = option("b", choices=("a", "b", "bc"), help="a, b or bc")
    changes: tuple[str, ...] = option((), flag="set", help="repeatable")
    members: tuple[int, ...] = option((1,), many=True, help="members", later=True)
    small: bool = option(False, help="small")
    dense: bool | None = option(None, help="dense")
    many: int = option(3, old=("--max-many",), help="renamed")

    def check(self) -> None:
        if self.small and self.dense:
            raise ValueError("--dense: does not go with --small")


def run_toy(config: Any, **other: Any) -> int:
    SEEN.append((config, other))
    return 0


SEEN: list[tuple[Any, dict[str, Any]]] = []
COMMAND = Command(
    program="toy",
    config=Toy,
    run=f"{__name__}:run_toy",
    description="A toy.",
    kind="toy",
    record="toy.json",
    switches={"dry_run": "do nothing"},
)


def test_a_command_line_a_file_and_python_mean_the_same(tmp_path: Path) -> None:
    words = [
        "--target",
        "4M",
        "--seed",
        "7",
        "--set",
        "a=1",
        "--set",
        "b=2",
        "--members",
        "1",
        "2",
        "--small",
        "--no-dense",
        "--timeout",
        "90min",
    ]
    from_words = from_values(Toy, read_request(COMMAND, words).values)
    file = tmp_path / "toy.yaml"
    file.write_text(
        "target: 4M\nseed: 7\nset: [a=1, b=2]\nmembers: [1, 2]\nsmall: true\ndense: false\n"
        "timeout: 90min\n"
    )
    from_file = from_values(Toy, read_request(COMMAND, ["--config", str(file)]).values)
    python = Toy(
        target=4e6,
        seed=7,
        changes=("a=1", "b=2"),
        members=(1, 2),
        small=True,
        dense=False,
        timeout=5400,
    )
    assert from_words == from_file == python
    assert from_values(Toy, json.loads(json.dumps(python.settings()))) == python
    with pytest.raises(FrozenInstanceError):
        python.seed = 8  # type: ignore[misc]


def test_lists_may_be_given_in_parts() -> None:
    words = ["--target", "4M", "--members", "1", "2", "--set", "a=1", "--members", "3"]
    config = from_values(Toy, read_request(COMMAND, [*words, "--set", "b=--seed"]).values)
    assert (config.members, config.changes) == ((1, 2, 3), ("a=1", "b=--seed"))


def test_options_override_a_file(tmp_path: Path) -> None:
    file = tmp_path / "toy.json"
    file.write_text(json.dumps({"status": "finished", "settings": {"target": 4e6, "seed": 7}}))
    request = read_request(COMMAND, ["--config", str(file), "--seed", "8"])
    config = from_values(Toy, request.values)
    assert (config.target, config.seed) == (4e6, 8)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--seed", "1.5"], "--seed: '1.5' is not a whole number"),
        (["--seed", "101"], "--seed: 101 is not allowed; use a number from 0 to 100"),
        (["--seed", "9" * 5000], "--seed: "),
        (["--target", "400X"], "--target: '400X' is not a size; write it like 400M"),
        (["--target", "nan"], "--target: 'nan' is not a size"),
        (["--kind", "c"], "--kind: 'c' is unknown; did you mean bc?"),
        (["--workers", "0"], "--workers: 0 is not allowed; use a number from 1 to 100,000"),
        (["--timeout", "90"], "--timeout: '90' is not a time"),
        (["--members", "1", "x"], "--members: 'x' is not a whole number"),
        (["--small", "--dense"], "--dense: does not go with --small"),
        (["--sed", "1"], "option: '--sed' is unknown; did you mean --seed or --set"),
        (["--seed"], "argument --seed: expected one argument"),
        (["--out", " "], "out: ' ' contains a blank name"),
        (["--out", "runs/ /x"], "out: 'runs/ /x' contains a blank name"),
        (["--out", ""], "out: the name of the folder is empty"),
        (["-h7"], "unrecognized arguments: -h7"),
        (["-help"], "unrecognized arguments: -help"),
        (["7"], "unrecognized arguments: 7"),
        (["--config", "no.yaml"], "--config: no.yaml cannot be read (No such file"),
    ],
)
def test_mistakes_are_one_line(words: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        COMMAND.execute(words if "--target" in words else ["--target", "4M", *words])
    assert str(error.value).startswith(complaint)


def test_a_missing_option_is_named() -> None:
    with pytest.raises(ValueError, match=r"^--target is missing; e\.g\. 400M"):
        COMMAND.execute([])


def test_mistakes_in_python_name_the_field() -> None:
    with pytest.raises(ConfigError, match=r"^seed: 1\.5 is not a whole number"):
        Toy(target=1, seed=1.5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^small: 1 is not true or false"):
        Toy(target=1, small=1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^target: True is not"):
        Toy(target=True)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("target: [", "it is not YAML"),
        ("- 4", "is not a mapping of options"),
        ("3", "is not a mapping"),
        ("target: 4M\ntarget: 5M", "the key 'target' appears twice"),
        ("a: &x 1\nb: *x", "uses a YAML alias"),
        ("target: !!python/object/apply:os.system [ls]", "it uses the YAML tag"),
        ('seed: !!int ""', "it uses the YAML tag"),
        ("small: !!bool x", "it uses the YAML tag"),
        ("seed: !!timestamp x", "it uses the YAML tag"),
        ("<<: {seed: 3}", "a key is not a text"),
        ("? [a]\n: 1", "a key is not a text"),
        ("[" * 5000, "it is nested too deeply"),
        ("target: \x00", "it is not YAML"),
        ("x" * 2_000_000, "it is larger than"),
    ],
)
def test_hostile_files_are_one_line(text: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "toy.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        read_values(str(file))
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sed: 1", "--config: toy.yml: option: 'sed' is unknown; did you mean seed"),
        ("seed: x", "--seed: 'x' is not a whole number"),
        ("seed: [1]", "--seed: "),
        ("seed: null", "--seed: "),
        ("changes: {a: 1}", "--set: "),
        ("timeout: 20", "--timeout: '20' is not a time"),
        ("seed: 1:30", "--seed: '1:30' is not a whole number"),
        ("seed: 0x10", "--seed: '0x10' is not a whole number"),
        ("small: 'yes'", "--small: 'yes' is not true"),
        ("set: [a]\nchanges: [b]", "--set: it is given twice"),
    ],
)
def test_what_a_file_gets_wrong_is_named(
    text: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("toy.yml").write_text(f"target: 4M\n{text}\n")
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        COMMAND.execute(["--config", "toy.yml"])
    assert str(error.value).startswith(complaint)


def record_of(config: Config, place: Path, **more: Any) -> Path:
    path = place / "toy.json"
    path.write_text(json.dumps({"status": "interrupted", "settings": config.settings(), **more}))
    return path


def test_a_resumed_run_may_change_how_and_not_what(tmp_path: Path) -> None:
    path = record_of(Toy(target=4e6, seed=3), tmp_path)
    again = resumed(Toy, {"workers": 4, "seed": 3}, path, what="toy")
    assert again == Toy(target=4e6, seed=3, workers=4)
    with pytest.raises(ConfigError, match=r"seed: 4 differs from the toy's 3; leave it out"):
        resumed(Toy, {"seed": 4}, path, what="toy")


def test_records_of_other_versions_name_them(tmp_path: Path) -> None:
    path = record_of(Toy(target=4e6), tmp_path, versions={"vision-baseline-search": "0.3.1"})
    known = json.loads(path.read_text())
    known["settings"]["colour"] = "red"
    path.write_text(json.dumps(known))
    with pytest.raises(ValueError, match=r"another version \(0\.3\.1\).*unknown setting 'colour'"):
        resumed(Toy, {}, path, what="toy")
    del known["settings"]["colour"], known["settings"]["many"]
    path.write_text(json.dumps(known))
    assert resumed(Toy, {}, path, what="toy").many == 3  # missing in the earlier record


def test_earlier_spellings_work_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--max-many", "5"], ["--max-many=5"]):
        config = from_values(Toy, read_request(COMMAND, ["--target", "1M", *words]).values)
        assert config.many == 5
        assert capsys.readouterr().err.startswith("warning: --max-many is now --many")
    read_request(COMMAND, ["--target", "1M", "--set", "--max-many"][:2])
    assert not capsys.readouterr().err


def test_an_earlier_spelling_beside_the_new_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--max-many: it is given twice, also as --many"):
        read_request(COMMAND, ["--target", "1M", "--max-many", "5", "--many=6"])
    file = tmp_path / "toy.yaml"
    file.write_text("target: 1M\nmax-many: 5\n")
    assert from_values(Toy, read_request(COMMAND, ["--config", str(file)]).values).many == 5


def test_numbers_of_yaml_are_read_as_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "toy.yaml"
    file.write_text("target: 4e6\nseed: 010\ntimeout: 1.5h\nmembers: [1, 2]\n")
    config = from_values(Toy, read_request(COMMAND, ["--config", str(file)]).values)
    assert config == Toy(target=4e6, seed=10, timeout=5400, members=(1, 2))


def test_a_run_gets_its_config_folder_and_switches() -> None:
    SEEN.clear()
    assert COMMAND.execute(["--target", "4M", "--out", "x", "--dry-run"]) == 0
    assert [(Toy(target=4e6), {"out": "x", "dry_run": True})] == SEEN
    SEEN.clear()
    assert COMMAND.execute(["--resume", "--out", "x", "--workers", "2"]) == 0
    assert SEEN == [(None, {"out": "x", "resume": True, "changes": {"workers": 2}})]


def test_given_values_are_those_that_differ() -> None:
    assert given_values(Toy(target=4e6, seed=0, kind="a")) == {"target": 4e6, "kind": "a"}


@pytest.mark.parametrize("command", [COMMAND, SEARCH, GRID], ids=lambda command: command.program)
def test_help_lists_every_option_with_its_group(command: Command) -> None:
    text = parser_of(command).format_help()
    for title, names in groups(command.config):
        assert title == groups(command.config)[0][0] or f"\n{title}:\n" in text
        for name in names:
            assert flag(name, command.config) in text
    assert len(re.findall(r"^  --", text, re.M)) >= sum(len(x) for _, x in groups(command.config))


def test_a_config_of_a_search_can_be_changed_as_any_dataclass() -> None:
    config = SearchConfig(target_flops="400M")  # type: ignore[arg-type]
    assert config.target_flops == 400e6
    assert replace(config, seed=3).seed == 3
    with pytest.raises(ValueError, match="one target"):
        replace(config, target_latency=0.02)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--seed", "1", "--seed", "2"], "--seed"),
        (["--seed=1", "--kind", "a", "--seed=2"], "--seed"),
        (["--out", "a", "--out", "b"], "--out"),
        (["--dense", "--no-dense"], "--no-dense"),
    ],
)
def test_an_option_given_twice_is_warned_of(
    words: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    request = read_request(COMMAND, ["--target", "4M", *words])
    assert capsys.readouterr().err == f"warning: {name} is given twice; the last one counts\n"
    last = {"seed": 2, "out": "b", "dense": False}
    values = {**from_values(Toy, request.values).settings(), "out": request.out}
    key = name.removeprefix("--no-").removeprefix("--")
    assert values[key] == last[key]


@dataclass(frozen=True)
class Part:
    share: int | float
    trials: list[int]
    whole: bool = False
    folder: str | None = None


def test_a_part_of_a_record_is_read_by_the_types_of_its_fields() -> None:
    assert typed(Part, {"share": 1, "trials": [2], "folder": None, "other": 3}) == Part(1, [2])
    for values, message in (
        ({"share": 1}, "trials is missing"),
        ({"share": True, "trials": []}, "share: 'True' has the wrong type"),
        ({"share": 1, "trials": "2"}, "trials: '2' has the wrong type"),
        ({"share": 1, "trials": [], "whole": 1}, "whole: '1' has the wrong type"),
        (["share", "trials"], "is not an object with fields"),
    ):
        with pytest.raises(ValueError, match=message):
            typed(Part, values)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Numbers(Config):
    place: str | None = option(None, metavar="DIR")
    time: float | None = option(None, parse=parse_seconds)
    ratio: float = option(1.0)
    count: int = option(1)
    seeds: tuple[int, ...] = option(())
    small: bool = option(False)


def test_paths_and_numbers_of_numpy_are_accepted_in_python(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "place": tmp_path,
        "time": np.float32(0.5),
        "ratio": np.int16(2),
        "count": np.int64(3),
        "seeds": np.arange(2),
        "small": np.bool_(True),
    }
    config = Numbers(**given)
    assert config == Numbers(
        place=str(tmp_path), time=0.5, ratio=2.0, count=3, seeds=(0, 1), small=True
    )
    assert json.loads(json.dumps(config.settings()))["count"] == 3
    assert {type(value) for value in config.settings().values()} == {str, float, int, list, bool}
    assert Numbers(seeds=[np.int8(4)]).seeds == (4,)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"count: 1\.5 is not a whole number"):
        Numbers(count=np.float64(1.5))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="place: the path is empty"):
        Numbers(place=" ")


def test_a_name_that_is_no_option_names_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"SearchConfig: option: 'bugdet' is unknown; .* budget"):
        SearchConfig(target_flops="4M", bugdet=3)  # type: ignore[call-arg, arg-type]
    with pytest.raises(TypeError, match="did you mean seed"):
        replace(Toy(target=1), sed=3)  # type: ignore[call-arg]
    assert pickle.loads(pickle.dumps(Toy(target=1))) == copy.copy(Toy(target=1))


@pytest.mark.parametrize(
    ("stored", "changes", "message"),
    [
        ({"target": 4e8}, {"target": 3e8}, "target: 300M differs from the toy's 400M; leave it"),
        ({"many": 3}, {"many": 1_000_000}, "many: 1000000 differs from the toy's 3"),
        ({"small": True}, {"small": False}, "small: false differs from the toy's true"),
        ({}, {"dense": True}, "dense: true differs from the toy's none"),
        ({}, {"changes": ["a=1"]}, r'changes: \["a=1"\] differs from the toy\'s \[\]'),
    ],
)
def test_values_that_differ_are_shown_as_they_are_typed(
    stored: dict[str, Any], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = record_of(Toy(**{"target": 1.0, **stored}), tmp_path)
    with pytest.raises(ConfigError, match=message):
        resumed(Toy, changes, path, what="toy")


def test_records_are_larger_than_other_files_may_be(tmp_path: Path) -> None:
    rows = ["x" * 1000] * 2000
    record = record_of(Toy(target=4e6), tmp_path, rows=rows)
    assert record.stat().st_size > 1 << 20
    request = read_request(COMMAND, ["--config", str(record)])
    assert from_values(Toy, request.values) == Toy(target=4e6)


def test_a_record_of_another_command_names_both(tmp_path: Path) -> None:
    for name, config, program in (
        ("search.json", SearchConfig(target_flops=4e6), "nas.search"),
        ("grid.json", GRID.config(), "scaling.grid"),
    ):
        path = tmp_path / name
        path.write_text(json.dumps({"settings": config.settings()}))
        with pytest.raises(ValueError, match=rf"it is a record of {program}, not of toy$"):
            COMMAND.execute(["--config", str(path)])
    path.write_text(json.dumps(GRID.config().settings()))  # a file written by hand, not a record
    with pytest.raises(ValueError, match=r"option: '\w+' is unknown"):
        COMMAND.execute(["--config", str(path)])
