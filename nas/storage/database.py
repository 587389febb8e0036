"""The database of a study: its URL, its settings, and transactions with retries.

Optuna creates the tables and checks their version. A search writes its many trials directly into
the tables, in one transaction each, because Optuna commits every attribute separately.
"""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nas.stopped import StudyLost
from nas.storage.passwords import escaped_url

if TYPE_CHECKING:
    import sqlalchemy
    from sqlalchemy.engine import URL

PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds between attempts to reach a database
PATIENCE = 60.0  # seconds after which attempts end
BUSY = 60.0  # seconds to wait for other drivers' writes to an sqlite file
CONNECT = 5  # seconds to wait for a server
FORMS = "use sqlite:///study.db or postgresql://user:password@host/database"
# limits how long a driver that hangs within a transaction blocks the others
SESSION = "SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = '60s'"
ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}

T = TypeVar("T")


def checked_url(storage: str) -> URL:
    """Return a database URL with its driver.

    The text after sqlite:/// is the path of the file; "%" is not an escape there. Raises ValueError
    for an invalid or unsupported URL; the message contains no password.
    """
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import SQLAlchemyError

    prefix, _, path = storage.partition(":///")
    if prefix in ("sqlite", "sqlite+pysqlite"):
        url = URL.create("sqlite", database=path)
        plain = path not in ("", ":memory:") and not path.startswith("file:")
        # older versions of SQLAlchemy cannot represent every path in a URL
        if not plain or "?" in Path(path).name or make_url(_text(url)).database != path:
            raise ValueError(f"storage: {_text(url)} is not a plain file; {FORMS}")
        return url
    try:
        url = make_url(escaped_url(storage))
    except (SQLAlchemyError, ValueError):
        raise ValueError(f"storage: the value is not a database URL; {FORMS}") from None
    if url.drivername not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise ValueError(f"storage: {url.drivername!r} is not supported; {FORMS}")
    return url.set(drivername="postgresql+psycopg")


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


class Database:
    """An open database with Optuna's tables.

    storage  its URL.

    Raises ValueError if the database cannot be reached, read or written. The attribute `shown` is
    the URL without password.
    """

    def __init__(self, storage: str) -> None:
        url = checked_url(storage)
        self.shown = url.set(drivername=url.get_backend_name(), query={}).render_as_string()
        self._file: Path | None = None
        if url.get_backend_name() == "sqlite":
            self._file = Path(str(url.database)).absolute()
            url = url.set(database=str(self._file))
            _prepare_file(self._file, self.shown)
        try:
            self.engine = self._opened(url)
        except ImportError:
            raise ValueError(
                "storage: PostgreSQL needs the driver psycopg 3; "
                "install it by pip install 'vision-baseline-search[postgresql]'"
            ) from None
        self._identity = self._file_identity()

    def _opened(self, url: URL) -> sqlalchemy.Engine:
        """Return the engine after Optuna has created or checked its tables."""
        from sqlalchemy import event
        from sqlalchemy.exc import SQLAlchemyError

        for pause in (*PAUSES[:4], None):  # drivers that start together create the tables at once
            try:
                engine = _with_tables(url)
                break
            except SQLAlchemyError as error:
                if pause is None or not _made_by_another(error):
                    raise ValueError(f"storage: {self.shown} {_reason(error)}") from None
                time.sleep(pause)
        if self._file is None:
            event.listen(engine, "connect", _configure_server)
        else:
            event.listen(engine, "connect", _leave_begin_to_us)
        engine.dispose()  # existing connections were made without these listeners
        return engine

    def read(self, action: Callable[[sqlalchemy.Connection], T]) -> T:
        """Run `action` in a read-only transaction and return its result."""
        return self._run(action, PAUSES, reading=True)

    def write(
        self,
        action: Callable[[sqlalchemy.Connection], T],
        *,
        durable: bool = False,
        patient: bool = True,
    ) -> T:
        """Run `action` in a transaction that excludes other writers; return its committed result.

        durable  whether the change must survive a power failure; it always survives a kill.
        patient  whether to retry for a while if the database is unavailable.

        `action` runs again if the connection breaks, even during the commit, so it must detect
        whether its change was already made. Raises StudyLost if the database cannot be used.
        """
        return self._run(action, PAUSES if patient else (), durable=durable)

    def _run(
        self,
        action: Callable[[sqlalchemy.Connection], T],
        pauses: tuple[float, ...],
        *,
        reading: bool = False,
        durable: bool = False,
    ) -> T:
        from sqlalchemy.exc import SQLAlchemyError

        latest = time.monotonic() + PATIENCE
        for pause in (*pauses, None):
            try:
                with self.engine.connect() as connection:
                    with connection.begin():
                        if self._file is not None:
                            _begin(connection, reading=reading, durable=durable)
                        self._check_file()
                        found = action(connection)
                    return found
            except (SQLAlchemyError, sqlite3.Error, OSError) as error:
                if pause is None or time.monotonic() > latest or not _passing(error):
                    raise StudyLost(f"storage: {self.shown} {_reason(error)}") from None
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _file_identity(self) -> tuple[int, int] | None:
        if self._file is None:
            return None
        found = os.stat(self._file)
        return found.st_dev, found.st_ino

    def _check_file(self) -> None:
        """Raise StudyLost if the file was deleted or replaced; sqlite would write without error."""
        try:
            same = self._file_identity() == self._identity
        except FileNotFoundError:
            same = False
        if not same:
            raise StudyLost(f"storage: {self.shown} was deleted or replaced while it was in use")

    @property
    def shared(self) -> bool:
        """Whether drivers on several machines can use the database."""
        return self._file is None

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _prepare_file(path: Path, shown: str) -> None:
    """Create or check an sqlite file that allows readers during writes.

    Raises ValueError if it cannot be used.
    """
    if not path.parent.is_dir():
        raise ValueError(f"storage: {shown}: the folder {path.parent} does not exist")
    latest = time.monotonic() + BUSY
    while True:
        try:
            _write_ahead(path)
            return
        except sqlite3.Error as error:
            # sqlite does not wait if two connections change the journal mode at the same time
            if "database is locked" not in str(error) or time.monotonic() > latest:
                raise ValueError(f"storage: {shown} cannot be used ({error})") from None
        time.sleep(random.uniform(0.01, 0.1))


