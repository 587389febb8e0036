"""The command `python -m nas.search`: results, mistakes, interruptions."""

from __future__ import annotations

import csv
import html
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from nas.evaluators.table import read_table
from nas.options import StudyOptions
from search_spaces.architecture import Architecture
from search_spaces.catalog import space
from search_spaces.cost import cost
from tests.commands import search as run

FIELDS = (
    "architecture",
    "key",
    "choices",
    "flops",
    "params",
    "activations",
    "accuracy",
    "accuracy_std",
    "reward",
    "evaluations",
    "accuracy_long",
    "accuracy_long_std",
    "space",
    "evaluator",
    "strategy",
    "seed",
)
ROOT = Path(__file__).resolve().parents[2]
AIM = ["--target-flops", "400M"]
QUICK = [*AIM, "--budget", "3000"]


def command(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "nas.search", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env=environment,
    )


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
    best = history["accuracy"].to_numpy().max()  # which is rounded to three decimals
    assert float(front[-1]["accuracy"]) == pytest.approx(best, abs=6e-4)
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
    for words in (
        "found: best reward",
        "EfficientNet-B0",
        "385,814,752",
        "best measured",
        "short training schedule",
        "results: found/",
        "python -m search_spaces.show found/best.json",
        "python -m train.run found/best.json --data imagefolder:DIR",
    ):
        assert words in done.stdout
    page = html.unescape((tmp_path / "found" / "report.html").read_text())
    for line in done.stdout.splitlines():
        if line.startswith(("top-1: ", "long: ", "nearest: ", "rank: ")):
            assert line in page
    assert len(done.stderr.splitlines()) <= 10  # no progress in a pipe


