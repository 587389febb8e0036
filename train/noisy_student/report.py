"""Printed report of a self-training: a table of teacher and students, and the next commands."""

from __future__ import annotations

from train.noisy_student.config import COMMAND, RECORD
from train.noisy_student.result import NoisyStudentResult
from train.scored import ERROR_NOTE, with_error
from vbs.command import module_command, resume_command
from vbs.console import print_err, print_results
from vbs.tables import Console, Table


def show_result(result: NoisyStudentResult) -> None:
    """Print the table and the next commands on stdout, or why it ended early on stderr."""
    if result.status != "finished":
        how = resume_command(COMMAND.program, result.folder)
        print_err(f"train.noisy_student: {result.reason}; resume by: {how}")
        return
    console = Console()
    table = Table(box=None, pad_edge=False)
    for name in ("", "minival top-1", "test top-1", "kept per class", "agreement"):
        table.add_column(name, justify="right" if name else "left")
    for row in result.networks:
        kept, agreement = row.get("kept"), row.get("agreement")
        table.add_row(
            row["name"],
            *(with_error(row[name], row["images"][name]) for name in ("minival", "test")),
            f"{min(kept):,} to {max(kept):,}" if kept else "",
            "" if agreement is None else f"{agreement:.2f}%",
        )
    console.print(table)
    console.print(ERROR_NOTE)
    console.print("agreement: unlabelled images that student and teacher put in the same class")
    config, last = result.config, result.networks[-1]["run"]
    students = [f"round-{number}/student/" for number in range(1, len(result.networks))]
    again = ["--teacher", last, "--student", config.network, "--unlabelled", config.unlabelled]
    commands = (["train.export", last, "--to", "timm"], ["train.noisy_student", *again])
    print_results(
        result.folder,
        [RECORD, *students],
        [module_command(words) for words in commands],
    )
