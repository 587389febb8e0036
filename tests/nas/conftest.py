"""A study in a file of its own, for every test of records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.storage.study import Study
from tests.nas.studies import opened


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The address of a database that is not there yet."""
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def study(url: str) -> Iterator[Study]:
    """A new study."""
    with opened(url) as study:
        yield study
