"""docs/files.md: every file of a run and every column of a table, as the code writes them."""

from __future__ import annotations

import re

import pytest

from nas.compare.config import FIGURE as FIGURE_OF_COMPARISON
from nas.compare.config import RECORD
from nas.compare.config import TABLE as TABLE_OF_COMPARISON
from nas.compare.record import COLUMNS as COMPARED
from nas.history_file import MEANING
from nas.parents.report import FIGURE, TABLE
from nas.search import record as search_record
from search_spaces.cost import MEASURED
from tests.pages import ROOT
from train import record as train_record
from train.logs import COLUMNS as CURVES
from train.ray_tune.report import COLUMNS as TRIALS
from vbs.options import load
from vbs.programs import COMMANDS

PAGE = (ROOT / "docs" / "files.md").read_text()


def section(title: str) -> str:
    """Return the part of the page below a heading of the second level."""
    return re.split(r"^## ", PAGE.split(f"\n## {title}\n")[1], flags=re.M)[0]


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("nas.search", [*search_record.FILES, *MEANING, *MEASURED, TABLE, FIGURE]),
        ("nas.compare", [RECORD, TABLE_OF_COMPARISON, FIGURE_OF_COMPARISON, *COMPARED]),
        ("train.run", [*train_record.FILES, *CURVES]),
        ("train.ray_tune", TRIALS),
    ],
)
def test_every_name_is_explained(title: str, names: list[str]) -> None:
    explained = set(re.findall(r"`([^`]+)`", section(title)))
    assert set(names) <= explained, set(names) - explained


def test_every_record_is_listed() -> None:
    for entry in COMMANDS.values():
        command = load(f"{entry.program}.config:COMMAND")
        if command.record:
            assert command.record in PAGE, command.record
