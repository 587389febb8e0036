"""Fixtures: a study in a file for tests of records, and a finished comparison."""

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


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a comparison of two strategies with two seeds each."""
    from tests.nas.compared import compare_two

    out = tmp_path_factory.mktemp("comparison") / "out"
    compare_two(out)
    return out
