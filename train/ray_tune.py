"""`python -m train.ray_tune --architectures FILE... --data DATA`: train many networks at once."""

from __future__ import annotations

from vbs.command import run_program

if __name__ == "__main__":
    run_program("train.ray_tune", "train.ray_command")
