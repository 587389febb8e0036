"""What every experiment's result file says about where it was made."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from vbs.processes import available_cpus

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "optuna", "torch", "timm", "scikit-learn", "lightgbm")


def settings_of_machine() -> dict[str, object]:
    """Versions, processor and cores, as plain data."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"machine": processor(), "cpus": available_cpus(), "versions": versions}


def one_line_errors(main: Callable[[], None]) -> int:
    """Run the body of a command; 0, or 2 with one line on stderr for a user's mistake."""
    try:
        main()
    except (ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        return 2
    return 0


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
