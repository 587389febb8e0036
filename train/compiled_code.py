"""The folder in which torch.compile keeps compiled code for later processes."""

from __future__ import annotations

import os

from vbs.paths import cache_folder


def share_compiled_code() -> None:
    """Let torch.compile keep its code in the project's cache folder; call it before compiling.

    All processes of a user use it: the trainings of a search that runs in several processes, and
    later commands. torch's default is a temporary folder, which is often lost at a restart. The
    environment variables TORCHINDUCTOR_CACHE_DIR and TORCHINDUCTOR_FX_GRAPH_CACHE take precedence.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled"))
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")  # off by default in torch 2.4
