"""`python -m vbs`: the same as the script `vbs`."""

from vbs.main import main

if __name__ == "__main__":
    main()
