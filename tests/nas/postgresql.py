"""Test helper: a temporary PostgreSQL server on loopback.

    python tests/nas/postgresql.py COMMAND...

runs a command with the URL of the server in TEST_POSTGRESQL_URL. Needs the programs of the server
and no Python package.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VARIABLE = "TEST_POSTGRESQL_URL"
DEBIAN = Path("/usr/lib/postgresql")  # contains a folder for each version, outside the PATH
FAST = ("fsync=off", "full_page_writes=off")  # the data need not survive a power failure
PR_SET_PDEATHSIG = 1


def programs() -> Path | None:
    """Return the folder of initdb and postgres; None if they are not installed."""
    folders = sorted(DEBIAN.glob("[0-9]*/bin"), key=lambda folder: int(folder.parent.name))
    found = shutil.which("postgres")
    folders = [*([Path(found).resolve().parent] if found else []), *reversed(folders)]
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


class Server:
    """A server with an empty database and its files in a temporary folder.

    It can be stopped and started again under the same `url`.
    """

    def __init__(self) -> None:
        found = programs()
        if found is None:
            raise RuntimeError("PostgreSQL is not installed (Debian: apt-get install postgresql)")
        self._programs = found
        self._process: subprocess.Popen[bytes] | None = None
        # the server refuses to run as root, and the path of a socket must be short
        self._as: dict[str, Any] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="postgresql-", dir="/tmp"))
        if os.getuid() == 0:
            user = _unprivileged()
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self._folder, user.pw_uid, user.pw_gid)
        password = secrets.token_hex(16)
        try:
            self._make(password)
            for tries_left in (2, 1, 0):
                self.port = _free_port()
                self.url = f"postgresql://tester:{password}@127.0.0.1:{self.port}/postgres"
                try:
                    self.start()
                    break
                except RuntimeError:  # perhaps another process has taken the port
                    self.stop()
                    if not tries_left:
                        raise
        except BaseException:
            self.close()
            raise

    def _make(self, password: str) -> None:
        secret = self._folder / "password"
        secret.write_text(password)
        if self._as:
            os.chown(secret, self._as["user"], self._as["group"])
        command = [
            self._programs / "initdb",
            "--pgdata",
            self._folder / "data",
            "--username",
            "tester",
            "--auth",
            "scram-sha-256",
            "--pwfile",
            secret,
            "--encoding",
            "UTF8",
            "--locale",
            "C",
            "--no-sync",
        ]
        made = subprocess.run(command, cwd="/", capture_output=True, text=True, **self._as)
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr.strip()}")

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        command = [
            self._programs / "postgres",
            "-D",
            self._folder / "data",
            "-p",
            str(self.port),
            *(
                part
                for setting in (
                    "listen_addresses=127.0.0.1",
                    f"unix_socket_directories={self._folder}",
                    *FAST,
                )
                for part in ("-c", setting)
            ),
        ]
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
                start_new_session=True,
                **self._as,
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_text = (self._folder / "log").read_text()[-2000:]
                raise RuntimeError(f"PostgreSQL did not start: {log_text}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        command = [self._programs / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return subprocess.run(command).returncode == 0

    def stop(self) -> None:
        """Stop at once, like a machine that crashes; committed data are kept."""
        if self._process is None:
            return
        for number in (signal.SIGQUIT, signal.SIGKILL):
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
                break
        self._process = None

    def close(self) -> None:
        """Stop the server and remove all files."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Yield a server, which is closed in any case."""
    running = Server()
    try:
        yield running
    finally:
        running.close()


def _unprivileged() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _die_with_parent() -> None:
    """Let the server's process end with its parent, even if that is killed (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def main(command: list[str]) -> int:
    """Run a command while a server runs; return its exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with server() as running:
        child = subprocess.Popen(command, env={**os.environ, VARIABLE: running.url})
        try:
            return child.wait()
        except BaseException:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(30)
            child.kill()
            raise


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, RuntimeError) as error:
        sys.exit(f"{VARIABLE}: {error}")
