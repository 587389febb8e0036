"""Environments of the optimisers of other packages in `experiments.compare_strategies`.

Each peer has an environment made by venv and pip from the pinned versions in `experiments/peers`,
because the peers need versions of common packages that conflict with each other and with those of
this project.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from vbs.console import print_err
from vbs.paths import cache_folder
from vbs.text import one_of, shortened

FOLDER = Path(__file__).parents[1] / "peers"
COMMAND = "python -m experiments.compare_strategies"
CONSTRAINT = "outcome constraint"
PENALTY = "lowest reward so far"


class PeerEntry(NamedTuple):
    """A peer.

    method        of the package that takes part in the comparison.
    package       name of the package.
    requirements  file of pinned versions; None: it runs in this environment.
    limit         form in which a network that exceeds the limits is reported to it.
    """

    method: str
    package: str
    requirements: str | None
    limit: str


PEERS: dict[str, PeerEntry] = {
    "smac": PeerEntry("random forest, expected improvement", "smac", "smac.txt", PENALTY),
    "hebo": PeerEntry("HEBO", "hebo", "hebo.txt", PENALTY),
    "ax": PeerEntry("BoTorch's qLogNEI by Ax's default", "ax-platform", "ax.txt", CONSTRAINT),
    "neps": PeerEntry(
        "Bayesian optimization, qLogNEI", "neural-pipeline-search", "neps.txt", PENALTY
    ),
    "syne-tune": PeerEntry("conformal quantile regression", "syne-tune", "syne-tune.txt", PENALTY),
}
FRONT_PEERS: dict[str, PeerEntry] = {
    "ax-qnehvi": PeerEntry(
        "BoTorch's qLogNEHVI by Ax's default", "ax-platform", "ax.txt", CONSTRAINT
    ),
    "optuna-nsga2": PeerEntry("NSGA-II", "optuna", None, CONSTRAINT),
    "optuna-motpe": PeerEntry("multi-objective TPE", "optuna", None, CONSTRAINT),
}


def entry_of(peer: str) -> PeerEntry:
    """Return the entry of that name; the ValueError of an unknown name suggests the nearest."""
    every = PEERS | FRONT_PEERS
    return every[one_of("peer", peer, every)]


def described() -> dict[str, dict[str, str]]:
    """Return method, version and treatment of the limits of every peer, as plain data."""
    return {
        name: {"method": entry.method, "version": version_of(entry), "limit": entry.limit}
        for name, entry in (PEERS | FRONT_PEERS).items()
    }


def version_of(entry: PeerEntry) -> str:
    """Return the version of a peer's package, as pinned or as installed here."""
    if entry.requirements is None:
        return importlib.metadata.version(entry.package)
    pinned = [line.split("==") for line in (FOLDER / entry.requirements).read_text().split()]
    return dict(pinned)[entry.package]


def python_of(peer: str) -> Path:
    """Return the interpreter of a peer; raises ValueError, with the remedy, if it is missing."""
    requirements = entry_of(peer).requirements
    if requirements is None:
        return Path(sys.executable)
    folder = _environment(requirements)
    if not (folder / "ready").is_file():
        raise ValueError(
            f"peer {peer}: its environment {shortened(str(folder))} is missing; create it with: "
            f"{COMMAND} --peers {peer} --install"
        )
    return folder / "bin" / "python"


def install(peer: str) -> None:
    """Create a peer's environment if it is missing; raises ValueError if pip fails.

    It is complete only after all packages are installed; an interrupted installation is repeated.
    """
    requirements = entry_of(peer).requirements
    if requirements is None or (_environment(requirements) / "ready").is_file():
        return
    folder = _environment(requirements)
    print_err(f"installing {requirements} into {folder}")
    python = str(folder / "bin" / "python")
    steps = (
        [sys.executable, "-m", "venv", str(folder)],
        [python, "-m", "pip", "install", "--quiet", "-r", str(FOLDER / requirements)],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            errors = [line for line in lines if line.startswith("ERROR")] or lines
            raise ValueError(f"peer {peer}: pip failed ({shortened(errors[-1], 300)})")
    (folder / "ready").write_text((FOLDER / requirements).read_text())


def _environment(requirements: str) -> Path:
    """Return the folder of an environment, in $VBS_PEERS or the cache."""
    return Path(os.environ.get("VBS_PEERS") or cache_folder() / "peers") / Path(requirements).stem
