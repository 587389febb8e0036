"""Text from files and folders reaches terminals, tables and pages without acting on them."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from search_spaces.catalog import zoo
from tests.commands import (
    export,
    family,
    fidelity,
    grid,
    noisy_student,
    search,
    show,
    train_run,
)
from tests.train.files import encoded
from train.logs import write_curves_csv
from train.ray_tune import report
from train.ray_tune.progress import Trials
from vbs.command import run_command
from vbs.page.parts import escaped
from vbs.text import csv_cell

# names of classes and files; a file name cannot contain a slash
NAMES = (
    "\x1b]0;owned\x07",
    "[red]x",
    "[x]",
    ":smile:",
    "$\\frac{1$",
    "=cmd|' C calc'!A0",
    "\u202egnp",
    "a\nb",
    "\x9b2J",
    "-1+1",
)
KEYS = (*NAMES, "[/x]", "[red]x[/]", "=cmd|' /C calc'!A0")
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
FORMULA = re.compile(r"^[=+\-@](?!\d*\.?\d+(e[+-]?\d+)?$)")


def check(text: str) -> str:
    """Check that the text does not act on a terminal, and return it."""
    found = UNSAFE.search(text)
    assert found is None, text[max(0, found.start() - 60) :][:120]
    return text


def check_table(path: Path) -> list[list[str]]:
    """Check that no cell of a CSV file acts on a terminal or a spreadsheet; return its rows."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    for cell in (cell for row in rows for cell in row):
        check(cell)
        assert "\n" not in cell
        assert not FORMULA.match(cell), cell
    return rows


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images with hostile names of folder, classes and files."""
    root = tmp_path_factory.mktemp("images") / "\x1b[7mda$ta\n"
    number = 0
    for split, count in (("train", 6), ("test", 2)):
        for label in NAMES:
            (root / split / label).mkdir(parents=True)
            for index in range(count):
                number += 1
                name = f"{index}{NAMES[(number * 7) % len(NAMES)]}.png"
                (root / split / label / name).write_bytes(encoded(number))
    return root


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str, int]:
    """A run on those images in a folder with a hostile name, and its output."""
    folder = tmp_path_factory.mktemp("runs") / "\x1b[5mrun[lr=0.1][/x]\n".replace("/", "")
    with pytest.MonkeyPatch.context() as patch:
        import io
        import sys

        out, err = io.StringIO(), io.StringIO()
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        code = train_run(
            [
                "mobilenet_v2",
                "--data",
                f"imagefolder:{images}",
                "--width",
                "0.1",
                "--resolution",
                "32",
                "--set",
                "epochs=1",
                "--set",
                "batch=8",
                "--device",
                "cpu",
                "--out",
                str(folder),
            ]
        )
    return folder, out.getvalue(), err.getvalue(), code


def test_a_training_prints_and_draws_hostile_names(trained: tuple[Path, str, str, int]) -> None:
    folder, out, err, code = trained
    assert code == 0, err
    check(out + err)
    assert "run[lr=0.1]" in out
    assert r"\033[5mrun" in out, "the folder can be pasted into a shell"
    check_table(folder / "curves.csv")
    for name in ("curves.png", "confusion.png", "mistakes.png"):
        with Image.open(folder / name) as image:
            image.load()
    warnings = [line for line in err.splitlines() if "warning" in line]
    assert all("optimizer steps are few" in line for line in warnings)  # no warnings about figures


@pytest.mark.slow
@pytest.mark.parametrize("form", ["safetensors", "torchscript"])
def test_an_export_prints_hostile_names(
    form: str, trained: tuple[Path, str, str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert export([str(trained[0]), "--to", form]) == 0
    out, err = capsys.readouterr()
    check(out + err)
    weights = trained[0] / "network.safetensors"
    if form == "safetensors":
        assert set(json.loads(weights.with_suffix(".json").read_text())["classes"]) == {*NAMES}


@pytest.mark.parametrize("key", KEYS)
def test_errors_about_files_are_one_safe_line(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = json.loads(zoo("mobilenet_v2").to_json())
    path = tmp_path / f"{key.replace('/', '')}.json"

    def written(content: Any) -> str:
        path.write_text(json.dumps(content))
        return str(path)

    table = tmp_path / "table.csv"
    table.write_text(f'"{key}","{key * 300}",accuracy\n1,2,3\n', encoding="utf-8")
    calls: list[Callable[[], int]] = [
        lambda: show([written({**network, key: 1})]),
        lambda: show([written({**network, "stages": key * 500})]),
        lambda: show([written({**network, "stages": [{key: key}]})]),
        lambda: show([f"no such {key}"]),
        lambda: train_run([written({**network, key * 500: 1}), "--data", "cifar10"]),
        lambda: train_run(["mobilenet_v2", "--data", f"imagefolder:{tmp_path}/{key}"]),
        lambda: train_run(["mobilenet_v2", "--data", "cifar10", "--set", key]),
        lambda: train_run(["mobilenet_v2", "--data", "cifar10", f"--{key}"]),
        lambda: search(
            [
                "--target-flops",
                "400M",
                "--evaluator",
                "table",
                "--table",
                str(table),
                "--out",
                str(tmp_path / "out"),
            ]
        ),
        lambda: search(["--target-flops", key]),
        lambda: family(["--coefficients", written({key: key * 500})]),
        lambda: grid(["--resume", "--out", str(tmp_path / key)]),
        lambda: noisy_student(["--resume", "--out", str(tmp_path / key)]),
    ]
    for call in calls:
        assert call() == 2
        out, err = capsys.readouterr()
        assert not out
        check(err)
        assert err.count("\n") == 1
        assert len(err) < 2600


def test_a_family_of_a_hostile_file_is_drawn_and_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "_$\\frac{1$[/x]\x1b]0;owned\x07\n.json".replace("/", "")
    base.write_text(zoo("mobilenet_v2").to_json())
    folder = tmp_path / "fam[/x]:smile:\x1b".replace("/", "")
    words = ["--base", str(base), "--phi", "0..1", "--out", str(folder)]
    assert family(words) == 0
    out, err = capsys.readouterr()
    check(out + err)
    assert "warning" not in err
    assert (folder / "family.png").is_file()
    assert grid(["--base", str(base), "--dry-run"]) == 0
    out, err = capsys.readouterr()
    check(out + err)


MEASURED = [
    "--set",
    "batch=8",
    "--set",
    "minival=0.25",
    "--device",
    "cpu",
    "--workers",
    "1",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            fidelity,
            [
                "--target-flops",
                "4M",
                "--networks",
                "6",
                "--fidelities",
                "epochs=1",
                "--longest",
                "epochs=2",
            ],
        ),
        (
            grid,
            [
                "--base",
                "mobilenet_v2",
                "--candidates",
                "4",
                "--proxy-width",
                "0.1",
                "--fidelity",
                "epochs=1",
                "--seeds",
                "1",
            ],
        ),
        (
            search,
            [
                "--evaluator",
                "proxy",
                "--target-flops",
                "4M",
                "--budget",
                "3",
                "--fidelity",
                "epochs=1",
                "--finalists",
                "1",
            ],
        ),
    ],
    ids=["nas.fidelity", "scaling.grid", "nas.search"],
)
def test_measuring_commands_report_hostile_names(
    command: Any,
    words: list[str],
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "out[/x]:smile:\x1b[5m".replace("/", "")
    code = command([*words, "--data", f"imagefolder:{images}", *MEASURED, "--out", str(folder)])
    out, err = capsys.readouterr()
    assert code == 0, err
    check(out + err)
    assert "out[x]:smile:" in out
    for table in folder.rglob("*.csv"):
        check_table(table)
    for picture in folder.rglob("*.png"):
        with Image.open(picture) as image:
            image.load()


def test_a_trial_of_hostile_names_is_a_safe_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {
            "name": key,
            "network": key,
            "seed": -3,
            "status": "failed",
            "epochs": 1,
            "minival_top1": None,
            "test_top1": -12.5,
            "seconds": 1.0,
            "flops": 1,
            "params": 1,
            "reason": key,
            "folder": f"trials/{key}",
            "minival_error": None,
            "test_error": None,
        }
        for key in KEYS
    ]
    report.write_csv(tmp_path / "results.csv", rows)
    cells = check_table(tmp_path / "results.csv")
    assert all(row[2] == "-3" for row in cells[1:]), "numbers stay numbers"
    assert all(row[6] == "-12.5" for row in cells[1:])
    report.print_table(str(tmp_path / KEYS[0]), rows, status="finished", images={})
    for key in KEYS:
        trials = [{"name": key, "network": key, "recipe": {"epochs": 1}}]
        with Trials(trials) as board:
            board.began(key)
            board.waits(key, key)
            board.row(key, {"epoch": 1, "top1": 12.0})
            board.ended(key, "failed", key)
    out, err = capsys.readouterr()
    check(out + err)
    assert not re.search(r"^b$", err, flags=re.MULTILINE), "a newline forges no line"


def test_columns_of_curves_are_safe(tmp_path: Path) -> None:
    write_curves_csv(tmp_path, [dict.fromkeys(KEYS, -1.5)])
    rows = check_table(tmp_path / "curves.csv")
    assert rows[1].count("-1.5") == len(KEYS)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (-1.5, "-1.5"),
        ("-1e-5", "-1e-5"),
        ("+3", "+3"),
        (None, ""),
        (math.nan, "nan"),
        ("-x", "'-x"),
        ("@a", "'@a"),
        ("=1", "'=1"),
        ("-1+1", "'-1+1"),
        ("a\nb", "a\\nb"),
    ],
)
def test_numbers_are_numbers_and_formulas_are_text(value: Any, cell: str) -> None:
    assert csv_cell(value) == cell


def test_pages_show_what_is_markup_or_acts() -> None:
    assert escaped("<b>\x1b\u202e&") == "&lt;b&gt;\\x1b\\u202e&amp;"


def test_a_message_of_any_length_is_one_bounded_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise ValueError("x" * 10**6 + "\x1b\n; use y")

    assert run_command("a.b", fail) == 2
    err = capsys.readouterr().err
    assert err.startswith("a.b: xxx")
    assert err.endswith("\\x1b\\n; use y\n")
    assert len(err) < 2100
