"""Query of a Ray head over a plain socket: whether it answers, and whether it requires a token.

Ray's own client waits minutes for an address that does not answer, and may end the process. The
query is a gRPC call (CheckAlive of Ray's GCS), encoded by hand by RFC 9113 (HTTP/2), RFC 7541
(header compression) and the protocol of "gRPC over HTTP2". It needs no thread and no library, and
ends within its time limit for any answer.
"""

from __future__ import annotations

import queue
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

METHOD = "/ray.rpc.NodeInfoGcsService/CheckAlive"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9  # frame types
END_STREAM, ACK, END_HEADERS = 1, 1, 4  # flags
FRAME = 1 << 14  # most bytes of a frame, unless both sides have agreed on more
ANSWER = 1 << 16  # most bytes of an answer; a head needs a few hundred
OK, UNAUTHENTICATED = 0, 16  # gRPC's status codes
# an uncompressed header field: its name, the length of the value, the value
STATUS = re.compile(rb"grpc-status[\x01\x02](\d{1,2})")


class NotRay(ValueError):
    """Raised if the address answers but is not the head of a Ray cluster."""


def head_status(host: str, port: int, token: str | None, seconds: float) -> int:
    """Return the gRPC status of a head's answer, e.g. `OK` or `UNAUTHENTICATED`.

    Raises OSError (TimeoutError after `seconds` in all) if there is no answer, and `NotRay` if the
    answer is not from a Ray head.
    """
    end = time.monotonic() + seconds
    with _connected(host, port, end) as line:
        fields = _fields(f"{host}:{port}", token)
        line.sendall(
            PREFACE
            + _frame(SETTINGS, 0, 0, b"")
            + _frame(HEADERS, END_HEADERS, 1, fields)
            + _frame(DATA, END_STREAM, 1, b"\x00\x00\x00\x00\x00")  # an empty message
        )
        return _status(line, end)


def _connected(host: str, port: int, end: float) -> socket.socket:
    """Return a connection to the first address of the host that accepts one."""
    found: queue.SimpleQueue[list[tuple[Any, ...]] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.put(error)

    # in a thread, because looking up a name has no time limit
    threading.Thread(target=look_up, daemon=True).start()
    try:
        addresses = found.get(timeout=max(0.0, end - time.monotonic()))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(addresses, OSError):
        raise addresses
    wrong: OSError = TimeoutError()
    for family, kind, protocol, _, address in addresses:
        line = socket.socket(family, kind, protocol)
        try:
            line.settimeout(max(0.001, end - time.monotonic()))
            line.connect(address)
            return line
        except OSError as error:
            line.close()
            wrong = error
    raise wrong


def _status(line: socket.socket, end: float) -> int:
    first = True
    for kind, flags, content in _frames(line, end):
        if first and kind != SETTINGS:
            raise NotRay("no HTTP/2")
        first = False
        if kind == SETTINGS and not flags & ACK:
            line.sendall(_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            line.sendall(_frame(PING, ACK, 0, content))
        elif kind in (HEADERS, CONTINUATION) and (found := STATUS.search(content)):
            return int(found[1])
        elif kind in (RESET, GOAWAY) or (kind == HEADERS and flags & END_STREAM):
            raise NotRay("no gRPC")
    raise NotRay("too long an answer")


def _frames(line: socket.socket, end: float) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, flags and content of each received frame, up to ANSWER bytes in all."""
    read = 0
    while read < ANSWER:
        head = _exactly(line, 9, end)
        size = int.from_bytes(head[:3], "big")
        if size > FRAME:
            raise NotRay("no HTTP/2")
        yield head[3], head[4], _exactly(line, size, end)
        read += 9 + size


def _exactly(line: socket.socket, size: int, end: float) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        line.settimeout(left)
        part = line.recv(size - len(parts))
        if not part:
            raise ConnectionResetError(None, "the connection was closed")
        parts += part
    return bytes(parts)


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    head = len(content).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + content


def _fields(authority: str, token: str | None) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": METHOD,
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    if token is not None:
        fields["authorization"] = f"Bearer {token}"
    # literals without indexing, RFC 7541, section 6.2.2
    return b"".join(
        b"\x00" + _text(name.encode()) + _text(value.encode()) for name, value in fields.items()
    )


def _text(text: bytes) -> bytes:
    """Encode a string with its length in front, by RFC 7541, sections 5.1 and 5.2."""
    size = len(text)
    if size < 127:
        return bytes((size,)) + text
    head, size = bytearray((127,)), size - 127
    while size >= 128:
        head.append(size % 128 + 128)
        size //= 128
    head.append(size)
    return bytes(head) + text
