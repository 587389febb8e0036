"""Drivers of a search: processes with a name and heartbeats in the study."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import time
from collections.abc import Set
from typing import TYPE_CHECKING

from nas.storage.database import Database, StudyLost
from nas.storage.optuna_tables import put_attributes, tables
from vbs import processes

if TYPE_CHECKING:
    from sqlalchemy import Connection

BEAT = "beat of driver "  # prefix of system attributes of a study: time of the last heartbeat

_numbers = itertools.count(1)
_left: set[str] = set()  # drivers of this process that have finished, even if not recorded


def new_driver() -> str:
    """Return a unique name: host:process:place:start.number.

    process  process id.
    place    scope of process ids: this boot of this machine, and this container.
    start    start time of the process, because process ids are reused.
    number   counter of the studies that the process has opened.
    """
    host, pid = socket.gethostname().replace(":", "-"), os.getpid()
    return f"{host}:{pid}:{processes.place()}:{processes.start(pid)}.{next(_numbers)}"


def leave(driver: str) -> None:
    """Mark a driver of this process as finished, although the process may continue."""
    _left.add(driver)


def is_here(driver: str) -> bool:
    """Return whether a driver's process belongs to this machine and container."""
    here = processes.place()
    return bool(here) and driver.split(":")[2:3] == [here]


def process_is_gone(driver: str) -> bool:
    """Return whether a driver of this machine has finished or its process has ended."""
    if driver in _left:
        return True
    _, process, _, start = driver.split(":")
    begun = processes.start(int(process))
    return begun not in ("", start.partition(".")[0])


def put_beat(connection: Connection, study: int, driver: str) -> None:
    """Write a heartbeat of a driver, with the time of the database."""
    put_attributes(connection, tables().study_system, study, {BEAT + driver: _clock(connection)})


class Pulse:
    """A thread that writes a heartbeat of a driver every `seconds` until it is `stopped`."""

    def __init__(self, database: Database, study: int, driver: str, *, seconds: float) -> None:
        self.stopped = threading.Event()
        arguments = (database, study, driver, seconds, self.stopped)
        self._thread = threading.Thread(target=_keep_beating, args=arguments, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the heartbeats, after one that is being written."""
        self.stopped.set()
        self._thread.join(5.0)


def _keep_beating(
    database: Database, study: int, driver: str, seconds: float, stopped: threading.Event
) -> None:
    while not stopped.wait(seconds):
        with contextlib.suppress(StudyLost):  # the next use of the study reports it
            database.write(lambda c: put_beat(c, study, driver), patient=False)


def gone_drivers(
    connection: Connection, study: int, drivers: Set[str], *, grace: float
) -> set[str]:
    """Return the dead ones among the drivers.

    grace  seconds without a heartbeat after which a driver on another machine counts as dead.
    """
    from sqlalchemy import select

    if not drivers:
        return set()
    table = tables().study_system
    rows = connection.execute(
        select(table.c.key, table.c.value_json)
        .where(table.c.study_id == study)
        .where(table.c.key.in_([BEAT + driver for driver in drivers]))
    )
    beats = {key.removeprefix(BEAT): float(value) for key, value in rows}
    earliest = _clock(connection) - grace
    return {
        driver
        for driver in drivers
        if driver not in beats
        or (process_is_gone(driver) if is_here(driver) else beats[driver] < earliest)
    }


def forget_drivers(connection: Connection, study: int, drivers: Set[str]) -> None:
    """Remove the heartbeats of drivers that have left a study or are dead."""
    from sqlalchemy import delete

    table = tables().study_system
    keys = [BEAT + driver for driver in drivers]
    connection.execute(delete(table).where(table.c.study_id == study).where(table.c.key.in_(keys)))


def _clock(connection: Connection) -> float:
    """Return the time in seconds, from the server or, for a file, from this machine."""
    if connection.dialect.name == "postgresql":
        found = connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())")
        return float(found.scalar_one())
    return time.time()
