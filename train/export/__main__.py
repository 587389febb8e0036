"""Entry point of `python -m train.export`."""

from vbs.command import run_program

if __name__ == "__main__":
    run_program("train.export")
