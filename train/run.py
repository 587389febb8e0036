"""`python -m train.run NETWORK --data DATA`: train one network by a published recipe."""

from __future__ import annotations

from vbs.command import run_program

if __name__ == "__main__":
    run_program("train.run", "train.command")
