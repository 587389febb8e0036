"""Entry point of `python -m vbs`, which is the same program as the `vbs` script."""

from vbs.main import main

if __name__ == "__main__":
    main()
