"""Ray in a child process.

Ray's C++ ends its process, without an exception, when its node or the head of its cluster is lost,
and its calls may block for minutes. Therefore a child process connects to Ray and holds one object;
the parent, which has the results, gets an exception in time.
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
CONNECTED = 120.0  # seconds to connect and to make the object
CLOSED = 60.0  # seconds to end
LOOK = 0.5  # seconds between checks that the node still runs


class RayLost(Failure):
    """Raised if Ray, or the process that is connected to it, has ended or does not answer."""


class RayProcess:
    """An object that is made in a child process, and whose methods are called there.

    factory, arguments, options  make the object, and connect to Ray. They are pickled, as are
                                 arguments, results and exceptions of its methods. The object has a
                                 method `close`, which disconnects.
    address                      of the cluster, as in `train.cluster.connect.connect`; also passed
                                 to the factory as an option.
    limit                        seconds for making the object; None: CONNECTED, math.inf: no limit.

    Raises the exceptions of the factory. If the limit is exceeded, raises ValueError for an address
    and RayLost for a Ray started here.
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
            probe(self._address)  # reports errors before a process is started
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
        """Call a method and return its result; KeyboardInterrupt is passed on to the child."""
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
        """Call a method whose result is returned later by `result`."""
        self._send((True, method, arguments))

    def send(self, method: str, *arguments: Any) -> None:
        """Call a method without a result; its exception is raised by the next `result`."""
        self._send((False, method, arguments))

    def _send(self, message: tuple[Any, ...]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError), signals.deferred():
            self._line.send(message)  # if the child has ended, `result` raises RayLost
        signals.raise_noted()

    def result(self, seconds: float | None) -> Any:
        """Return the next result; raises the method's exception, RayLost or TimeoutError."""
        if not self._answers:
            if not self._line.poll(seconds):
                raise TimeoutError
            try:
                with signals.deferred():  # a message must be read completely
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
        """Kill the process; processes that it started notice this and end."""
        self._child.kill()
        self._child.wait()

    def _too_late(self) -> Exception:
        if self._address is None:
            return RayLost(f"Ray could not start here (it is not up after {CONNECTED:g} s)")
        return ValueError(
            f"address: {self._address} cannot be used (not connected after {CONNECTED:g} s)"
        )

    def _why(self) -> str:
        """Return why the process has ended, as far as this process can find out."""
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
    """Return the program; Ray's workers can import modules beside it."""
    return sys.argv[0], getattr(sys.modules["__main__"], "__file__", None)


def serve(number: int) -> None:
    """Run the child: make the object and call its methods until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C does
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
    except (TypeError, AttributeError, ValueError):  # the exception cannot be pickled
        line.send((False, Failure(f"{type(error).__name__}: {error}")))


def _mute_ray() -> None:
    """Keep Python's stderr, but drop what Ray's C++ writes to file descriptor 2; Ray has logs."""
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
    """End this process when this machine's node of Ray ends, because calls would never return."""
    watched = {number: processes.start(number) for number in _node_processes()}
    while all(processes.start(number) == began for number, began in watched.items()):
        time.sleep(LOOK)
    _kill_agents()
    os._exit(1)


def _kill_agents() -> None:
    """Kill the processes that a raylet has started.

    If the head is lost, its agents would search for it for a minute. Agents of a lost raylet end by
    themselves.
    """
    import psutil  # Ray brings it

    for raylet in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            for process in raylet.children(recursive=True):
                process.kill()


def _node_processes() -> list[int]:
    """Return the raylet of this process, and also the head of a Ray started here."""
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
