"""The command `python -m nas.block_times`: one table for each setting, and its messages."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nas.block_times import BlockTimesConfig, measure_block_times
from nas.block_times import measure as block_times_measure
from nas.block_times.lookup import times_for
from nas.block_times.measure import errors
from nas.block_times.table import Times, read_times
from nas.block_times.timing import Setting
from search_spaces.catalog import space
from search_spaces.space import SearchSpace
from tests.commands import ROOT, search
from tests.commands import block_times as main
from tests.nas.toys import made_up


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Setting]:
    """Replace the measurement by one that takes no time and records its calls, without a cache."""
    asked: list[Setting] = []

    def measured(the_space: SearchSpace, setting: Setting, *_: object, **__: object) -> Times:
        asked.append(setting)
        settings = {**dataclasses.asdict(setting), "resolution": 224}
        measured_on = np.array([0.01, 0.02, 0.03])
        return made_up(
            the_space,
            setting.kind,
            settings=settings,
            machine="test",
            checked=errors(measured_on, 1.05 * measured_on),
        )

    monkeypatch.setattr(block_times_measure, "measure", measured)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return asked


def test_tables_are_measured_once_for_each_setting(
    measurements: list[Setting], tmp_path: Path
) -> None:
    said: list[str] = []
    ask: Callable[..., Times] = lambda **more: times_for(  # noqa: E731
        space("efficientnet"), say=said.append, **{"kind": "latency", **more}
    )
    first = ask()
    assert ask() == first
    assert len(measurements) == 1
    assert said[0] == said[1]  # when it is measured, and when it is found again
    assert "median error is 5.0%" in said[0]
    assert "warning" not in said[0]
    ask(batch=8)
    ask(threads=2)
    ask(kind="step_time")
    assert [setting.batch for setting in measurements] == [1, 8, 1, 32]
    times_for(space("efficientnet", width=0.5), kind="latency", say=said.append)
    assert len(measurements) == 5
    files = list((tmp_path / "vision-baseline-search" / "times").iterdir())
    assert len(files) == 5
    for path in files:
        path.write_text("damaged")
    assert ask() == first
    assert "measured again" in said[-2]


def test_a_table_that_predicts_badly_is_warned_of_whenever_it_is_used(
    measurements: list[Setting], monkeypatch: pytest.MonkeyPatch
) -> None:
    poor = errors(np.array([0.01, 0.02, 0.03]), np.array([0.011, 0.022, 0.03]))
    table = made_up(space("efficientnet"), checked=poor)
    monkeypatch.setattr(block_times_measure, "measure", lambda *_, **__: table)
    said: list[str] = []
    for _ in range(2):
        assert times_for(space("efficientnet"), kind="latency", say=said.append) == table
    assert len(said) == 2
    for line in said:
        assert line.startswith("block times: warning: latency: on 3 other networks")
        assert "median error is 10.0%" in line
        assert "more than 7%: measure again" in line
        assert "\n" not in line


def test_a_table_that_cannot_be_kept_is_used(
    measurements: list[Setting], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    said: list[str] = []
    assert times_for(space("efficientnet"), kind="latency", say=said.append).kind == "latency"
    assert "the table is not cached" in said[-2]
    assert "median error" in said[-1]


def test_the_command_shows_table_accuracy_and_what_is_next(
    measurements: list[Setting], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "times.json"
    assert main(["--space", "efficientnet", "--batch", "4", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert measurements[0].batch == 4
    assert read_times(out).kind == "latency"
    for part in (
        "171 blocks",
        "mbconv",
        "median error is 5.0%",
        str(out),
        f"--times {out}",
        "--target-latency",
        "-m nas.block_times --space efficientnet --kind step_time",
    ):
        assert part in shown
    assert main(["--resolution", "64"]) == 0  # kept where times_for looks
    times_for(space("efficientnet", resolution=64, small_images=True), kind="latency")
    assert len(measurements) == 2


def test_a_table_is_measured_from_python(measurements: list[Setting], tmp_path: Path) -> None:
    config = BlockTimesConfig(space="compact", resolution=32, kind="step_time", threads=2)
    found = measure_block_times(config)
    assert found.path.parent == tmp_path / "vision-baseline-search" / "times"
    assert read_times(found.path) == found.times
    assert (found.config.small_images, found.config.classes) == (True, 1000)
    with pytest.raises(ValueError, match="kind: 'speed' is unknown"):
        BlockTimesConfig(kind="speed")
    assert times_for(found.space, kind="step_time", threads=2) == found.times
    assert len(measurements) == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], False),
        (["--kind", "step_time"], False),
        (["--threads", "2"], True),
        (["--batch", "8"], True),
        (["--precision", "bfloat16"], True),
        (["--recipe", "efficientnet", "--kind", "step_time"], True),
        (["--out", "OUT"], True),
    ],
)
def test_the_search_that_is_told_of_uses_the_table(
    arguments: list[str],
    named: bool,
    measurements: list[Setting],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    out = str(tmp_path / "my times.json")
    assert main([out if word == "OUT" else word for word in arguments]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if "nas.search" in x)
    words = shlex.split(line)
    assert ("--times" in words) == named
    folder = str(tmp_path / "search")
    assert search([*words[words.index("nas.search") + 1 :], "--budget", "9", "--out", folder]) == 0
    assert len(measurements) == 1


def test_a_search_for_which_there_is_no_surrogate_is_one_by_training(
    measurements: list[Setting], capsys: pytest.CaptureFixture
) -> None:
    assert main(["--space", "compact", "--resolution", "32", "--classes", "10"]) == 0
    shown = capsys.readouterr().out
    assert "--evaluator proxy --data imagefolder:DIR --space compact --resolution 32 --t" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--space", "eficientnet"], "did you mean efficientnet"),
        (["--kind", "speed"], "kind"),
        (["--batch", "x"], "--batch"),
        (["--batch", "0"], "batch: 0"),
        (["--nonsense"], "nonsense"),
        (["--seconds", "5"], "write it like 20ms"),
        (["--device", "cuda:99"], "does not exist"),
        (["--out", "/nowhere/at/all.json"], "cannot be written"),
        (["--out", "/tmp"], "--out"),
    ],
)
def test_mistakes_on_the_command_line(
    arguments: list[str], message: str, measurements: list[Setting], capsys: pytest.CaptureFixture
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("nas.block_times: ")
    assert told.count("\n") == 1
    assert message in told
    assert not measurements


def test_reading_a_table_needs_no_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    table = tmp_path / "times.json"
    made_up(space("efficientnet")).write(table)
    code = (
        "import sys; from nas.block_times.lookup import times_for;"
        "from search_spaces.catalog import space;"
        f"times_for(space('efficientnet'), kind='latency', path={str(table)!r});"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
