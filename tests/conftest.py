"""Fixtures and environment of all tests."""

from __future__ import annotations

import os
from pathlib import Path

# two test processes share two cores, so more threads would slow each other down
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# processes started by tests also import `tests`, which is not installed
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, (str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")))
)

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of shared measurements and images; skip the test if it is missing."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SHARED_DATA", beside))
    if not folder.is_dir():
        if os.environ.get("CI") and beside.parent.is_dir():
            pytest.fail(f"CI must have the shared data, but {folder} is missing")
        pytest.skip(f"needs the data sets of {folder} (SHARED_DATA names another place)")
    return folder
