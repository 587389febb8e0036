"""`python -m vbs`: the same as the `vbs` script."""

from vbs.main import main

if __name__ == "__main__":
    main()
