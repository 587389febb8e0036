"""The folder in which torch.compile keeps compiled code for later processes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from vbs.paths import cache_folder

FOLDER = "TORCHINDUCTOR_CACHE_DIR"


def share_compiled_code() -> None:
    """Let torch.compile keep its code in the project's cache folder; call it before compiling.

    All processes of a user use it: the trainings of a search that runs in several processes, and
    later commands. torch's default is a temporary folder, which is often lost at a restart. The
    environment variables TORCHINDUCTOR_CACHE_DIR and TORCHINDUCTOR_FX_GRAPH_CACHE take precedence.
    """
    given = Path(os.environ.get(FOLDER, ""))
    # torch writes its default into the variable when an optimizer is created, and processes
    # inherit it
    default = given.parent == Path(tempfile.gettempdir()) and given.name.startswith(
        "torchinductor_"
    )
    if FOLDER not in os.environ or default:
        os.environ[FOLDER] = str(cache_folder() / "compiled")
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")  # off by default in torch 2.4
