"""The modules of the project and their imports, read from the source without importing anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# each package imports only itself and what stands left of it
CHAIN = ("vbs", "search_spaces", "train", "nas", "scaling", "experiments")
# third-party packages that take long to import, with milliseconds of processor time measured here;
# rich, PIL and yaml, with 9 to 28, are not among them
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

    module       full name of the module; of a name of a lazy package the module that defines it.
    line         of the statement.
    in_function  whether the statement runs when a function is called.
    """

    module: str
    line: int
    in_function: bool


class Tree:
    """The modules of a checkout by name, and what they import.

    root   folder of the checkout.
    types  whether imports under TYPE_CHECKING count, which never run. Imports inside functions
           always do.
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
        """Of each module, the imports of modules of the project and of others."""
        return {name: list(self._imports(path)) for name, path in self.modules.items()}

    @cached_property
    def edges(self) -> dict[str, set[str]]:
        """Of each module, the modules of the project that it imports."""
        return {
            name: {each.module for each in imports if each.module in self.modules}
            for name, imports in self.imports.items()
        }

    def circles(self) -> list[list[str]]:
        """Sorted groups of modules that import each other, directly or by way of others."""
        reached = {name: _reached(self.edges, name) for name in self.edges}
        groups = {
            tuple(sorted(other for other in reached[name] if name in reached[other]))
            for name in self.edges
            if name in reached[name]
        }
        return sorted(list(group) for group in groups if len(group) > 1)

    def heavy(self, name: str) -> set[str]:
        """The heavy third-party packages that are imported when a module is."""
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
                # any name of a lazy package may be used afterwards
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
    """Import statements, and whether they are inside a function; types as in `Tree`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, in_function
        elif types or not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            inside = in_function or isinstance(node, FUNCTIONS)
            yield from import_statements(node, inside, types=types)


def lazy_names(tree: ast.Module) -> dict[str, str]:
    """Name -> module of a package file that calls `vbs.lazy.lazy_names`; {} for others."""
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign) else None
        if isinstance(value, ast.Call) and ast.unparse(value.func) == "lazy_names":
            names: dict[str, str] = ast.literal_eval(value.args[1])
            return names
    return {}


def _reached(edges: dict[str, set[str]], start: str) -> set[str]:
    """What is reached from a module by one step or more."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = edges.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found
