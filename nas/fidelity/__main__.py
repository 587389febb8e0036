"""See `nas.fidelity.command`."""

from __future__ import annotations

from vbs.command import run_program

if __name__ == "__main__":
    run_program("nas.fidelity", "nas.fidelity.command")
