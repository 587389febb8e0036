"""Structure of the source: no import cycles, lazy package files, sizes, shared helpers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.tree import CHAIN, ROOT, Tree, lazy_names

TREE = Tree()
FILES = sorted(TREE.modules.values())
BY_NAME = pytest.mark.parametrize(
    "path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES]
)


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their package"
            yield node.module or ""


def test_no_modules_import_each_other() -> None:
    circles = [" <-> ".join(circle) for circle in TREE.circles()]
    assert not circles, "move what both need into the lower module: " + "; ".join(circles)


def test_nobody_imports_a_main_module() -> None:
    importers = [
        f"{name}:{each.line} imports {each.module}"
        for name, imports in TREE.imports.items()
        for each in imports
        if each.module.endswith(".__main__")
    ]
    assert not importers


def checkout(folder: Path, **files: str) -> Tree:
    """Return a tree with modules of `train`, given by their source."""
    for name, text in {"__init__": "", **files}.items():
        path = folder / "train" / f"{name.replace('__of__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Tree(folder)


def test_circles_through_functions_and_lazy_names_are_found(tmp_path: Path) -> None:
    lazy = """__getattr__, __dir__ = lazy_names(__name__, {"b": "train.lazy.low"})"""
    tree = checkout(
        tmp_path,
        a="def f():\n    from train.lazy import b",
        lazy__of____init__=lazy,
        lazy__of__low="if True:\n    import train.c",
        c="import train.a",
        d="import train.a",
    )
    assert tree.circles() == [["train.a", "train.c", "train.lazy.low"]]


def test_imports_for_type_checkers_make_no_circle(tmp_path: Path) -> None:
    tree = checkout(
        tmp_path,
        a="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import train.b",
        b="import train.a",
    )
    assert tree.circles() == []


def test_heavy_packages_count_where_they_are_imported_at_once(tmp_path: Path) -> None:
    tree = checkout(
        tmp_path, a="import train.b", b="import torch.nn\ndef f():\n    import ray", c="import json"
    )
    assert tree.heavy("train.a") == {"torch"}
    assert tree.heavy("train.c") == set()


@BY_NAME
def test_imports_go_one_way(path: Path) -> None:
    own = CHAIN.index(path.relative_to(ROOT).parts[0])
    for module in imported(ast.parse(path.read_text())):
        package = module.split(".")[0]
        assert package != "tests"
        if package in CHAIN:
            assert CHAIN.index(package) <= own, f"{path} imports {module}"


@BY_NAME
def test_package_files_hold_a_docstring_and_lazy_names(path: Path) -> None:
    body = ast.parse(path.read_text()).body
    assert isinstance(body[0], ast.Expr), f"{path} has no docstring"
    if path.name == "__init__.py" and len(body) > 1:
        typing, lazy, block, names = body[1:]
        assert ast.unparse(typing) == "from typing import TYPE_CHECKING"
        assert ast.unparse(lazy) == "from vbs.lazy import lazy_names"
        assert isinstance(block, ast.If)
        assert ast.unparse(block.test) == "TYPE_CHECKING"
        assert isinstance(names, ast.Assign)
        assert ast.unparse(names.targets[0]) == "(__getattr__, __dir__)"
        assert isinstance(names.value, ast.Call)
        declared = {
            alias.name: node.module
            for node in block.body
            for alias in (node.names if isinstance(node, ast.ImportFrom) else ())
        }
        assert lazy_names(ast.parse(path.read_text())) == declared
        modules = {file.stem for file in path.parent.iterdir()}
        assert not modules & set(declared), "a module hides the name that it would be imported for"


@BY_NAME
def test_files_and_functions_stay_readable(path: Path) -> None:
    """Functions are counted in statements, because the formatter decides on lines."""
    tree = ast.parse(path.read_text())
    assert statements(tree) <= 285
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            count = statements(node) - 1
            assert count <= 31, f"{path.name}: {node.name} has {count} statements"


def statements(node: ast.AST) -> int:
    return sum(isinstance(each, ast.stmt) for each in ast.walk(node))


@BY_NAME
def test_processors_are_those_available(path: Path) -> None:
    """os.cpu_count() ignores the affinity and the quota of a container."""
    named = {"vbs/processes.py", "vbs/folder.py"}  # count processors, and describe the machine
    if str(path.relative_to(ROOT)) not in named:
        assert "cpu_count" not in path.read_text(), f"{path}: use vbs.processes.available_cpus"


@BY_NAME
def test_nothing_foreign_is_unpickled_or_evaluated(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in ("eval", "exec", "pickle.load", "pickle.loads"), f"{path}: {name}"
            if name in ("np.load", "numpy.load"):
                assert "allow_pickle=False" in ast.unparse(node)


@BY_NAME
def test_lines_tables_and_figures_are_made_in_one_place(path: Path) -> None:
    """`vbs.console`, `vbs.tables` and `vbs.figure` escape text and cannot end a command."""
    own = str(path.relative_to(ROOT))
    if own in ("vbs/console.py", "vbs/tables.py", "vbs/figure.py"):
        return
    if own == "nas/devices/kit/measure.py":  # this program runs without the project
        return
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name != "print", f"{own}:{node.lineno}: use print_out or print_err"
            assert not name.startswith(("sys.stdout.write", "sys.stderr.write")), f"{own}: {name}"
            assert not name.endswith(".savefig") or own == "vbs/page/parts.py"
        if isinstance(node, ast.ImportFrom) and own != "vbs/text.py":
            names = {alias.name for alias in node.names}
            assert node.module not in ("rich.console", "rich.table") or names == {"Group"}, own
    modules = set(imported(tree))
    assert not modules & {"matplotlib.figure", "matplotlib.pyplot"}, f"{own}: use vbs.figure"
    assert "shlex" not in modules or own == "vbs/text.py", f"{own}: use vbs.text.shell_word"


@pytest.mark.parametrize(
    "path", [each for each in FILES if 'run_experiment("' in each.read_text()], ids=lambda p: p.stem
)
def test_experiments_read_their_command_line(path: Path) -> None:
    """One that ignores it starts on --help, and overwrites its results."""
    text = path.read_text()
    reads = "parse_args(" in text or "sys.argv[1:]" in text
    assert reads, f"{path}: call experiment_arguments(__doc__).parse_args()"
