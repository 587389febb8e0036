"""`python -m nas.block_times`."""

from vbs.command import run_program

if __name__ == "__main__":
    run_program("nas.block_times", interrupted="interrupted; nothing was written")
