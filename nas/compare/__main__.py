"""`python -m nas.compare`."""

from vbs.command import run_program

if __name__ == "__main__":
    run_program("nas.compare")
