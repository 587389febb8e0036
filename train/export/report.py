"""The report of an export: where it is, how exact it is, and a command that uses it."""

from __future__ import annotations

import json
import sys

from train.checkpoint import read_weights
from train.export.formats import FORMATS, image_shape
from train.export.result import ExportResult
from vbs.console import print_out
from vbs.text import next_steps, shell_command, shell_word


def show_result(result: ExportResult) -> None:
    """Print the result on stdout."""
    compared = result.compared
    print_out(
        f"{result.config.to}: {shell_word(result.path)}",
        f"loaded back and compared on {compared.images}, batches of 1 and 3: largest difference "
        f"{compared.difference:.2g} on logits up to {compared.scale:.2g}",
        *next_steps([_next_command(result)]),
    )


def _next_command(result: ExportResult) -> str:
    """A command line that uses the export."""
    assert result.config.to is not None
    if result.config.to == "timm":
        return shell_command([sys.executable, str(result.path / "load.py")])
    program = FORMATS[result.config.to].use.format(
        path=json.dumps(str(result.path)), shape=image_shape(read_weights(result.source), 1)
    )
    return shell_command([sys.executable, "-c", program])
