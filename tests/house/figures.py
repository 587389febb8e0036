"""Counts about the source: `python -m tests.house.figures [--verbose] [CHECKOUT]` prints them.

--verbose   also print the places of each count.
CHECKOUT    folder of another checkout to measure; this one by default.
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.house.tree import CHAIN, ROOT, Tree, import_statements, parsed

MOST_PARAMETERS = 6


@dataclass(frozen=True)
class Figure:
    """A count, and the places that it counts, as lines."""

    name: str
    count: int
    places: list[str]


def figures(tree: Tree) -> list[Figure]:
    """Return the counts of a checkout, in the order in which they are printed."""
    light, heavy = [], []
    for place, reached in _imports_in_functions(tree):
        (heavy if reached else light).append(f"{place} ({', '.join(sorted(reached))})")
    readme = (tree.root / "README.md").read_text().splitlines()
    sizes = _lines(tree)
    return [
        _listed("import circles", _circles(tree)),
        _listed("import circles, for type checkers too", _circles(Tree(tree.root, types=True))),
        _listed("imported modules that also run as __main__", list(_imported_scripts(tree))),
        _listed("settings[...] reads outside vbs", list(_settings_reads(tree))),
        _listed("files with argparse", list(_argparse_files(tree))),
        _listed("project imports in functions, heavy", heavy),
        _listed(
            "project imports in functions, not heavy", [one.removesuffix(" ()") for one in light]
        ),
        _listed("# fmt: skip, without tests", list(_skips(tree, CHAIN))),
        _listed("# fmt: skip, in tests", list(_skips(tree, ("tests",)))),
        _listed(f"functions over {MOST_PARAMETERS} parameters", list(_long_signatures(tree))),
        Figure("README lines", len(readme), []),
        Figure(
            "source lines without tests and docs",
            sum(sizes.values()),
            [f"{package}: {lines}" for package, lines in sizes.items()],
        ),
    ]


def _listed(name: str, places: list[str]) -> Figure:
    return Figure(name, len(places), places)


def _circles(tree: Tree) -> list[str]:
    return [" <-> ".join(circle) for circle in tree.circles()]


def _imported_scripts(tree: Tree) -> Iterator[str]:
    imported = set().union(*tree.edges.values())
    for module, file, source in _places(tree):
        tests = [ast.unparse(node.test) for node in source.body if isinstance(node, ast.If)]
        if module in imported and "__name__ == '__main__'" in tests:
            yield file


def _places(tree: Tree) -> Iterator[tuple[str, str, ast.Module]]:
    """Yield module, file and syntax tree."""
    for module, path in tree.modules.items():
        yield module, str(path.relative_to(tree.root)), parsed(path)


def _settings_reads(tree: Tree) -> Iterator[str]:
    for module, file, source in _places(tree):
        if module.split(".")[0] == "vbs":
            continue
        for node in ast.walk(source):
            if not isinstance(node, ast.Subscript) or not isinstance(node.ctx, ast.Load):
                continue
            if ast.unparse(node.value).rpartition(".")[2] == "settings":
                yield f"{file}:{node.lineno}"


def _argparse_files(tree: Tree) -> Iterator[str]:
    """Yield files that import argparse, including imports for type checkers."""
    for _, file, source in _places(tree):
        for node in ast.walk(source):
            if isinstance(node, ast.Import) and any(one.name == "argparse" for one in node.names):
                yield file
                break


def _imports_in_functions(tree: Tree) -> Iterator[tuple[str, set[str]]]:
    """Yield statements with file and line, and the heavy packages that they import."""
    for module, file, source in _places(tree):
        by_line: dict[int, set[str]] = {}
        for each in tree.imports[module]:
            if each.in_function and each.module in tree.modules:
                by_line.setdefault(each.line, set()).update(tree.heavy(each.module))
        for node, in_function in import_statements(source):
            if in_function and node.lineno in by_line:
                yield f"{file}:{node.lineno} {ast.unparse(node)}", by_line[node.lineno]


def _skips(tree: Tree, folders: tuple[str, ...]) -> Iterator[str]:
    for folder in folders:
        for path in sorted((tree.root / folder).rglob("*.py")):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if line.rstrip().endswith("# fmt: skip"):
                    yield f"{path.relative_to(tree.root)}:{number}"


def _long_signatures(tree: Tree) -> Iterator[str]:
    """Yield functions with too many parameters; self and cls do not count."""
    for _, file, source in _places(tree):
        for node in ast.walk(source):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = node.args
                names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
                count = sum(one.arg not in ("self", "cls") for one in names)
                if count > MOST_PARAMETERS:
                    yield f"{file}:{node.lineno} {node.name} ({count})"


def _lines(tree: Tree) -> Counter[str]:
    found: Counter[str] = Counter()
    for module, path in tree.modules.items():
        found[module.split(".")[0]] += len(path.read_text().splitlines())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.house.figures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkout", type=Path, nargs="?", default=ROOT, help="this one by default")
    parser.add_argument("--verbose", action="store_true", help="print the places")
    args = parser.parse_args()
    for figure in figures(Tree(args.checkout.resolve())):
        print(f"{figure.count:7,}  {figure.name}")
        if args.verbose:
            print(*(f"           {place}" for place in figure.places), sep="\n")


if __name__ == "__main__":
    main()
