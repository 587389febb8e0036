"""The command `python -m nas.compare`: searches of several strategies and seeds, compared."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from nas import compare_searches
from nas.compare import CompareConfig
from nas.compare.comparison import marks
from nas.compare.config import COMMAND
from nas.compare.report import table_of
from tests.commands import compare
from tests.nas.compared import OWN, SHARED, rows_of
from vbs.config import from_values
from vbs.options import read_request, words_of

WRONG = """
class Wrong:
    generation = 8
    def propose(self, history, count, rng):
        return [[1.5]]
"""


ONCE = """
from nas.strategies.base import sample_fresh

class Once:
    generation = 1
    def propose(self, history, count, rng):
        return sample_fresh(history, 0 if len(history) else 1, rng)
"""


def test_it_writes_searches_and_their_comparison(compared: Path) -> None:
    stems = {"random": "random", "my_strategy.py:Greedy": "my_strategy.py-Greedy"}
    groups = {
        name: [compared / f"{stem}-{seed}" for seed in (0, 1)] for name, stem in stems.items()
    }
    for group in groups.values():
        for seed, folder in enumerate(group):
            settings = json.loads((folder / "search.json").read_text())["settings"]
            assert (settings["seed"], settings["budget"], settings["reward"]) == (
                seed,
                40,
                "feasible",
            )
    comparison = compare_searches(groups)
    rows = rows_of(compared)
    assert [int(row["evaluations"]) for row in rows] == [10, 10, 20, 20, 40, 40]
    for row in rows:
        found = comparison.best(row["group"], after=int(row["evaluations"]))
        assert [float(row[name]) for name in ("mean", "low", "high")] == pytest.approx(
            found, abs=1e-5
        )
    first, second = comparison.ranked()
    behind = [float(rows[-1][name]) for name in ("behind", "behind_low", "behind_high")]
    assert behind == pytest.approx(comparison.difference(first, second), abs=1e-5)
    assert rows[-2]["behind"] == ""
    record = json.loads((compared / "comparison.json").read_text())
    assert record["status"] == "finished"
    assert record["settings"]["seeds"] == 2
    assert record["outcome"]["evaluations"] == 40
    assert "numpy" in record["versions"]
    assert (compared / "comparison.png").stat().st_size > 5_000
    assert "my_strategy.py:Greedy" in (compared / "report.html").read_text()


def test_lines_name_strategy_and_seed_and_the_table_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--strategies", "random,local", "--seeds", "1", *SHARED, "--out", str(tmp_path / "a")]
    assert compare(words) == 0
    out, err = capsys.readouterr()
    found = [re.match(r"search (\d) of 2, (\w+), seed 0: ", line) for line in err.splitlines()]
    assert all(found)
    assert {(each[1], each[2]) for each in found if each} == {("1", "random"), ("2", "local")}
    assert re.search(r"^ strategy +searches +10 +20 +40 *$", out, re.M)
    assert "an interval needs two or more searches of each" in out
    assert "(comparison.json, comparison.csv, comparison.png, report.html)" in out


def test_a_strategy_that_ends_early_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "once.py"
    file.write_text(ONCE)
    out, given = tmp_path / "out", ["--strategies", f"random,{file}:Once"]
    assert compare([*given, *SHARED, "--seeds", "1", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"{out}/once.py-Once-0 ended after 1 of 40 evaluations: the strategy proposed" in said
    assert "after 1 evaluation, " in said
    assert "1 searches" not in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--strategies is missing"),
        (["--strategies", "random,evolutoin", *SHARED], "did you mean evolution?"),
        (["--strategies", "random,local,random", *SHARED], "--strategies: random is given twice"),
        (
            ["--strategies", "a/m.py:X,b/m.py:X", *SHARED],
            "b/m.py:X have equal names in the results",
        ),
        (["--strategies", "random,none.py:X", *SHARED], "none.py does not exist"),
        (["--strategies", "random", "--target-flops", "400M"], "--budget is missing"),
        (["--strategies", "random", *SHARED[:3], "9"], "--budget: 9 is too small; use 10 or more"),
        (["--strategies", "random", *SHARED, "--seeds", "0"], "--seeds: 0 is not allowed"),
        (["--strategies", "random", "--budget", "40"], "--target-flops is missing"),
        (["--strategies", "random", "--target-flops", "1", "--budget", "40"], "below the range"),
        (["--strategies", "random", *SHARED, "--evaluator", "supernet"], "is not supported"),
        (["--strategies", "random", *SHARED, "--fidelity", "epochs=1"], "trains nothing"),
        (["--strategies", "random", "evolution", *SHARED], "separate strategies by commas"),
        (["--strategies", f"random,{OWN[:-7]}", *SHARED], "my_strategy.py:Greedy"),
        (
            ["--strategies", f"random,mine={OWN}", *SHARED],
            f"strategies cannot be renamed; use {OWN}",
        ),
        (["--strategies", "random,/a,b/my.py:X", *SHARED], "'/a' is unknown"),
        (["--strategies", "random", "--budget", "0"], "is not a whole number from 1 to 1G; write"),
        (["a=x", "--seeds", "5"], "--seeds: leave it out"),
        (["runs/search-1"], "write NAME=DIR,DIR"),
        (["a=runs/search-1", "--budget", "40"], "--budget: leave it out"),
        (["a=runs/search-1", "a=runs/search-2"], "searches: a is given twice"),
        (["a=x", "b=y,x"], "/x is given twice"),
        (["a=nowhere"], "nowhere does not exist"),
        (["--resume"], "resume: the folder of the comparison is missing"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_run(
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert compare(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nas.compare: ")
    assert expected in line
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_else_is_refused(
    compared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--strategies", "random", *SHARED, "--out"]
    for folder, expected in (
        (compared, "already holds comparison.json; use --resume"),
        (compared / "random-0", "contains 'best.json', which does not belong to a comparison"),
    ):
        before = sorted(folder.rglob("*"))
        assert compare([*words, str(folder)]) == 2
        assert expected in capsys.readouterr().err
        assert sorted(folder.rglob("*")) == before


def test_finished_searches_are_compared_in_groups(
    compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [compared / f"my_strategy.py-Greedy-{seed}" for seed in (0, 1)]
    words = [f"random={compared}/random-0,{compared}/random-1", f"own={own[0]},{own[1]}"]
    out = tmp_path / "out"
    assert compare([*words, "--out", str(out)]) == 0
    assert "\nafter 40 evaluations, " in capsys.readouterr().out
    values = [list(row.values())[2:] for row in rows_of(out)]
    assert values == [list(row.values())[2:] for row in rows_of(compared)]
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == []
    assert compare(["--resume", "--out", str(out)]) == 0


def test_searches_that_maximise_different_rewards_are_refused(
    compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(compared / "random-0", other)
    record = other / "search.json"
    record.write_text(record.read_text().replace('"reward": "feasible"', '"reward": "mnas"'))
    words = [f"a={compared}/random-1", f"b={other}", "--out", str(tmp_path / "out")]
    assert compare(words) == 2
    assert "maximise different rewards" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_strategy_that_fails_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(WRONG)
    out = tmp_path / "out"
    words = ["--strategies", f"random,{file}:Wrong", *SHARED, "--seeds", "2", "--out", str(out)]
    assert compare(words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("nas.compare: wrong.py:Wrong, seed 0: strategy: ")
    assert not (out / "random-1").exists()
    assert json.loads((out / "comparison.json").read_text())["status"] == "failed"


def test_a_command_without_images_can_be_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--strategies", "random", "--evaluator", "proxy", "--data", "imagefolder:/nowhere"]
    for _ in range(2):
        assert compare([*words, *SHARED, "--out", str(tmp_path / "out")]) == 2
        assert "random, seed 0: data: " in capsys.readouterr().err


def test_options_are_read_and_written_with_commas() -> None:
    config = CompareConfig(strategies="random, local", target_flops="400M", budget=40)
    assert config.strategies == ("random", "local")
    words = words_of(COMMAND, config)
    assert words[words.index("--strategies") + 1] == "random,local"
    assert from_values(CompareConfig, read_request(COMMAND, words).values) == config
    assert config.groups == {}


def test_folders_with_commas_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = tmp_path / "a,b"
    inside.mkdir()
    shutil.copy(OWN.rpartition(":")[0], inside)
    monkeypatch.chdir(inside)
    for words in (["--strategies", "random,my_strategy.py:Greedy", *SHARED], ["a=search-1"]):
        assert compare(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "contains a comma, which separates" in line
    with pytest.raises(ValueError, match="contains a comma"):
        CompareConfig(strategies=("random", "/a,b/my.py:X"), target_flops="400M", budget=40)
    assert not (inside / "runs").exists()


def test_a_comparison_is_no_group_and_a_single_strategy_is_reported(
    compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare([f"a={compared}", "--out", str(tmp_path / "a")]) == 2
    line = capsys.readouterr().err
    assert "is a comparison; use the folders of the searches in it, such as my_strategy.py" in line
    words = ["--strategies", "random", *SHARED, "--seeds", "1", "--out", str(tmp_path / "b")]
    assert compare(words) == 0
    out, err = capsys.readouterr()
    assert "warning: there is only one strategy, so nothing is compared" in err
    assert "\nthere is only one group of searches; a comparison needs at least two\n" in out
    assert "nan" not in out


def test_a_strategy_without_its_method_is_told_the_signature(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "empty.py"
    file.write_text("class Empty:\n    generation = 1\n")
    assert compare(["--strategies", f"random,{file}:Empty", *SHARED]) == 2
    assert "no method propose(history, count, rng); see docs/extend.md" in capsys.readouterr().err


def test_the_help_says_what_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "nas.compare [NAME=DIR,DIR ...] [options]" in text
    assert "--evaluator surrogate|table|proxy|zero-cost source" in text
    assert "at least 10 (required)" in text


def test_equal_groups_are_called_equal(
    compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(compared / "random-0", tmp_path / "copy")
    words = [f"a={compared}/random-0", f"b={tmp_path}/copy", "--out", str(tmp_path / "out")]
    assert compare(words) == 0
    assert "after 40 evaluations, the means of a and b are equal" in capsys.readouterr().out


def test_marks_are_round_numbers_up_to_the_last_evaluation(compared: Path) -> None:
    assert marks(200) == [20, 50, 100, 200]
    assert marks(20_001) == [5_000, 10_000, 20_000, 20_001]
    assert marks(7) == [7]
    comparison = compare_searches({"random": [compared / "random-0"]})
    heads, rows = table_of(comparison, columns=2)
    assert heads == ["strategy", "searches", "20", "40"]
    assert len(rows) == 1
