"""The notebooks of docs/notebooks: their form, and all of their cells on small data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.nas.parents import toys
from tests.pages import ROOT

FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
BY_NOTEBOOK = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
GITHUB = "github/vision-baseline-search/vision-baseline-search/blob/main/docs/notebooks"
# the cell "parameters" of each notebook, for small data
SMALL = {
    "your_images": """
DATA, TARGET_FLOPS, BUDGET, FIDELITY, EPOCHS = "imagefolder:photos", "4M", 2, "epochs=1", 1
CHANGES = ("batch=16",)
""",
    "shrink_pretrained": """
PARENT, DATA, TARGETS, BUDGET = "parent.safetensors", "imagefolder:photos", "600K", 4
CHANGES = ("epochs=2", "warmup_epochs=0", "batch=16", "minival=0.2")
MORE = {"device": "cpu", "workers": 1}
""",
    "compare_strategies": """
TARGET_FLOPS, BUDGET, SEEDS, STRATEGIES = "400M", 40, 2, ("random", "evolution")
""",
    "grow_family": """
TARGET_FLOPS, BUDGET, MEMBERS = "400M", 2_000, "0..1"
""",
}


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def code(path: Path) -> list[dict]:
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def settings(path: Path) -> dict:
    (cell,) = [cell for cell in code(path) if "parameters" in cell["metadata"].get("tags", ())]
    return cell


def test_all_have_small_data_and_a_place_on_the_page() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(SMALL)
    page = (ROOT / "docs" / "notebooks.md").read_text()
    assert all(f"](notebooks/{path.name})" in page for path in NOTEBOOKS)


@BY_NOTEBOOK
def test_the_form_is_that_of_nbformat(path: Path) -> None:
    content = read(path)
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    identifiers = [cell["id"] for cell in content["cells"]]
    assert len(set(identifiers)) == len(identifiers)
    for cell in code(path):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        compile(source(cell), path.name, "exec")


@BY_NOTEBOOK
def test_it_opens_in_colab_and_installs_the_project_there(path: Path) -> None:
    first = source(read(path)["cells"][0])
    assert first.startswith("[![Open in Colab](https://colab.research.google.com/assets/")
    assert f"https://colab.research.google.com/{GITHUB}/{path.name}" in first
    install = source(code(path)[0])
    assert install.index('find_spec("nas") is None') < install.index("pip")


@BY_NOTEBOOK
def test_small_data_set_the_same_names(path: Path) -> None:
    def assigned(text: str) -> set[str]:
        names: dict[str, object] = {}
        exec(text.split("\nif ")[0], names)
        return {name for name in names if name.isupper()}

    assert assigned(source(settings(path))) == assigned(SMALL[path.stem])


@pytest.mark.slow
@BY_NOTEBOOK
def test_all_cells_run(path: Path, tmp_path: Path) -> None:
    if "photos" in SMALL[path.stem]:
        toys.image_folder(tmp_path / "photos")
    if "parent.safetensors" in SMALL[path.stem]:
        from train.data import load

        data = load(f"imagefolder:{tmp_path / 'photos'}", minival=0.2)
        toys.trained_parent(tmp_path / "parent.safetensors", data)
    content, parameters = read(path), settings(path)
    for cell in content["cells"]:
        if cell == parameters:
            cell["source"] = SMALL[path.stem].strip().splitlines(keepends=True)
    notebook = nbformat.reads(json.dumps(content), as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )
    cache = str(tmp_path / "cache")
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": cache})
