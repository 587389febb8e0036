"""Entry point of `python -m vbs.doctor`."""

from vbs.command import run_program

if __name__ == "__main__":
    run_program("vbs.doctor")
