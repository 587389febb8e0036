"""Entry point of `python -m scaling.grid`."""

from vbs.command import run_program

if __name__ == "__main__":
    run_program("scaling.grid")
