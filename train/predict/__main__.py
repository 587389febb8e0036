"""Entry point of `python -m train.predict`."""

from vbs.command import run_program

if __name__ == "__main__":
    run_program("train.predict")
