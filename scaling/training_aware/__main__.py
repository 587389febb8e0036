"""Entry point of `python -m scaling.training_aware`."""

from vbs.command import run_program

if __name__ == "__main__":
    run_program("scaling.training_aware")
