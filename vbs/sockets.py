"""Folders for Unix sockets, whose paths are limited to about 100 bytes, and the loopback check."""

from __future__ import annotations

import multiprocessing.util
import os
import socket
import sys
import tempfile

LONGEST = 103 if sys.platform == "darwin" else 107  # bytes of a socket's path
SHORT = "/tmp"


def too_long(folder: str, name: str) -> bool:
    """Return whether the path of a socket with a name of this length is too long."""
    return len(os.fsencode(os.path.join(folder, name))) > LONGEST


def short_folder_for_sockets() -> None:
    """Make multiprocessing, and thus torch's loaders, use SHORT if TMPDIR is too long.

    Python does this itself since 3.13.4 and 3.14. Temporary files stay in TMPDIR.
    """
    if too_long(tempfile.gettempdir(), "pymp-12345678/listener-12345678"):
        before = tempfile.tempdir
        tempfile.tempdir = SHORT
        try:
            multiprocessing.util.get_temp_dir()  # created once and cached
        finally:
            tempfile.tempdir = before


def check_loopback() -> None:
    """Raise ValueError if this machine cannot connect to itself at 127.0.0.1."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), 5.0).close()
    except OSError as error:
        reason = error.strerror or "no answer in time"
        raise ValueError(
            f"this machine cannot connect to itself at 127.0.0.1 ({reason}); enable its loopback "
            "interface: ip link set lo up"
        ) from None
