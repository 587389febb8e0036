"""Fixtures: a run, its exports, and photographs of all kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.images import odd_images, write_images
from tests.train.predict.helpers import ONNX
from tests.train.test_export import a_run, exported


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Return the folder of a run."""
    return a_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def exports(run) -> dict[str, Path]:
    """Return a run and its exports, by kind."""
    kinds = ["timm", "safetensors", *(["onnx"] if ONNX else [])]
    paths = {kind: exported(run, kind).path for kind in kinds}
    return {"run": run, "weights": run / "best.safetensors", **paths}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """Return a folder with images of all kinds."""
    folder = tmp_path_factory.mktemp("photographs")
    write_images(folder, odd_images())
    return folder
