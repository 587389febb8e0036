"""Printed lines, tables and figures work with every text, terminal, pipe and environment."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vbs.console import encodable, print_err, print_out, results_line
from vbs.tables import Console, Table
from vbs.text import shell_command, shell_word

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("[/x]", "run[lr=0.1]", "[red]x[/red]", ":smile:", "\x1b]0;owned\x07", "\u202egnp")
# a table with characters that few encodings have, then lines, as every command prints them
PROGRAM = r"""
import rich.box
from vbs.console import print_err, print_out
from vbs.tables import Console, Table

table = Table(box=rich.box.SIMPLE_HEAD)
for name in ("network", "top-1 ± %"):
    table.add_column(name, no_wrap=True)
table.add_row("found: ≤ 学习 \u00d7 [/x] :smile: \x1b]0;owned\x07", "92.50 ± 0.12")
print_err("began ±")
console = Console(piped_width=40)
console.print(table)
console.print("results: ± [/x] :smile:")
print_out("next: ±")
print_err("ended ±")
"""


def run(shell: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell command line, in which $P is PROGRAM."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    words = [sys.executable, "-c", PROGRAM.encode("ascii", "backslashreplace").decode()]
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", shell.replace("$P", shell_command(words))],
        env=environment,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("name", NAMES)
def test_no_text_is_markup_or_acts_on_a_terminal(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table(name)
    table.add_row(name * 20)
    console = Console(piped_width=30)
    console.print(table)
    console.print(f"results: {name}/")
    print_out(name)
    print_err(name)
    out, err = capsys.readouterr()
    shown = name.replace("\x1b", r"\x1b").replace("\x07", r"\x07").replace("\u202e", r"\u202e")
    assert shown * 20 in out, "a table is not cut"
    assert out.endswith(f"results: {shown}/\n{shown}\n")
    assert err == f"{shown}\n"


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252:strict"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_characters_that_the_encoding_lacks_are_spelled(environment: dict[str, str]) -> None:
    done = run("$P", **environment)
    assert done.returncode == 0, done.stderr
    assert rb"<= \u5b66\u4e60" in done.stdout
    assert b"[/x] :smile:" in done.stdout
    assert b"ended" in done.stderr
    assert b"\x1b" not in done.stdout + done.stderr


def test_a_closed_pipe_ends_nothing() -> None:
    done = run("$P 2>/dev/null | head -c 1")
    assert done.returncode == 0
    done = run("{ $P; echo code $? >&2; } | head -c 1")
    assert done.stderr.decode().split("\n")[-3:] == ["ended ±", "code 0", ""]
    assert b"Error" not in done.stderr
    assert b"warning" not in done.stderr
    done = run("{ $P >/dev/null; echo code $? >&3; } 3>&2 2>&1 | true")
    assert done.stderr == b"code 0\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_stdout_is_one_warning() -> None:
    done = run("$P > /dev/full")
    assert done.returncode == 0
    (warning,) = [line for line in done.stderr.decode().split("\n") if line.startswith("warning")]
    assert "No space left on device" in warning
    assert run("$P > /dev/full 2> /dev/full").returncode == 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_end_nothing(closed: str) -> None:
    assert run(f"$P {closed}").returncode == 0


def on_terminal(**more: str) -> str:
    """Return what PROGRAM prints on a terminal."""
    parent, child = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **more}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=environment, stdout=child, stderr=child, stdin=child
    )
    os.close(child)
    chunks = []
    while True:
        try:
            chunk = os.read(parent, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(parent)
    assert process.wait() == 0
    return b"".join(chunks).decode()


@pytest.mark.parametrize("columns", ["0", "1", "20"])
def test_narrow_terminals_show_everything(columns: str) -> None:
    shown = on_terminal(COLUMNS=columns)
    assert "92.50 ± 0.12" in shown
    assert r"\x1b]0;owned\x07" in shown


def test_no_color_is_honoured() -> None:
    colours = re.compile(r"\x1b\[[0-9;]*3[0-7]")
    assert not colours.search(on_terminal(NO_COLOR="1"))


@pytest.mark.parametrize(
    "name",
    ["run[lr=0.1]", "a b", "it's", "\x1b]0;owned\x07", "a\nb\\", "\u202e'x", "é", "\udcff7", "$x"],
)
def test_a_printed_folder_is_the_one_that_exists(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "best.json").touch()
    line = results_line(folder, ("best.json", "study.db"))
    assert line.endswith("/ (best.json)") or line.endswith("/' (best.json)")
    assert line.isprintable()
    word = line.removeprefix("results: ").removesuffix(" (best.json)")
    listed = subprocess.run(["bash", "-c", f"ls {word}"], capture_output=True, check=True)
    assert listed.stdout == b"best.json\n"


def test_words_that_need_no_quotes_get_none() -> None:
    assert shell_command(["python", "-m", "nas.search", "--out", "a b"]) == (
        "python -m nas.search --out 'a b'"
    )
    assert shell_word("\x1b1") == r"$'\0331'"


def test_encodable_leaves_what_can_be_encoded() -> None:
    assert encodable("± ≤ …", "utf-8") == "± ≤ …"
    assert encodable("± ≤ …", "latin-1") == "± <= ..."
    assert encodable("±", "no such encoding") == "+-"
