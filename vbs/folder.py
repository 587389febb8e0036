"""Folders of results, and files in them that are written atomically."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vbs import signals
from vbs.failures import InfrastructureError
from vbs.lock import owned
from vbs.processes import available_cpus
from vbs.text import quoted, shell_word


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step.

    An OSError names `path`: a write to a full disk has no name of its own.
    """
    unfinished = _unfinished(path)
    try:
        write(unfinished)
        os.replace(unfinished, path)
    except OSError as error:
        if error.strerror:  # its text is made of its parts
            error.filename = str(path)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def check_file(path: Path) -> None:
    """OSError, which names `path`, unless `write_whole` can make its temporary file."""
    unfinished = _unfinished(path)
    try:
        unfinished.touch()
    except OSError as error:
        error.filename = str(path)
        raise
    unfinished.unlink()


def _unfinished(path: Path) -> Path:
    # process numbers of two machines, or containers, may be the same
    return path.with_name(f".unfinished-{uuid.uuid4().hex[:12]}-{path.name}")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON with a final newline, atomically."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_whole(path, lambda unfinished: unfinished.write_text(text))


@contextlib.contextmanager
def results_folder(
    out: str | None, *, kind: str, files: Sequence[str], command: str, resume: bool | None = False
) -> Iterator[Path]:
    """A folder that holds none of `files`, made if need be: `out`, or a new runs/<kind>-N.

    It is owned by this process, the `command`, inside the block; see `vbs.lock.owned`. The first
    of the files is its record, see `status_after`.

    resume  whether it is `out` with what it holds, owned already: see `resumed_folder`. None where
            the command cannot resume.

    Raises ValueError where it cannot be written, already holds results, or has another owner.
    """
    if resume and out:
        with _resumable(Path(out, files[0])):
            yield Path(out)
        return
    if out is not None:
        check_name(out)
    folder = _numbered_folder(kind) if out is None else Path(out)
    with contextlib.ExitStack() as stack:
        try:
            if not _first_of(folder, files):
                folder.mkdir(parents=True, exist_ok=True)
                check_writable(folder)
                stack.enter_context(owned(folder, command))
            held = _first_of(folder, files)
        except OSError as error:
            raise ValueError(f"out: {folder} cannot be written ({error.strerror})") from None
        if held:
            how = "" if resume is None else "continue what is there by --resume, or "
            raise ValueError(f"out: {folder} already holds {held}; {how}choose another --out")
        stack.enter_context(_resumable(folder / files[0]))
        yield folder


def check_name(out: str) -> None:
    """ValueError for a folder of results whose name is empty or blank."""
    if not out:
        raise ValueError("out: the name of the folder is empty")
    if not all(part.strip() for part in Path(out).parts):
        raise ValueError(f"out: {quoted(out)} has a blank name; give the folder another one")


@contextlib.contextmanager
def _resumable(record: Path) -> Iterator[None]:
    """As `status_after`; a failure of the infrastructure says how to resume what is recorded."""
    try:
        with status_after(record):
            yield
    except InfrastructureError as error:
        if "--resume" in str(error) or not record.is_file():
            raise
        out = shell_word(str(record.parent))
        raise InfrastructureError(f"{error}; --resume --out {out} continues") from None


@contextlib.contextmanager
def resumed_folder(out: str | None, *, resume: bool, command: str) -> Iterator[None]:
    """With `resume`, the folder `out` is owned by this process inside the block.

    To be entered before its record is read. What is wrong with the folder is left to the reader.
    Raises ValueError where another process owns it.
    """
    folder = Path(out) if resume and out else None
    with owned(folder, command):
        yield


@contextlib.contextmanager
def status_after(record: Path) -> Iterator[None]:
    """Where an exception leaves the block, a JSON record does not keep its status "running".

    It is "interrupted" after KeyboardInterrupt, otherwise "failed". Nothing else is changed.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        with signals.deferred(), contextlib.suppress(OSError, ValueError, RecursionError):
            known = json.loads(record.read_text())
            if isinstance(known, dict) and known.get("status") == "running":
                interrupted = isinstance(error, KeyboardInterrupt)
                known["status"] = "interrupted" if interrupted else "failed"
                write_json(record, known)
        raise


def _first_of(folder: Path, files: Sequence[str]) -> str | None:
    return next((name for name in files if (folder / name).exists()), None)


def _numbered_folder(kind: str) -> Path:
    """runs/<kind>-N with the first free N, made in one step: runs may start together."""
    number = 1
    while True:
        folder = Path("runs", f"{kind}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise ValueError(f"out: {folder} cannot be made ({error.strerror})") from None
        else:
            return folder


def check_writable(folder: Path) -> None:
    """OSError unless files can be made in the folder."""
    write_whole(folder / f".writable-{os.getpid()}", lambda path: path.write_text(""))
    (folder / f".writable-{os.getpid()}").unlink()


def circumstances(packages: Iterable[str]) -> dict[str, Any]:
    """Versions (None where not installed) and the machine, as every record states them."""
    versions = {name: _version(name) for name in ("vision-baseline-search", *packages)}
    return {
        "versions": {"python": platform.python_version(), **versions},
        "machine": f"{platform.system()} {platform.machine()}, {_cpus()} CPUs",
    }


def _cpus() -> str:
    """The machine's, and how many of them this process may use where that is fewer."""
    available, every = available_cpus(), os.cpu_count()
    return str(every) if every in (None, available) else f"{available} of {every}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
