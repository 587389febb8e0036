"""Figures are drawn by Agg in every environment; an error is one warning."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from PIL import Image

from vbs.figure import attempt, draw_picture, label, new_figure, save_png

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = r"""
import sys
from pathlib import Path
from vbs.figure import draw_picture, label, new_figure, save_png

def draw(path):
    figure = new_figure(3, 2)
    axes = figure.add_subplot()
    axes.plot([1, 2], [1, 1000], label=label("_$\\frac{1$"))
    axes.set(yscale="log", title=label("\x1b[31m $x$"))
    axes.legend()
    save_png(figure, path)

print(draw_picture(Path(sys.argv[1]), draw))
"""


def drawn(path: Path, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run PROGRAM in an environment with variables `more`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name, value in more.items():
        environment[name] = value
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        env=environment,
        cwd=cwd,
        text=True,
        capture_output=True,
        check=True,
    )


def check(path: Path) -> None:
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"


@pytest.mark.parametrize(
    "backend", ["module://matplotlib_inline.backend_inline", "no_such_backend", "TkAgg", "pdf"]
)
def test_the_backend_of_the_environment_does_not_matter(backend: str, tmp_path: Path) -> None:
    done = drawn(tmp_path / "a.png", MPLBACKEND=backend)
    assert (done.stdout, done.stderr) == ("True\n", "")
    check(tmp_path / "a.png")


def test_settings_of_the_user_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(
        "backend: nonsense\nno.such.key: 3\ntext.usetex: True\nfont.size: huge\n"
        "font.family: No Such Font\nsavefig.format: xyz\n"
    )
    done = drawn(tmp_path / "a.png", cwd=tmp_path)
    assert done.stdout == "True\n"
    assert done.stderr.startswith("warning: ")
    assert done.stderr.count("\n") == 1
    check(tmp_path / "a.png")


def test_an_unwritable_home_is_one_warning(tmp_path: Path) -> None:
    done = drawn(tmp_path / "a.png", MPLCONFIGDIR="/proc/none")
    assert done.stdout == "True\n"
    assert done.stderr.startswith("warning: ")
    assert done.stderr.count("\n") == 1
    check(tmp_path / "a.png")


@pytest.mark.slow
def test_damaged_font_caches_do_not_matter(tmp_path: Path) -> None:
    drawn(tmp_path / "a.png", MPLCONFIGDIR=str(tmp_path / "cache"))
    (cache,) = (tmp_path / "cache").glob("fontlist*.json")
    known = json.loads(cache.read_text())
    (tmp_path / "no font").write_text("text")
    for entry in known["ttflist"]:
        entry["fname"] = str(tmp_path / "no font")
    cache.write_text(json.dumps(known))
    done = drawn(tmp_path / "b.png", MPLCONFIGDIR=str(tmp_path / "cache"))
    assert done.stdout == "True\n"
    check(tmp_path / "b.png")


def test_a_matplotlib_that_cannot_be_imported_is_one_warning(tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "matplotlib"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise OSError('libfreetype.so: \\x1b[2J damaged')")
    path = f"{tmp_path / 'broken'}{os.pathsep}{ROOT}"
    done = drawn(tmp_path / "a.png", PYTHONPATH=path)
    assert done.stdout == "False\n"
    assert done.stderr == (
        "warning: a.png is not drawn (OSError: libfreetype.so: \\x1b[2J damaged)\n"
    )
    assert not list(tmp_path.glob("*.png"))


def test_settings_are_given_back(tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 31.0}):
        assert attempt("a", lambda: None)
        assert matplotlib.rcParams["font.size"] == 31.0


def test_a_picture_that_fails_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def draw(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("no\nmemory " + "x" * 999)

    assert not draw_picture(tmp_path / "a.png", draw)
    assert not list(tmp_path.iterdir())
    err = capsys.readouterr().err
    assert err.startswith("warning: a.png is not drawn (RuntimeError: no\\nmemory xxx")
    assert err.count("\n") == 1
    assert len(err) < 300


def test_missing_glyphs_are_one_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def draw(path: Path) -> None:
        figure = new_figure(3, 2)
        figure.suptitle(label("学习 学"))
        save_png(figure, path)

    for name in ("a.png", "b.png"):
        assert draw_picture(tmp_path / name, draw)
        check(tmp_path / name)
    assert capsys.readouterr().err.count("\n") <= 1


def test_labels_begin_no_formula_and_hide_no_line() -> None:
    assert label("$\\frac{1$") == "\\$\\frac{1\\$"
    assert label("_x") == " _x"
    assert label("a\nb\x1b") == "a\\nb\\x1b"
    assert len(label("x" * 999)) == 60