def _write_ahead(path: Path) -> None:
    """Create the file if necessary, enable write-ahead logging, and test a write."""
    connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        connection.execute(f"PRAGMA user_version={version}")
        connection.execute("COMMIT")
    finally:
        connection.close()


def _with_tables(url: URL) -> sqlalchemy.Engine:
    """Return Optuna's engine for the URL, with tables of the installed version."""
    import optuna

    logging.getLogger("alembic").setLevel(logging.WARNING)
    if url.get_backend_name() == "sqlite":
        options: dict[str, Any] = {"connect_args": {"timeout": BUSY}}
    else:
        wanted = {"connect_timeout": CONNECT, "tcp_user_timeout": 20_000, **ALIVE}
        unset = {name: value for name, value in wanted.items() if name not in url.query}
        options = {
            "connect_args": unset,
            "pool_pre_ping": True,
            "isolation_level": "READ COMMITTED",
        }
    # Optuna formats URLs as templates, so the braces of a password are escaped
    text = _text(url).replace("{", "{{").replace("}", "}}")
    try:
        return optuna.storages.RDBStorage(text, engine_kwargs=options).engine
    except optuna.exceptions.StorageInternalError as error:
        raise error.__cause__ or error from None
    except RuntimeError as error:  # tables of another version of Optuna
        raise ValueError(f"storage: {str(error).splitlines()[0]}") from None


def _configure_server(connection: Any, _record: Any) -> None:
    connection.execute(SESSION)
    connection.commit()


def _leave_begin_to_us(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # sqlite3 would start transactions itself, too late


def _begin(connection: sqlalchemy.Connection, *, reading: bool, durable: bool) -> None:
    """Begin a transaction on sqlite; a writer takes the lock now, as a reader cannot become one.

    The statements are executed by the driver, because SQLAlchemy's statements or events would take
    a fifth of the time of all transactions.
    """
    cursor = connection.connection.cursor()
    synchronous = "FULL" if durable else "NORMAL"
    if not reading and connection.info.get("synchronous") != synchronous:
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        connection.info["synchronous"] = synchronous
    cursor.execute("BEGIN" if reading else "BEGIN IMMEDIATE")
    cursor.close()


def _original(error: BaseException) -> BaseException:
    return getattr(error, "orig", None) or error


def _passing(error: BaseException) -> bool:
    """Return whether a retry may help: a lost connection, or a conflict with another driver."""
    from sqlalchemy.exc import DBAPIError

    if not isinstance(error, DBAPIError) or isinstance(error.orig, sqlite3.Error):
        return "database is locked" in str(error)
    state = getattr(error.orig, "sqlstate", None)
    # no state: no response; 08 connection, 40 deadlock, 55P03 lock timeout, 57 server stop or start
    return error.connection_invalidated or state is None or state[:2] in ("08", "40", "55", "57")


def _made_by_another(error: BaseException) -> bool:
    """Return whether creating tables failed because another driver was creating them."""
    text = str(error)
    return any(sign in text for sign in ("already exists", "UNIQUE", "unique", "locked"))


def _reason(error: BaseException) -> str:
    """Return the reason of a database error as "cannot be used (...)", in one line without URL."""
    lines = [line.strip() for line in str(_original(error)).splitlines() if line.strip()]
    # psycopg lists every address that it tried, each followed by a general remark
    reasons = [
        line for line in lines if not line.startswith(("Multiple connection", "Is the server"))
    ]
    return f"cannot be used ({(reasons or [type(error).__name__])[0].lstrip('- ')})"
