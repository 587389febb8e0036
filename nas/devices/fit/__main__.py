"""`python -m nas.devices.fit`."""

from vbs.command import run_program

if __name__ == "__main__":
    run_program("nas.devices.fit", interrupted="interrupted; nothing was written")
