"""The documentation site: it builds without warnings, works offline, and renders docstrings.

A build takes a minute; the checks of the built site are functions in this file.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.browser import BROWSER, FLAGS
from vbs.programs import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("sphinx", "myst_parser", "furo", "sphinx_copybutton")
MISSING = [tool for tool in TOOLS if importlib.util.find_spec(tool) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} not installed: pip install -e '.[docs]'"
)


@pytest.mark.slow
def test_the_site_builds_and_works_offline(tmp_path: Path) -> None:
    """One test, because a build is slow; warnings are errors."""
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
        timeout=1800,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    check_pages(site)
    check_reference(site)
    check_commands(site)
    check_links(site)
    check_pictures(site)
    check_offline(site)
    if BROWSER:
        check_search(site, tmp_path)
        check_themes(site, tmp_path)


def check_pages(site: Path) -> None:
    for page in (ROOT / "docs").glob("*.md"):
        assert "<h1>" in (site / f"{page.stem}.html").read_text()
    # Sphinx overwrites a page of that name with its own search.html
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


def pages_of(site: Path) -> list[Path]:
    """Return the pages, without downloadable reports and without pages of source code.

    In pages of source code Sphinx links names that two packages share to only one of them.
    """
    left_out = {"_downloads", "_modules"}
    return [page for page in site.rglob("*.html") if not left_out & set(page.parts)]


def check_links(site: Path) -> None:
    """Every link inside the site leads to a file, and to an anchor that the page has."""
    anchors: dict[Path, set[str]] = {}
    broken = []
    for page in pages_of(site):
        for link in re.findall(r'<a[^>]+href="([^"]+)"', page.read_text()):
            if re.match(r"(https?|mailto|javascript):", link):
                continue
            path, _, anchor = unquote(link).partition("#")
            target = (page.parent / path.partition("?")[0]).resolve() if path else page
            if target not in anchors:
                text = target.read_text() if _is_page(target) else ""
                anchors[target] = set(re.findall(r'\bid="([^"]+)"', text))
            known = anchor in anchors[target] or not _is_page(target)
            if not target.is_file() or (anchor and not known):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert not broken, "\n".join(broken)


def _is_page(path: Path) -> bool:
    return path.suffix == ".html" and path.is_file()


def check_pictures(site: Path) -> None:
    """Every image has an alternative text and a file."""
    for page in pages_of(site):
        for picture in re.findall(r"<img\b[^>]*>", page.read_text()):
            if "toggler" in picture:  # a button of Sphinx's index of modules
                continue
            words = re.search(r'alt="([^"]*)"', picture)
            assert words, f"{page}: {picture}"
            assert len(words[1].split()) > 3, f"{page}: {picture}"
            source = re.search(r'src="([^"]+)"', picture)
            assert source
            assert (page.parent / unquote(source[1])).is_file(), f"{page}: {picture}"


def shown(page: Path, place: Path, query: str = "") -> str:
    """Return the document of a page after its scripts have run, without a network."""
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER,
            *FLAGS,
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={place}/profile",
            "--dump-dom",
            "--virtual-time-budget=10000",
            page.as_uri() + query,
        ],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert "ERR_NAME_NOT_RESOLVED" not in done.stderr
    return done.stdout


def check_search(site: Path, place: Path) -> None:
    text = shown(site / "search.html", place, "?q=supernet")
    assert "supernet.html" in text
    assert "commands/search.html" in text


# least contrast of text and its background, as WCAG 2 defines it, over elements of the page
CONTRAST = """
<script>addEventListener("load", () => {
  document.body.dataset.theme = "THEME";
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(x => x / 255)
      .map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = element => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const ratio = element => {
    const a = light(getComputedStyle(element).color), b = light(ground(element));
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const ratios = [...document.querySelectorAll("article h1, article p, article td, article pre")]
    .map(ratio);
  document.body.dataset.contrast = Math.min(...ratios);
});</script>
"""


def check_themes(site: Path, place: Path) -> None:
    """Text is readable in the light and in the dark theme."""
    for theme in ("light", "dark"):
        page = site / f"quickstart-{theme}.html"
        source = (site / "quickstart.html").read_text()
        page.write_text(source.replace("</body>", CONTRAST.replace("THEME", theme) + "</body>"))
        found = re.search(r'data-contrast="([\d.]+)"', shown(page, place))
        page.unlink()
        assert found, theme
        assert float(found[1]) >= 4.5, f"{theme}: {found[1]}"


def check_offline(site: Path) -> None:
    loaded = re.compile(r"""(?:src=|<link[^>]+href=)["']?(?:https?:)?//[^"' >]+""")
    for page in site.rglob("*.html"):
        assert not loaded.findall(page.read_text()), page
    for style in site.rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text()), style


def test_the_picture_of_the_chain_is_that_of_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    import chain_figure

    assert chain_figure.FILE.read_text() == chain_figure.picture()


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
