"""Fixtures: a study in a file for tests of records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.storage.study import Study
from tests.nas.studies import opened


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the address of a database that does not exist yet."""
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def study(url: str) -> Iterator[Study]:
    """Yield a new study."""
    with opened(url) as study:
        yield study
