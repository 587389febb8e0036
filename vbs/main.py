"""The `vbs` script: one name for all commands, `vbs search` for `python -m nas.search`.

Its help imports nothing of the commands: it has to be there at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from vbs.command import run_program
from vbs.console import print_err, print_out
from vbs.text import one_of
from vbs.version import VERSION


class Entry(NamedTuple):
    """A command: the module that is run, and what it does, in a line."""

    program: str
    help: str


COMMANDS: dict[str, Entry] = {
    "search": Entry("nas.search", "find the best network within a target of FLOPs or time"),
    "show": Entry("search_spaces.show", "print the stages and the cost of a network"),
    "fidelity": Entry("nas.fidelity", "find how short trainings may be that compare networks"),
    "device": Entry("nas.block_times", "measure the blocks of a space on this machine"),
    "grid": Entry("scaling.grid", "find alpha, beta and gamma of a baseline"),
    "family": Entry("scaling.family", "grow a baseline to a family of networks"),
    "training-aware": Entry("scaling.training_aware", "search as EfficientNetV2 did, and grow"),
    "baseline": Entry("scaling.baseline", "from images and a budget to a trained family"),
    "train": Entry("train.run", "train one network"),
    "train-many": Entry("train.ray_tune", "train many networks on a cluster"),
    "noisy-student": Entry("train.noisy_student", "train with images that have no labels"),
    "export": Entry("train.export", "export a trained network to ONNX or TorchScript"),
    "doctor": Entry("vbs.doctor", "print versions, devices and what is missing"),
}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command that the first word names, with the others; exit with its code."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = words[0] if words else "--help"
    if name in ("-h", "--help", "help"):
        print_out(*help_text().splitlines())
        sys.exit(0)
    if name == "--version":
        print_out(VERSION)
        sys.exit(0)
    try:
        one_of("command", name, COMMANDS)
    except ValueError as error:
        print_err(f"vbs: {error}")
        sys.exit(2)
    run_program(COMMANDS[name].program, argv=words[1:], called=f"vbs {name}")


def help_text() -> str:
    """All commands with a line each."""
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
