"""Test helper: heads of Ray clusters, false and real."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # an empty frame of HTTP/2


def status(code: int) -> bytes:
    """Return HTTP/2 settings followed by a gRPC status, as gRPC sends them."""
    field = b"\x40\x0bgrpc-status" + bytes((len(str(code)),)) + str(code).encode()
    return SETTINGS + len(field).to_bytes(3, "big") + b"\x01\x05\x00\x00\x00\x01" + field


@contextlib.contextmanager
def false_head(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Yield "host:port" of a server that passes every connection to a function, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):  # the server is closed
                while True:
                    line, _ = server.accept()
                    threading.Thread(target=_answered, args=(answer, line), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def _answered(answer: Callable[[socket.socket], None], line: socket.socket) -> None:
    with line, contextlib.suppress(OSError):
        answer(line)
        line.shutdown(socket.SHUT_WR)  # closing with unread data would reset the connection
        while line.recv(1 << 16):
            pass


def demanding(token: str) -> Callable[[socket.socket], None]:
    """Return a function that answers like a head that requires the token."""

    def answer(line: socket.socket) -> None:
        asked = line.recv(1 << 16)
        line.sendall(status(0 if f"Bearer {token}".encode() in asked else 16))
        line.recv(1 << 16)

    return answer


def free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return line.getsockname()[1]


@contextlib.contextmanager
def real_head(folder: Path, **environment: str) -> Iterator[str]:
    """Yield the address of a head that `ray start` starts in that environment, with one CPU."""
    address = f"127.0.0.1:{free_port()}"
    words = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        "--num-cpus=1",
        "--node-ip-address=127.0.0.1",
        f"--port={address.partition(':')[2]}",
        "--include-dashboard=false",
        "--disable-usage-stats",
        f"--temp-dir={folder}",
    ]
    process = subprocess.Popen(
        words,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        _until_it_listens(process, address)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _until_it_listens(process: subprocess.Popen, address: str) -> None:
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    said, end = b"", time.monotonic() + 90
    while b"Ray runtime started" not in said:
        assert process.poll() is None, said
        assert time.monotonic() < end, said
        said += process.stdout.read() or b""
        time.sleep(0.1)
