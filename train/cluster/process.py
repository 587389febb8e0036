"""Ray in a process of its own.

Ray's C++ ends the process that it is in, without an exception, when the node or the head that it
is connected to is lost, and its calls may block for minutes. Here that process is a child which
holds one object, and its parent, which has the results, gets an exception in time.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Any

from train.cluster.connect import probe
from vbs import processes, signals
from vbs.children import child_environment, end_with_parent
from vbs.command import Failure

START = "import sys; sys.path[:] = {}; from train.cluster.process import serve; serve({})"
CONNECTED = 120.0  # seconds to connect, and to start what is to run
CLOSED = 60.0  # seconds to end
LOOK = 0.5  # seconds between looks whether the node is still there


class RayLost(Failure):
    """Ray, or the process that was connected to it, has ended or does not answer."""


class RayProcess:
    """An object that is made in a process of its own, and whose methods are called there.

    factory, arguments, options  make the object, and connect to Ray. They are pickled, as are
                                 arguments, results and exceptions of its methods. The object has
                                 a method `close`, which disconnects.
    address                      of the cluster, as in `train.cluster.connect.connect`; it is an
                                 option too.
    limit                        seconds for that; CONNECTED where not given, math.inf for none.

    Raises what the factory raises; if that takes longer, ValueError for an address and RayLost
    for a Ray started here.
    """

    def __init__(
        self,
        factory: Callable[..., Any],
        *arguments: Any,
        address: str | None,
        limit: float | None = None,
        **options: Any,
    ) -> None:
        self._address = None if address == "local" else address
        if self._address is not None:
            probe(self._address)  # without waiting for a process
        self._answers: deque[tuple[bool, Any]] = deque()
        self._line, theirs = Pipe()
        with theirs:
            number = theirs.fileno()
            self._child = subprocess.Popen(
                [sys.executable, "-c", START.format(sys.path, number)],
                pass_fds=(number,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=child_environment(),
            )
        try:
            self._send((_this_program(), factory, arguments, {**options, "address": address}))
            limit = CONNECTED if limit is None else limit
            self.result(None if limit == math.inf else limit)
        except BaseException as error:
            self._kill()
            self._line.close()
            if isinstance(error, TimeoutError):
                raise self._too_late() from None
            raise

    def call(self, method: str, *arguments: Any) -> Any:
        """What the method returns. KeyboardInterrupt is raised there too, and waited for."""
        self.request(method, *arguments)
        try:
            return self.result(None)
        except KeyboardInterrupt:
            if self._child.poll() is None:
                self._child.send_signal(signal.SIGTERM)
                with contextlib.suppress(Exception):
                    self.result(CLOSED)
            raise

    def request(self, method: str, *arguments: Any) -> None:
        """Call a method whose result `result` returns later."""
        self._send((True, method, arguments))

    def send(self, method: str, *arguments: Any) -> None:
        """Call a method that has no result; an exception comes with the next `result`."""
        self._send((False, method, arguments))

    def _send(self, message: tuple[Any, ...]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError), signals.deferred():
            self._line.send(message)  # where the child has ended, `result` raises RayLost
        signals.raise_noted()

    def result(self, seconds: float | None) -> Any:
        """The next result; raises the exception of the method, RayLost, and TimeoutError."""
        if not self._answers:
            if not self._line.poll(seconds):
                raise TimeoutError
            try:
                with signals.deferred():  # a message is read whole
                    self._answers.append(self._line.recv())
            except (EOFError, OSError):
                self._kill()
                raise RayLost(self._why()) from None
            signals.raise_noted()
        fine, value = self._answers.popleft()
        if fine:
            return value
        raise value

    def close(self) -> None:
        """Close the object, disconnect, and end the process."""
        self._line.close()
        try:
            self._child.wait(CLOSED)
        except subprocess.TimeoutExpired:
            self._kill()

    def __enter__(self) -> RayProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _kill(self) -> None:
        """End the process at once; what it started here notices, and ends as well."""
        self._child.kill()
        self._child.wait()

    def _too_late(self) -> Exception:
        if self._address is None:
            return RayLost(f"Ray could not start here (it is not up after {CONNECTED:g} s)")
        return ValueError(
            f"address: {self._address} cannot be used (not connected after {CONNECTED:g} s)"
        )

    def _why(self) -> str:
        """Why the process has ended, as far as one can see from here."""
        if self._address is None:
            return "Ray has ended on this machine: one of its processes crashed or was killed"
        try:
            probe(self._address)
        except ValueError:
            return f"the head of the Ray cluster at {self._address} was lost"
        return (
            f"this machine is no longer a node of the Ray cluster at {self._address}: its "
            "processes of Ray crashed or were killed"
        )


def _this_program() -> tuple[str, str | None]:
    """What Ray makes of a driver: its workers can import what lies beside the program."""
    return sys.argv[0], getattr(sys.modules["__main__"], "__file__", None)


def serve(number: int) -> None:
    """The child's side: make the object, call its methods, until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the parent decides
    os.set_inheritable(number, False)
    line = Connection(number)
    _mute_ray()
    with signals.caught(), contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        end_with_parent()
        (sys.argv[0], file), factory, arguments, options = line.recv()
        if file is not None:
            sys.modules["__main__"].__file__ = file
        try:
            made = factory(*arguments, **options)
        except (Exception, KeyboardInterrupt) as error:
            _send_error(line, error)
            return
        try:
            threading.Thread(target=_end_with_node, daemon=True).start()
            line.send((True, None))
            while True:
                _serve_once(line, made)
        finally:
            with signals.deferred():
                made.close()


def _serve_once(line: Connection, made: Any) -> None:
    wanted, method, arguments = line.recv()
    try:
        result = getattr(made, method)(*arguments)
    except (Exception, KeyboardInterrupt) as error:
        _send_error(line, error)
    else:
        if wanted:
            line.send((True, result))


def _send_error(line: Connection, error: BaseException) -> None:
    try:
        line.send((False, error))
    except (TypeError, AttributeError, ValueError):  # it cannot be pickled
        line.send((False, Failure(f"{type(error).__name__}: {error}")))


def _mute_ray() -> None:
    """Python's stderr stays; what Ray's C++ writes to file 2 is dropped: it has logs."""
    copy = os.dup(2)
    sys.stderr = io.TextIOWrapper(
        os.fdopen(copy, "wb", buffering=0),
        encoding=sys.stderr.encoding,
        errors="backslashreplace",
        write_through=True,
    )
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def _end_with_node() -> None:
    """End this process when this machine's node of Ray has: nothing would ever be answered."""
    watched = {number: processes.start(number) for number in _node_processes()}
    while all(processes.start(number) == began for number, began in watched.items()):
        time.sleep(LOOK)
    _kill_agents()
    os._exit(1)


def _kill_agents() -> None:
    """End what a raylet has started: where a head is lost, its agents would look for it for a
    minute. Those of a lost raylet end by themselves."""
    import psutil  # Ray brings it

    for raylet in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            for process in raylet.children(recursive=True):
                process.kill()


def _node_processes() -> list[int]:
    """The raylet that this process is connected to; of a Ray started here, its head too."""
    import ray

    node = ray._private.worker._global_node
    own = [
        each.process.pid
        for name in ("raylet", "gcs_server")
        for each in node.all_processes.get(name, [])
    ]
    if own:
        return own
    with contextlib.suppress(OSError, AttributeError), socket.socket(socket.AF_UNIX) as line:
        line.connect(node.raylet_socket_name)
        size = struct.calcsize("3i")
        peer = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return [struct.unpack("3i", peer)[0]]
    return []
