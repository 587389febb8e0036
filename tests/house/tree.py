"""Modules of the project and their imports, read from the source without importing them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# each package imports only itself and packages to its left
CHAIN = ("vbs", "search_spaces", "train", "nas", "scaling", "experiments")
# third-party packages that take long to import, with their milliseconds of processor time;
# rich, PIL and yaml take 9 to 28 and are not included
HEAVY = (
    "torch",  # 1018
    "ray",  # 229
    "optuna",  # 134
    "pandas",  # 264
    "matplotlib",  # 150
    "torchvision",  # 2028
    "timm",  # 2245
    "pyarrow",  # 79
    "fvcore",  # imports torch where it is used
    "sqlalchemy",  # 115
    "scipy",  # 91, and 514 with scipy.stats
    "onnx",  # 121
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True)
class Import:
    """An import of a module of the project, or of a third-party module.

    module       full name of the module; for a name of a lazy package the module that defines it.
    line         line of the statement.
    in_function  whether the statement runs when a function is called.
    """

    module: str
    line: int
    in_function: bool


class Tree:
    """The modules of a checkout by name, and their imports.

    root   folder of the checkout.
    types  whether imports under TYPE_CHECKING count, which never run. Imports inside functions
           always count.
    """

    def __init__(self, root: Path = ROOT, *, types: bool = False) -> None:
        self.root = root
        self.types = types
        self.modules: dict[str, Path] = {}
        for package in CHAIN:
            for path in sorted((root / package).rglob("*.py")):
                name = ".".join(path.relative_to(root).with_suffix("").parts)
                self.modules[name.removesuffix(".__init__")] = path
        self.lazy = {
            name: lazy_names(parsed(path))
            for name, path in self.modules.items()
            if path.name == "__init__.py"
        }

    @cached_property
    def imports(self) -> dict[str, list[Import]]:
        """Imports of each module, of project modules and others."""
        return {name: list(self._imports(path)) for name, path in self.modules.items()}

    @cached_property
    def edges(self) -> dict[str, set[str]]:
        """Project modules that each module imports."""
        return {
            name: {each.module for each in imports if each.module in self.modules}
            for name, imports in self.imports.items()
        }

    def circles(self) -> list[list[str]]:
        """Return sorted groups of modules that import each other, directly or indirectly."""
        reached = {name: _reached(self.edges, name) for name in self.edges}
        groups = {
            tuple(sorted(other for other in reached[name] if name in reached[other]))
            for name in self.edges
            if name in reached[name]
        }
        return sorted(list(group) for group in groups if len(group) > 1)

    def heavy(self, name: str) -> set[str]:
        """Return the heavy third-party packages that importing a module imports."""
        at_once = {
            module: {each.module for each in imports if not each.in_function}
            for module, imports in self.imports.items()
        }
        found = {module.split(".")[0] for module in _reached(at_once, name)}
        return found & set(HEAVY)

    def _imports(self, path: Path) -> Iterator[Import]:
        for node, in_function in import_statements(parsed(path), types=self.types):
            for module in self._modules_of(node):
                yield Import(module, node.lineno, in_function)

    def _modules_of(self, node: ast.Import | ast.ImportFrom) -> set[str]:
        found = set()
        for alias in node.names:
            if isinstance(node, ast.Import):
                # the code may use any name of a lazy package afterwards
                found |= {alias.name, *self.lazy.get(alias.name, {}).values()}
            elif f"{node.module}.{alias.name}" in self.modules:
                module = f"{node.module}.{alias.name}"
                found |= {module, *self.lazy.get(module, {}).values()}
            else:
                module = node.module or ""
                found.add(self.lazy.get(module, {}).get(alias.name, module))
        return found


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def import_statements(
    tree: ast.AST, in_function: bool = False, *, types: bool = False
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Yield import statements, and whether they are inside a function; types as in `Tree`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, in_function
        elif types or not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            inside = in_function or isinstance(node, FUNCTIONS)
            yield from import_statements(node, inside, types=types)


def lazy_names(tree: ast.Module) -> dict[str, str]:
    """Return {name: module} of a package file that calls `vbs.lazy.lazy_names`; {} for others."""
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign) else None
        if isinstance(value, ast.Call) and ast.unparse(value.func) == "lazy_names":
            names: dict[str, str] = ast.literal_eval(value.args[1])
            return names
    return {}


def _reached(edges: dict[str, set[str]], start: str) -> set[str]:
    """Return the modules that are reached from a module in one or more steps."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = edges.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found