def test_printed_commands_work(finished: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "search_spaces.show", str(finished / "best.json")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
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
        "import sys, tempfile\nfrom vbs.command import command_line\n"
        "run = lambda words: command_line('nas.search', words)\n"
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
    "negative": (["--target-flops", "-1"], "'-1' is not above 0"),
    "too small": (["--target-flops", "1"], "range from 51,594,768 to 884,060,256"),
    "no size to lower": (["--target-flops", "1M"], "to 884,060,256; use a higher one\n"),
    "no unit": (["--target-flops", "400"], "to 884,060,256; did you mean 400M?"),
    "no target": ([], "--target-flops is missing"),
    "space": ([*QUICK, "--space", "mnasnt"], "did you mean mnasnet"),
    "strategy": ([*QUICK, "--strategy", "evolutoin"], "did you mean evolution"),
    "reward": ([*QUICK, "--reward", "mnaas"], "did you mean mnas"),
    "evaluator": ([*QUICK, "--evaluator", "surogate"], "did you mean surrogate"),
    "over target": ([*QUICK, "--over-target", "maybe"], "use one of forbid, allow"),
    "exponent": ([*QUICK, "--exponent", "0.07"], "exponent: 0.07 is not allowed"),
    "huge exponent": ([*QUICK, "--exponent=-500"], "exponent: -500.0 is not allowed"),
    "images": ([*QUICK, "--data", "imagefolder:flowers"], "--data: evaluator 'surrogate' trains"),
    "images without parent": (
        [*QUICK, "--data", "imagefolder:flowers"],
        "add --evaluator proxy, --parent for pretrained weights, or leave --data out",
    ),
    "workers": ([*QUICK, "--workers", "2"], "--workers: evaluator 'surrogate' trains nothing"),
    "flag": ([*QUICK, "--sed", "1"], "option: '--sed' is unknown; did you mean --seed"),
    "budget": ([*AIM, "--budget", "0"], "--budget: '0' is not a whole number from 1 to 1G"),
    "half a budget": ([*AIM, "--budget", "0.5"], "is not a whole number"),
    "endless budget": (
        ["--target-flops", "400M", "--budget", "1e18"],
        "is not a whole number from 1 to 1G",
    ),
    "negative seed": ([*QUICK, "--seed", "-1"], "--seed: -1 is not allowed"),
    "seed": ([*QUICK, "--seed", "x"], "--seed: 'x' is not a whole number"),
    "surrogate elsewhere": ([*QUICK, "--space", "mnasnet"], "only for the space"),
    "surrogate at 32 px": (
        [*QUICK, "--resolution", "64"],
        "predicts only at 224 px, not 64 px; use",
    ),
    "surrogate of others": (
        [*QUICK, "--resolution", "64", "--classes", "9"],
        "only for resolution 224 and classes 1000, not for resolution 64 and classes 9; use",
    ),
    "vanishing": ([*QUICK, "--resolution", "7"], "resolution"),
    "no table": ([*QUICK, "--evaluator", "table"], "use --table FILE"),
    "missing table": (
        [*QUICK, "--evaluator", "table", "--table", "no.csv"],
        "no.csv does not exist",
    ),
    "idle table": ([*QUICK, "--table", "no.csv"], "evaluator 'surrogate' reads no table"),
    "unwritable": ([*QUICK, "--out", "/proc/nothing/here"], "cannot be written"),
    "long name": ([*QUICK, "--out", "x" * 300], "cannot be written"),
    "no name": ([*QUICK, "--out", ""], "name of the folder is empty"),
    "file as folder": ([*QUICK, "--out", "/etc/hostname"], "cannot be written"),
    "resume what": (["--resume"], "the folder of the search is missing; use --out DIR"),
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


HEADER = ",".join([*space("efficientnet").choices, "accuracy"]) + "\n"
CELLS = ",".join(["1", "3", "1", "False"] * 7)
TABLES = {
    "not parquet": ("t.parquet", "hello", "cannot be read as parquet"),
    "damaged parquet": ("t.pq", "PAR1 and no more", "cannot be read as CSV or parquet"),
    "empty": ("t.csv", "", "cannot be read"),
    "columns": ("t.csv", "block0_e,accuracy\n1,60\n", "has no column 'block0_k'"),
    "twice": ("t.csv", HEADER[:-1] + ",accuracy\n", "has 2 columns 'accuracy'"),
    "no rows": ("t.csv", HEADER, "has no rows"),
    "option": ("t.csv", HEADER + "2" + CELLS[1:] + ",60\n", "row 1 .* has block0_e = 2"),
    "text": ("t.csv", HEADER + CELLS + ",good\n", "row 1 .* has accuracy = 'good'"),
    "boolean": ("t.csv", HEADER + CELLS + ",true\n", "row 1 .* has accuracy = True"),
    "missing": ("t.csv", HEADER + CELLS + ",\n", "row 1 .* has accuracy = "),
    "too high": ("t.csv", HEADER + CELLS + ",1e300\n", "use a percentage"),
    "fractions": ("t.csv", HEADER + CELLS + ",0.66\n", "use accuracies in percent"),
    "bytes": ("t.csv", HEADER + CELLS.replace("3", "\udcff", 1) + ",60\n", "t.csv"),
}


@pytest.mark.parametrize("case", TABLES)
def test_malformed_tables(case: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    name, text, message = TABLES[case]
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    arguments = ["--evaluator", "table", "--table", str(tmp_path / name)]
    assert run([*QUICK, *arguments, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert re.search(message, error)
    assert not (tmp_path / "run").exists()


def test_cells_are_read_as_people_write_them(tmp_path: Path) -> None:
    cells = [" 1", "3", "1.0", " False"] * 7
    (tmp_path / "t.csv").write_text(HEADER + ",".join(cells) + ",60\n")
    table = read_table(tmp_path / "t.csv", space("efficientnet"))
    assert not table.measured.genotypes.any()


def test_paths_are_printed_as_they_are(tmp_path: Path) -> None:
    done = command(*QUICK, "--out", "[bold]a b[/x]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "results: '[bold]a b[/x]/' (" in done.stdout
    assert "python -m search_spaces.show '[bold]a b[/x]/best.json'" in done.stdout


def test_the_table_fits_a_terminal_of_80_columns(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run(["--resume", "--out", str(finished)]) == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    start = next(i for i, line in enumerate(lines) if "network" in line and "top-1 %" in line)
    end = next(i for i, line in enumerate(lines) if line.startswith("top-1: "))
    table = lines[start:end]
    assert max(map(len, table)) <= 80
    assert "…" not in "".join(table)
    assert any("385.8M" in line for line in table)


@pytest.mark.slow
def test_searches_started_together_get_folders_of_their_own(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-m", "nas.search", "--target-flops", "400M", "--budget", "500"]
    started = [
        subprocess.Popen(arguments, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
        for _ in range(3)
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    assert len(list((tmp_path / "runs").glob("*/best.json"))) == 3


def test_table_search_of_real_measurements(shared_data: Path, tmp_path: Path) -> None:
    table = shared_data / "imagenet_measurements" / "train.parquet"
    arguments = [
        "--target-flops",
        "400M",
        "--reward",
        "feasible",
        "--evaluator",
        "table",
        "--table",
        str(table),
        "--table-column",
        "val_top1",
        "--out",
        str(tmp_path / "run"),
    ]
    assert run([*arguments, "--budget", "400"]) == 0
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    assert best["accuracy"] > 65.0  # the best of 3,000 feasible measurements has 65.75
    assert best["evaluator"] == "table"


def test_max_params_is_a_hard_limit(tmp_path: Path) -> None:
    assert run([*QUICK, "--max-params", "4M", "--out", str(tmp_path / "run")]) == 0
    history = pyarrow.parquet.read_table(tmp_path / "run" / "history.parquet")
    assert history["params"].to_numpy().max() <= 4e6


@pytest.mark.parametrize(
    ("storage", "shown"),
    [
        ("postgresql://u:p@h:5/d", "postgresql://u@h:5/d"),
        ("postgresql+psycopg://u:p%40w@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql://h/d?user=u&password=p&sslpassword=p", "postgresql://h/d?user=u"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        (None, None),
    ],
)
def test_no_password_is_written_down(storage: str | None, shown: str | None) -> None:
    assert StudyOptions(storage=storage).settings() == {"storage": shown, "study": "search"}
