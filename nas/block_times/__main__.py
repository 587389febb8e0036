"""See `nas.block_times.command`."""

from __future__ import annotations

import sys

from nas.block_times.command import main

if __name__ == "__main__":
    sys.exit(main())
