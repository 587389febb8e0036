"""The README: its length, its first screen, its numbers. tests/test_docs.py runs its examples."""

from __future__ import annotations

import json
import re

from experiments.lib import readme_summary
from tests.pages import README, ROOT, links

TEXT = README.read_text()
RESULTS = ROOT / "experiments" / "results"


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= 150


def test_the_two_commands_stand_on_the_first_screen() -> None:
    first = "\n".join(TEXT.splitlines()[:25])
    assert "\nmake search\n" in first
    assert "\nmake test\n" in first
    assert "python -m nas.search --target-flops 400M" in first
    assert "](experiments/results/search_front.png)" in first


def test_the_picture_says_in_words_what_it_shows() -> None:
    """The package index shows only the text, because relative image links do not work there."""
    words = re.search(r"!\[([^]]+)\]", TEXT)
    points = json.loads((RESULTS / "search_front.json").read_text())["points"]
    b0 = points["EfficientNet-B0"]
    fewer = 1 - points["same accuracy"]["flops"] / b0["flops"]
    more = points["same FLOPs"]["accuracy"] - b0["accuracy"]
    assert words
    assert f"{100 * fewer:.0f}% fewer FLOPs" in words[1]
    assert f"{more:.1f} points more accurate" in words[1]
    for name in ("same accuracy", "same FLOPs"):
        assert f"{points[name]['flops']:,}" in TEXT


def test_the_table_is_that_of_the_results() -> None:
    assert readme_summary.markdown() in TEXT


def test_every_page_is_linked() -> None:
    linked = {link.partition("#")[0] for link in links(README)}
    # pages of the site alone
    inside = {"docs/index.md", "docs/experiments.md", "docs/contributing.md", "docs/changelog.md"}
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} - inside <= linked
