"""`python -m search_spaces.show`."""

from vbs.command import run_program

if __name__ == "__main__":
    run_program("search_spaces.show")
