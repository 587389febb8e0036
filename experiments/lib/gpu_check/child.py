"""The process of one step of `experiments.gpu_check`.

    python -m experiments.lib.gpu_check.child PACKAGE.MODULE:FUNCTION FILE CONDITIONS

FILE gets {"complete": whether the step has ended, "finding": its finding}; CONDITIONS is JSON.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.lib.gpu_check.child")

import importlib
import json
import sys
from pathlib import Path

from experiments.lib.gpu_check.step import Conditions, Finding
from vbs.folder import write_json


def main() -> None:
    """Run the step, and write its finding; intermediate findings are written at once."""
    place, out, conditions = sys.argv[1:]
    module, _, function = place.partition(":")

    def write(finding: Finding, *, complete: bool = False) -> None:
        write_json(Path(out), {"complete": complete, "finding": finding})

    check = getattr(importlib.import_module(module), function)
    write(check(Conditions(**json.loads(conditions)), write), complete=True)
