"""`python -m nas.search` as its users meet it: results, mistakes, interruptions."""

from __future__ import annotations

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet
import pytest

from nas.command import run
from search_spaces.architecture import Architecture
from search_spaces.cost import cost

FIELDS = (
    "architecture", "key", "choices", "flops", "params", "activations", "accuracy",
    "accuracy_std", "reward", "space", "evaluator", "strategy", "seed",
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--target-flops", "400M", "--budget", "3000"]


def command(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "nas.search", *arguments],
        capture_output=True, text=True, timeout=120, cwd=cwd, env=environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert run([*QUICK, "--out", str(folder)]) == 0
    return folder


def test_best_json_describes_the_network_exactly(finished: Path) -> None:
    best = json.loads((finished / "best.json").read_text())
    assert tuple(best) == FIELDS
    architecture = Architecture.from_dict(best["architecture"])
    assert architecture.key == best["key"]
    assert cost(architecture)._asdict() == {
        name: best[name] for name in ("flops", "params", "activations")
    }
    assert best["flops"] <= 400_000_000
    assert best["reward"] == pytest.approx(
        best["accuracy"] * (best["flops"] / 400e6) ** -0.07, abs=1e-4
    )


def test_same_seed_same_bytes(finished: Path, tmp_path: Path) -> None:
    for seed, same in (("0", True), ("1", False)):
        folder = tmp_path / seed
        assert run([*QUICK, "--seed", seed, "--out", str(folder)]) == 0
        ours, theirs = (path / "best.json" for path in (folder, finished))
        assert (ours.read_bytes() == theirs.read_bytes()) is same


def test_history_front_figure_and_settings(finished: Path) -> None:
    history = pyarrow.parquet.read_table(finished / "history.parquet")
    assert history.num_rows == 3000
    flops = history["flops"].to_numpy()
    assert flops.max() <= 400e6
    with (finished / "pareto.csv").open() as file:
        front = list(csv.DictReader(file))
    for weaker, stronger in itertools.pairwise(front):
        assert int(weaker["flops"]) < int(stronger["flops"])
        assert float(weaker["accuracy"]) < float(stronger["accuracy"])
    assert float(front[-1]["accuracy"]) == pytest.approx(history["accuracy"].to_numpy().max())
    assert (finished / "pareto.png").read_bytes().startswith(b"\x89PNG")
    search = json.loads((finished / "search.json").read_text())
    assert search["status"] == "finished"
    assert search["settings"]["target_flops"] == 400e6
    assert search["settings"]["budget"] == 3000
    assert search["versions"]["numpy"]
    assert not [path.name for path in finished.iterdir() if path.name.startswith(".")]


def test_what_is_printed(tmp_path: Path) -> None:
    done = command(*QUICK, "--out", "found", cwd=tmp_path)
    assert done.returncode == 0
    for words in ("found: best reward", "EfficientNet-B0", "385,814,752", "best measured",
                  "short training schedule", "results: found/",
                  "python -m search_spaces.show found/best.json"):  # fmt: skip
        assert words in done.stdout
    assert len(done.stderr.splitlines()) <= 10  # quiet in a pipe


def test_printed_commands_work(finished: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "search_spaces.show", str(finished / "best.json")],
        capture_output=True, text=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert shown.returncode == 0
    best = json.loads((finished / "best.json").read_text())
    assert f"{best['flops']:,}" in shown.stdout


def test_default_folders_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run([*QUICK]) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["search-1", "search-2"]


def test_neither_torch_nor_ray_is_imported() -> None:
    script = (
        "import sys, tempfile\nfrom nas.command import run\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    assert run(['--target-flops', '400M', '--budget', '3000', '--out', folder]) == 0\n"
        "print([name for name in ('torch', 'ray', 'optuna', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"


MISTAKES = {
    "banana": (["--target-flops", "banana"], "'banana' is not a size"),
    "zero": (["--target-flops", "0"], "'0' is not above 0"),
    "negative": (["--target-flops=-1"], "'-1' is not above 0"),
    "too small": (["--target-flops", "1"], "range from 51,594,768 to 884,060,256"),
    "no target": ([], "--target-flops is missing"),
    "space": ([*QUICK, "--space", "mnasnt"], "did you mean mnasnet"),
    "strategy": ([*QUICK, "--strategy", "evolutoin"], "did you mean evolution"),
    "reward": ([*QUICK, "--reward", "mnaas"], "did you mean mnas"),
    "evaluator": ([*QUICK, "--evaluator", "surogate"], "did you mean surrogate"),
    "over target": ([*QUICK, "--over-target", "maybe"], "known are forbid, allow"),
    "exponent": ([*QUICK, "--exponent", "0.07"], "would reward cost"),
    "flag": ([*QUICK, "--sed", "1"], "unrecognized arguments: --sed 1"),
    "budget": ([*QUICK, "--budget", "0"], "--budget: '0' is not above 0"),
    "seed": ([*QUICK, "--seed", "x"], "argument --seed: invalid int value"),
    "surrogate elsewhere": ([*QUICK, "--space", "mnasnet"], "was fitted on the space"),
    "surrogate at 32 px": ([*QUICK, "--resolution", "64"], "was fitted on the space"),
    "vanishing": ([*QUICK, "--resolution", "7"], "resolution"),
    "no table": ([*QUICK, "--evaluator", "table"], "give --table FILE"),
    "missing table": ([*QUICK, "--evaluator", "table", "--table", "no.csv"], "is not a file"),
    "idle table": ([*QUICK, "--table", "no.csv"], "evaluator is 'surrogate'"),
    "unwritable": ([*QUICK, "--out", "/proc/nothing/here"], "cannot be written"),
    "file as folder": ([*QUICK, "--out", "/etc/hostname"], "cannot be written"),
    "resume what": (["--resume"], "give its folder as --out DIR"),
    "resume nothing": (["--resume", "--out", "nothing"], "holds no search"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_and_exit_2(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, message = MISTAKES[mistake]
    assert run(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1
    assert message in output.err
    assert "Traceback" not in output.err
    assert not list(tmp_path.rglob("*.json"))


TABLES = {
    "not parquet": ("t.parquet", "hello", "cannot be read"),
    "empty": ("t.csv", "", "cannot be read"),
    "columns": ("t.csv", "block0_e,accuracy\n1,60\n", "has no column 'block0_k'"),
}


@pytest.mark.parametrize("case", TABLES)
def test_malformed_tables(case: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    name, text, message = TABLES[case]
    (tmp_path / name).write_text(text)
    arguments = ["--evaluator", "table", "--table", str(tmp_path / name)]
    assert run([*QUICK, *arguments, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert message in error
    assert not (tmp_path / "run").exists()


def test_a_finished_folder_is_not_overwritten(
    finished: Path, capsys: pytest.CaptureFixture
) -> None:
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    assert run([*QUICK, "--out", str(finished)]) == 2
    assert "already holds" in capsys.readouterr().err
    assert run(["--target-flops", "300M", "--resume", "--out", str(finished)]) == 2
    assert "--target-flops 300000000.0 differs" in capsys.readouterr().err
    assert before == {path.name: path.read_bytes() for path in finished.iterdir()}


def test_resume_to_a_larger_budget_equals_one_search(finished: Path, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert run(["--target-flops", "400M", "--budget", "2000", "--out", str(part)]) == 0
    assert run(["--resume", "--out", str(part), "--budget", "3000"]) == 0
    for name in ("best.json", "pareto.csv"):
        assert (part / name).read_bytes() == (finished / name).read_bytes()
    assert not whole.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("search.json", "{", "is not the record of a search"),
        ("search.json", '{"settings": {"space": "efficientnet"}}', "another version"),
        ("history.parquet", "PAR1", "cannot be read"),
    ],
)
def test_half_written_folders_are_refused_whole(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture,
    name: str, content: str, message: str,
) -> None:  # fmt: skip
    for path in finished.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_text(content)
    assert run(["--resume", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert message in error
    assert (tmp_path / name).read_text() == content


def test_ctrl_c_saves_what_was_found_and_resume_goes_on(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = ["--target-flops", "400M", "--budget", "50M", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-m", "nas.search", *arguments], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not (tmp_path / "run" / "search.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted, the result so far is saved" in out
    search = json.loads((tmp_path / "run" / "search.json").read_text())
    assert search["status"] == "interrupted"
    evaluated = search["outcome"]["evaluated"]
    assert evaluated > 0
    assert (tmp_path / "run" / "best.json").exists()
    budget = str(evaluated + 1000)
    assert run(["--resume", "--out", str(tmp_path / "run"), "--budget", budget]) == 0
    rows = pyarrow.parquet.read_table(tmp_path / "run" / "history.parquet").num_rows
    assert rows == evaluated + 1000


def test_table_search_of_real_measurements(shared_data: Path, tmp_path: Path) -> None:
    table = shared_data / "imagenet_measurements" / "train.parquet"
    arguments = ["--target-flops", "400M", "--reward", "feasible", "--evaluator", "table",
                 "--table", str(table), "--table-column", "val_top1",
                 "--out", str(tmp_path / "run")]  # fmt: skip
    assert run([*arguments, "--budget", "400"]) == 0
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    assert best["accuracy"] > 65.0  # the best of 3,000 feasible measurements has 65.75
    assert best["evaluator"] == "table"


def test_max_params_is_a_hard_limit(tmp_path: Path) -> None:
    assert run([*QUICK, "--max-params", "4M", "--out", str(tmp_path / "run")]) == 0
    history = pyarrow.parquet.read_table(tmp_path / "run" / "history.parquet")
    assert history["params"].to_numpy().max() <= 4e6
