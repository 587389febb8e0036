"""`python -m train.run NETWORK --data DATA`: train one network by a published recipe."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from train.command import run

    sys.exit(run())
