"""Entry point of `python -m train.ray_tune`."""

from vbs.command import run_program

if __name__ == "__main__":
    run_program("train.ray_tune")
