"""See `nas.block_times.command`."""

from __future__ import annotations

from vbs.command import run_program

if __name__ == "__main__":
    run_program("nas.block_times", "nas.block_times.command", "main")
