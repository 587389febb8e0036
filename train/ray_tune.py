"""`python -m train.ray_tune --architectures FILE... --data DATA`: train many networks at once."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from train.ray_command import run

    sys.exit(run())
