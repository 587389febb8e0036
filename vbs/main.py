"""The `vbs` script: one program for all commands; `vbs search` is `python -m nas.search`.

The help is printed immediately, because it imports no command.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from vbs.command import run_program
from vbs.console import print_err, print_out
from vbs.programs import COMMANDS
from vbs.text import one_of
from vbs.version import VERSION


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command that the first one or two words name, and exit with its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = words[0] if words else "--help"
    if name in ("-h", "--help", "help"):
        print_out(*help_text().splitlines())
        sys.exit(0)
    if name == "--version":
        print_out(VERSION)
        sys.exit(0)
    second = words[1] if len(words) > 1 and not words[1].startswith("-") else ""
    if second and any(each.startswith(f"{name} ") for each in COMMANDS):
        name = f"{name} {second}"  # command of two words
    try:
        one_of("command", name, COMMANDS)
    except ValueError as error:
        print_err(f"vbs: {error}")
        sys.exit(2)
    rest = words[len(name.split()) :]
    run_program(COMMANDS[name].program, argv=rest, called=f"vbs {name}")


def help_text() -> str:
    """Return the list of all commands with one line each."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{entry.help}" for name, entry in COMMANDS.items()]
    return "\n".join(
        (
            "usage: vbs COMMAND [options]",
            "",
            "Find, grow and train vision baselines.",
            "",
            "commands:",
            *lines,
            "",
            "`vbs COMMAND --help` lists the options of a command; `python -m MODULE` is the same",
            "command, e.g. `python -m nas.search` for `vbs search`.",
        )
    )
