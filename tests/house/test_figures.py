"""Counts about the source follow their definitions."""

from __future__ import annotations

from pathlib import Path

from tests.house.figures import figures
from tests.house.tree import Tree

SOURCE = """\
import argparse

def many(self, a, b, c, *, d, e, f): ...
def more(a, b, c, *, d, e, f, g):
    from vbs import light
    from vbs import heavy, light
    x = [1,2]  # fmt: skip
    settings["a"] = run.settings["b"] + settings["c"]
"""


def test_figures_of_a_small_checkout(tmp_path: Path) -> None:
    files = {
        "train/a.py": SOURCE,
        "vbs/light.py": "settings['a']\nif __name__ == '__main__':\n    f()\n",
        "vbs/heavy.py": "import ray\nif TYPE_CHECKING:\n    import train.a\n",
        "README.md": "One\nTwo\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    counts = {figure.name: figure.count for figure in figures(Tree(tmp_path))}
    assert list(counts.values()) == [0, 1, 1, 2, 1, 1, 1, 1, 0, 1, 2, 14]
