"""Print the examination of an installation."""

from __future__ import annotations

from vbs.console import print_out
from vbs.doctor.run import Examination


def show_result(found: Examination) -> None:
    """Print all facts, then the warnings and what is missing, as text to paste into an issue."""
    lines: list[str] = []
    for section, facts in found.facts.items():
        lines += [f"{section}:", *(f"  {fact}" for fact in facts)]
    if found.warnings:
        lines += ["warnings:", *(f"  {line}" for line in found.warnings)]
    lines += ["missing:", *(f"  {line}" for line in found.missing or ["nothing"])]
    print_out("```", *lines, "```")
