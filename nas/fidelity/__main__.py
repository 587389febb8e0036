"""See `nas.fidelity.command`."""

from __future__ import annotations

import sys

from nas.fidelity.command import run

if __name__ == "__main__":
    sys.exit(run())
