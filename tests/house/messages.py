"""All error messages and warnings of the packages in one table, to be read as a whole.

    python -m tests.house.messages

Each line has a place in the source and the message, with values as {expression}.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.house.tree import ROOT, Tree

ERRORS = ("Error", "Failure", "Failures", "Interrupted", "Lost", "Over", "Broken", "Checkpoint")


class Message(NamedTuple):
    """A message, with values as {expression}, and the place where it is raised or printed."""

    path: str
    line: int
    text: str


def messages(tree: Tree) -> list[Message]:
    """Return the messages of all modules, in the order of paths and lines."""
    return [each for path in sorted(tree.modules.values()) for each in of_module(path, tree.root)]


def of_module(path: Path, root: Path = ROOT) -> Iterator[Message]:
    """Yield the messages of raise statements and of warnings."""
    place = str(path.relative_to(root))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = ast.unparse(node.exc.func)
            if name.endswith(ERRORS):
                yield from _message(place, node.exc)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "warn":
            yield from _message(place, node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "print_err":
            for message in _message(place, node):
                if message.text.startswith("warning"):
                    yield message


def _message(place: str, call: ast.Call) -> Iterator[Message]:
    parts = [shown for each in call.args if (shown := template(each))]
    if any(re.search(r"[a-z]{2} ", part) for part in parts):
        yield Message(place, call.lineno, ": ".join(parts))


def template(node: ast.expr) -> str:
    """Return the text of a string expression with its values as {expression}; "" for others."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            template(part) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return ""


def main() -> None:
    """Print the table."""
    for message in messages(Tree()):
        print(f"{message.path}:{message.line}  {message.text}")


if __name__ == "__main__":
    main()
