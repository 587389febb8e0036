"""`python -m nas.compare --resume`: interruptions, changes, and searches that do not belong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nas import run_search
from nas.compare import CompareConfig, run, run_compare
from tests.commands import compare
from tests.nas.compared import OWN, SHARED, rows_of


def test_an_interrupted_comparison_resumes_with_the_searches_that_are_left(
    compared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out of two"
    shutil.copytree(compared, out)
    words = ["--resume", "--out", str(out), "--seeds", "3", "--strategies", f"random,{OWN}"]
    ran: list[str] = []

    def interrupted(*given: Any, out: Path, **more: Any) -> Any:
        ran.append(out.name)
        if len(ran) == 2:
            raise KeyboardInterrupt
        return run_search(*given, out=out, **more)

    monkeypatch.setattr(run, "run_search", interrupted)
    assert compare(words) == 130
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "4 of 6 searches are finished already"
    assert said[-1].startswith("nas.compare: interrupted; resume by: ")
    command = f"-m nas.compare --resume --out '{out}' --strategies random,{OWN}"
    assert said[-1].endswith(command)
    assert json.loads((out / "comparison.json").read_text())["status"] == "interrupted"
    assert compare(words[:3] + words[5:]) == 0  # the record has three seeds
    assert ran == ["random-2", "my_strategy.py-Greedy-2", "my_strategy.py-Greedy-2"]
    assert {row["searches"] for row in rows_of(out)} == {"3"}


def test_a_search_that_stopped_is_resumed(compared: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(compared, out)
    record = out / "random-0" / "search.json"
    record.write_text(record.read_text().replace('"status": "finished"', '"status": "interrupted"'))
    changes = {"strategies": ("random", OWN), "budget": 50, "seeds": 1}
    result = run_compare(out=out, resume=True, changes=changes)
    assert result.comparison.evaluations == 50
    assert {name: len(group) for name, group in result.searches.items()} == {
        "random": 1,
        "my_strategy.py:Greedy": 1,
    }
    assert json.loads(record.read_text())["status"] == "finished"


def test_a_larger_budget_gives_the_results_of_one_comparison_with_it(
    compared: Path, tmp_path: Path
) -> None:
    config = CompareConfig(
        strategies=("random", OWN), seeds=1, target_flops="400M", budget=25, reward="feasible"
    )
    run_compare(config, out=tmp_path / "out")
    changes = {"strategies": ("random", OWN), "budget": 40}
    run_compare(out=tmp_path / "out", resume=True, changes=changes)
    for search in ("random-0", "my_strategy.py-Greedy-0"):
        for file in ("best.json", "pareto.csv"):
            once, twice = compared / search / file, tmp_path / "out" / search / file
            assert twice.read_bytes() == once.read_bytes()


def test_searches_on_other_measured_times_stop_the_comparison(
    compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(compared, out)
    for seed in (0, 1):
        record = out / f"random-{seed}" / "search.json"
        content = json.loads(record.read_text())
        content["digests"]["times_sha256"] = {"latency": str(seed)}
        record.write_text(json.dumps(content))
    words = ["--resume", "--out", str(out), "--strategies", f"random,{OWN}", "--seeds", "3"]
    assert compare(words) == 2
    assert "use different measured times" in capsys.readouterr().err
    assert not (out / "random-2").exists()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"target_flops": 400000000.0', '"target_flops": 300000000.0', "--target-flops 300M, not"),
        ('"seed": 0', '"seed": 7', "is a search with --seed 7"),
        ('"schedule": "short"', '"schedule": "long"', "--schedule long, not --schedule short"),
        ('"max_params": null', '"max_params": 5000000', "--max-params 5M, not no --max-params"),
        ('"settings"', '"nothing"', "search.json cannot be read"),
    ],
)
def test_searches_in_the_folder_must_be_the_planned_ones(
    compared: Path,
    tmp_path: Path,
    old: str,
    new: str,
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    shutil.copytree(compared, out)
    record = out / "random-0" / "search.json"
    assert old in record.read_text()
    record.write_text(record.read_text().replace(old, new))
    assert compare(["--resume", "--out", str(out), "--strategies", f"random,{OWN}"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert expected in line
    assert f"remove {out / 'random-0'} to run this search again" in line


@pytest.mark.parametrize("name", ["history.parquet", "search.json"])
def test_a_search_that_lost_a_file_is_reported(
    compared: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(compared, out)
    (out / "random-1" / name).unlink()
    words = ["--resume", "--out", str(out), "--strategies", f"random,{OWN}"]
    assert compare(words) == 2
    assert f"remove {out / 'random-1'} to run this" in capsys.readouterr().err.splitlines()[-1]
    shutil.rmtree(out / "random-1")
    assert compare(words) == 0


def test_changed_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    shutil.copyfile(OWN.rpartition(":")[0], file)
    out, given = tmp_path / "out", ["--strategies", f"random,{file}:Greedy"]
    assert compare([*given, *SHARED, "--seeds", "1", "--out", str(out)]) == 0
    file.write_text(file.read_text() + "\n")
    assert compare([*given, "--resume", "--out", str(out), "--seeds", "2"]) == 2
    error = capsys.readouterr().err
    assert f"{file} has changed since the comparison began" in error
    assert f"remove {out / 'mine.py-Greedy-0'} to run the searches again" in error
    assert not (out / "random-1").exists()
    shutil.rmtree(out / "mine.py-Greedy-0")
    assert compare([*given, "--resume", "--out", str(out), "--seeds", "2"]) == 0


def test_a_strategy_that_evaluated_nothing_may_be_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    source = Path(OWN.rpartition(":")[0]).read_text()
    broken = "\n\nclass Mine(Greedy):\n    def propose(self, *_):\n        return 1\n"
    file.write_text(source + broken)
    out, given = tmp_path / "out", ["--strategies", f"random,{file}:Mine"]
    assert compare([*given, *SHARED, "--seeds", "1", "--out", str(out)]) == 2
    assert "Mine proposed" in capsys.readouterr().err
    file.write_text(source + "\n\nclass Mine(Greedy):\n    pass\n")
    assert compare([*given, "--resume", "--out", str(out)]) == 0


def test_a_resumed_comparison_keeps_its_strategies_and_asks_for_their_code(
    compared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (compared / "comparison.json").read_text()
    assert compare(["--resume", "--out", str(compared)]) == 2
    again = f"--strategies random,{OWN}"
    assert f"which runs only if you give it again: {again}" in capsys.readouterr().err
    assert compare(["--resume", "--out", str(compared), "--strategies", OWN]) == 2
    assert f"keeps its strategies; use {again}" in capsys.readouterr().err
    assert (compared / "comparison.json").read_text() == before
