"""Entry point of `python -m train.noisy_student`."""

from vbs.command import run_program

if __name__ == "__main__":
    run_program("train.noisy_student")
