"""Public names of packages are imported on first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import train.data
from train.data.loading import load


def test_names_are_those_of_their_modules() -> None:
    assert train.data.load is load
    assert {"load", "Split", "loading"} <= set(dir(train.data))
    with pytest.raises(AttributeError, match=r"module 'train.data' has no attribute 'lod'"):
        _ = train.data.lod


@pytest.mark.parametrize(
    "package", ["train.data", "train.run.config", "nas", "scaling", "scaling.baseline"]
)
def test_a_package_imports_nothing_heavy(package: str) -> None:
    script = f"import sys, {package}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0
