"""Numeric options of all commands: an invalid number gives a one-line error."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.search.config import COMMAND, SearchConfig
from tests.commands import (
    block_times,
    family,
    fidelity,
    grid,
    noisy_student,
    ray_tune,
    search,
    training_aware,
)
from tests.commands import train_run as train
from vbs.config import partial
from vbs.options import read_request

NOWHERE = ["--data", "imagefolder:/nowhere"]
NET = "efficientnet_b0"
COMMANDS: dict[str, tuple[Callable[[list[str]], int], list[str], list[str]]] = {
    "search": (
        search,
        ["--target-flops", "4M", "--evaluator", "proxy", *NOWHERE],
        [
            "--factor",
            "--width",
            "--resolution",
            "--classes",
            "--cpus",
            "--gpus",
            "--workers",
            "--grace",
            "--finalists",
            "--repeats",
            "--seed",
            "--exponent",
            "--max-failures",
            "--max-flops",
            "--max-latency",
            "--budget",
            "--timeout",
            "--max-time",
        ],
    ),
    "fidelity": (fidelity, NOWHERE, ["--width", "--resolution", "--workers", "--networks"]),
    "block_times": (
        block_times,
        ["--out", "/nowhere/times.json"],
        ["--batch", "--resolution", "--classes", "--width", "--threads", "--seconds"],
    ),
    "train": (train, [NET, *NOWHERE], ["--resolution", "--width", "--depth", "--loaders"]),
    "ray_tune": (
        ray_tune,
        ["--architectures", NET, "--scheduler", "asha", *NOWHERE],
        [
            "--factor",
            "--width",
            "--depth",
            "--resolution",
            "--gpus-per-trial",
            "--cpus-per-trial",
            "--processes-per-trial",
            "--loaders",
            "--grace",
            "--workers",
            "--retries",
        ],
    ),
    "noisy_student": (
        noisy_student,
        [*NOWHERE, "--teacher", "/nowhere", "--student", NET, "--unlabelled", "/nowhere"],
        ["--width", "--depth", "--resolution", "--ratio"],
    ),
    "family": (
        family,
        ["--phi", "0"],
        [
            "--alpha",
            "--growth",
            "--max-resolution",
            "--round-resolution",
            "--batch",
            "--measure-batch",
            "--measure-threads",
            "--memory",
            "--tolerance",
        ],
    ),
    "grid": (
        grid,
        ["--base", NET, *NOWHERE],
        [
            "--proxy-width",
            "--proxy-resolution",
            "--workers",
            "--cpus",
            "--gpus",
            "--step",
            "--growth",
        ],
    ),
    "training_aware": (
        training_aware,
        NOWHERE,
        ["--width", "--resolution", "--cpus", "--gpus", "--workers", "--w", "--v"],
    ),
}
OPTIONS = [(name, option) for name, (_, _, options) in COMMANDS.items() for option in options]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e308", "9" * 30, "9" * 5000, "-7", "x"])
@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_impossible_numbers_are_one_line(
    name: str,
    option: str,
    value: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if (option, value) in (("--v", "-7"), ("--w", "-7"), ("--exponent", "-7")):
        return  # it may be below 0
    monkeypatch.chdir(tmp_path)
    run, words, _ = COMMANDS[name]
    began = time.process_time()
    assert run([*words, f"{option}={value}"]) == 2
    assert time.process_time() - began < 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert option.lstrip("-").split("-")[0] in error
    assert "nowhere" not in error
    assert len(error) < 400
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["search", "ray_tune"])
@pytest.mark.parametrize("factor", ["1.00000000001", "1", "0", "1e9"])
def test_a_factor_next_to_one_does_not_hang(
    name: str, factor: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run, words, _ = COMMANDS[name]
    assert run([*words, "--factor", factor]) == 2
    assert "factor" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("factor", 1.00000000001),
        ("target_flops", 1e308),
        ("width", 1e308),
        ("budget", -1),
        ("seed", -4),
        ("exponent", 1e308),
        ("resolution", 10**9),
        ("classes", -1),
        ("workers", 0),
    ],
)
def test_impossible_numbers_of_a_resumed_search(
    name: str, value: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", str(tmp_path / "out")]
    assert search(["--target-flops", "400M", "--budget", "200", *words]) == 0
    record = tmp_path / "out" / "search.json"
    content = json.loads(record.read_text())
    content["settings"][name] = value
    record.write_text(json.dumps(content))
    capsys.readouterr()
    assert search(["--resume", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"resume: search.json: {name}: " in error


@pytest.mark.parametrize("value", ["-7e-2", "-.07", "-7E-2", "-0.07"])
def test_negative_numbers_have_any_form(value: str) -> None:
    values = read_request(COMMAND, ["--exponent", value]).values
    assert partial(SearchConfig, values) == {"exponent": -0.07}
