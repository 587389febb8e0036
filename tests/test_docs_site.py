"""The documentation site: it builds without warnings, works offline, and renders docstrings."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vbs.programs import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("sphinx", "myst_parser", "furo", "sphinx_copybutton")
MISSING = [tool for tool in TOOLS if importlib.util.find_spec(tool) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} not installed: pip install -e '.[docs]'"
)


@pytest.mark.slow
def test_the_site_builds_and_works_offline(tmp_path: Path) -> None:
    """One test, since a build takes a while; warnings are errors."""
    site = tmp_path / "site"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "--keep-going",
            "-q",
            "-d",
            str(tmp_path / "tree"),
            str(ROOT / "docs"),
            str(site),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    check_pages(site)
    check_reference(site)
    check_commands(site)
    check_offline(site)


def check_pages(site: Path) -> None:
    for page in (ROOT / "docs").glob("*.md"):
        assert "<h1>" in (site / f"{page.stem}.html").read_text()
    # Sphinx writes its own search.html over a page of that name
    assert not (ROOT / "docs" / "search.md").exists()


def check_reference(site: Path) -> None:
    for page in (ROOT / "docs" / "reference").glob("*.rst"):
        text = (site / "reference" / f"{page.stem}.html").read_text()
        documented = '<dl class="py' in text
        assert documented or page.stem == "index", f"{page.stem}: its patterns match no module"
    page = site / "reference" / "search_spaces.html"
    assert 'id="search_spaces.architecture.Architecture"' in page.read_text()


def check_commands(site: Path) -> None:
    index = (site / "commands" / "index.html").read_text()
    for name in COMMANDS:
        page = f"{name.replace(' ', '-')}.html"
        assert f'href="{page}"' in index
        assert 'class="sig-name descname"' in (site / "commands" / page).read_text()


def check_offline(site: Path) -> None:
    loaded = re.compile(r"""(?:src=|<link[^>]+href=)["']?(?:https?:)?//[^"' >]+""")
    for page in site.rglob("*.html"):
        assert not loaded.findall(page.read_text()), page
    for style in site.rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text()), style


@pytest.fixture
def to_rst(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    import docstrings

    return lambda text: list(docstrings.to_rst(text.splitlines()))


def test_columns_become_definitions(to_rst) -> None:
    lines = to_rst(
        'op        "conv" or\n          `dwsep`.\nbn_eps    of *all* norms.\nlongernam of 1.'
    )
    assert lines == [
        "``op``",
        '   "conv" or \\ ``dwsep``\\ .',
        "",
        "``bn_eps``",
        "   of \\*all\\* norms.",
        "",
        "``longernam``",
        "   of 1.",
        "",
    ]


def test_indented_lines_are_shown_as_they_are(to_rst) -> None:
    assert to_rst("Text.\n\n    a -> *b*") == ["Text.", "", "::", "", "       a -> *b*", ""]


def test_nothing_else_is_markup(to_rst) -> None:
    assert to_rst("A `x`s, **kwargs, name_ and |ratio|,\nover two lines.") == [
        "A \\ ``x``\\ s, \\*\\*kwargs, name\\_ and \\|ratio\\|, over two lines.",
        "",
    ]
