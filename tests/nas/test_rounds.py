"""Times under load: undisturbed runs are selected, and untrustworthy times are marked."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nas.block_times.rounds import ENOUGH, Run, Timing, in_rounds, run, timing
from nas.block_times.timing import Setting
from search_spaces.catalog import zoo
from tests.commands import family, grid
from vbs.load import Load, LoadWatch, waited

IDLE = Load(1.0, 0.0, 0.0, 0.0, 0, 2)
BUSY = Load(1.0, 3.0, 1.9, 0.0, 0, 2)
DISTURBED = "other programs used 1.9 of 2 processors; 0 of 6 runs were undisturbed"

counted = pytest.mark.skipif(waited() is None, reason="the system does not count waiting")


def spin(seconds: float = 0.05) -> float:
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        pass
    return time.perf_counter() - began


@contextlib.contextmanager
def one_processor(*, shared: bool) -> Iterator[None]:
    """Restrict this thread to one processor, with or without other programs on it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    command = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2 * shared)]
    try:
        for other in others:
            assert other.stdout is not None
            other.stdout.readline()
        yield
    finally:
        for other in others:
            other.kill()
            other.communicate()
        os.sched_setaffinity(0, before)


@counted
def test_a_run_that_waited_for_its_processor_is_not_quiet() -> None:
    setting = Setting("latency", threads=2)
    with one_processor(shared=True):
        watch = LoadWatch()
        disturbed = [run(spin, setting) for _ in range(5)]
        load = watch.load()
    assert not any(one.quiet for one in disturbed)
    assert load.others is not None
    assert load.others > 0.3
    assert load.waiting > 0.3
    assert load.crowds(1)
    assert "of 1 processors" in str(load)
    # the processor time of one thread is that of an idle machine
    assert run(spin, Setting("latency", threads=1)).quiet


@counted
def test_times_of_a_busy_machine_are_those_of_its_quiet_runs() -> None:
    quiet = [Run(0.0013 + 0.00001 * i, True) for i in range(ENOUGH)]
    found = timing([*quiet, *[Run(0.405, False)] * 40], BUSY)
    assert found.seconds == pytest.approx(0.0013, rel=0.02)
    assert found.doubt == ""


def test_times_without_quiet_runs_are_in_doubt() -> None:
    found = timing([Run(0.4 + 0.1 * i, False) for i in range(6)], BUSY)
    assert found.doubt == DISTURBED
    assert found.spread == pytest.approx(0.25)
    throttled = dataclasses.replace(IDLE, throttled=7)
    assert "quota stopped it 7 times" in timing([Run(1.0, False)] * 9, throttled).doubt
    assert timing([Run(1.0, False)] * 9, IDLE).doubt.startswith("its threads waited")


def test_runs_that_differ_are_in_doubt() -> None:
    """Where the system does not report waiting, the spread of the times still shows contention."""
    steady = timing([Run(value, True) for value in np.linspace(1.0, 1.1, 20)], IDLE)
    assert steady.doubt == ""
    assert timing([Run(v, True) for v in np.linspace(1, 3, 20)], IDLE).doubt.startswith("half of")


@pytest.mark.parametrize(("disturbed", "rounds"), [(0, 5), (8, 13), (10**6, 15)])
def test_rounds_are_added_until_enough_runs_were_quiet(
    disturbed: int, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers, now = itertools.count(), [0.0]
    clock = SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr("nas.block_times.rounds.time", clock)

    def turn() -> list[Run]:
        now[0] += 1.0
        return [Run(1.0, next(numbers) >= disturbed)]

    runs, _ = in_rounds([turn], seconds=5.0, limits=(5, 40))
    assert len(runs[0]) == rounds


@pytest.fixture
def doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("scaling.family.times", "scaling.grid.run"):
        monkeypatch.setattr(
            f"{module}.measured",
            lambda networks, setting, **how: [Timing(0.405, 0.2, DISTURBED) for _ in networks],
        )


def test_measured_times_in_doubt_are_marked(
    doubtful: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, out = tmp_path / "base.json", tmp_path / "family"
    base.write_text(dataclasses.replace(zoo("efficientnet_b0"), resolution=32).to_json())
    words = ["--base", str(base), "--phi", "0", "--measure", "latency", "--out", str(out)]
    assert family(words) == 0
    (member,) = json.loads((out / "family.json").read_text())["members"]
    assert member["measured_latency"]["doubt"] == DISTURBED
    shown = capsys.readouterr().out
    assert "405ms ± 100ms (1.00x)!" in shown
    assert f"! unreliable times: {DISTURBED}; measure again" in shown


def test_decisions_by_times_in_doubt_are_refused(
    doubtful: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "family"
    words = ["--growth", "2", "--objective", "latency", "--phi", "0..1", "--out", str(out)]
    assert family(words) == 1
    assert not out.exists()
    error = capsys.readouterr().err
    assert error.startswith("scaling.family: times: the measurements are unreliable (other")
    assert grid(["--objective", "latency", "--dry-run"]) == 1
    assert "measurements are unreliable" in capsys.readouterr().err
