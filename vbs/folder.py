"""Results folders, and atomic writes of their files."""

from __future__ import annotations

import contextlib
import functools
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
    """Let `write` fill a temporary file beside `path`, then rename it to `path`.

    An OSError names `path`, because the error of a full disk names no file.
    """
    unfinished = _unfinished(path)
    try:
        write(unfinished)
        os.replace(unfinished, path)
    except OSError as error:
        if error.strerror:  # otherwise the text of the error is not built from its attributes
            error.filename = str(path)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def check_file(path: Path) -> None:
    """Raise an OSError that names `path` if `write_whole` cannot create its temporary file."""
    unfinished = _unfinished(path)
    try:
        unfinished.touch()
    except OSError as error:
        error.filename = str(path)
        raise
    unfinished.unlink()


def _unfinished(path: Path) -> Path:
    # process IDs of two machines or containers may be equal
    return path.with_name(f".unfinished-{uuid.uuid4().hex[:12]}-{path.name}")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON with a final newline atomically."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_whole(path, lambda unfinished: unfinished.write_text(text))


@contextlib.contextmanager
def results_folder(
    out: str | None, *, kind: str, files: Sequence[str], command: str, resume: bool | None = False
) -> Iterator[Path]:
    """Yield a folder without `files` and without another run: `out`, or a new runs/<kind>-N.

    The folder is created if it does not exist. Inside the block it is locked for this process,
    named `command`; see `vbs.lock.owned`. The first of the files is its record; see
    `status_after`.

    resume  whether `out` is a run to resume, already locked by `resumed_folder`. None if the
            command cannot resume.

    Raises ValueError if the folder cannot be written, contains results or is in use.
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
            other = _record_of_another(folder, files)
            if not (other or _first_of(folder, files)):
                folder.mkdir(parents=True, exist_ok=True)
                check_writable(folder)
                stack.enter_context(owned(folder, command))
            held = _first_of(folder, files)
        except OSError as error:
            raise ValueError(f"out: {folder} cannot be written ({error.strerror})") from None
        if other:
            raise ValueError(f"out: {folder} holds another run ({other}); use another --out")
        if held:
            how = "" if resume is None else "use --resume to continue it, or "
            raise ValueError(f"out: {folder} already holds {held}; {how}use another --out")
        stack.enter_context(_resumable(folder / files[0]))
        yield folder


def check_name(out: str) -> None:
    """Raise ValueError if the name of a results folder is empty or blank."""
    if not out:
        raise ValueError("out: the name of the folder is empty")
    if not all(part.strip() for part in Path(out).parts):
        raise ValueError(f"out: {quoted(out)} contains a blank name; use another --out")


@contextlib.contextmanager
def _resumable(record: Path) -> Iterator[None]:
    """Apply `status_after`, and add the command that resumes to failures of the infrastructure."""
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
    """Lock the folder `out` for this process inside the block if `resume` is true.

    Enter this block before reading the record of the folder. Other problems of the folder are
    reported by the code that reads it. Raises ValueError if another process uses the folder.
    """
    folder = Path(out) if resume and out else None
    with owned(folder, command):
        yield


@contextlib.contextmanager
def status_after(record: Path) -> Iterator[None]:
    """Change the status "running" of a JSON record when an exception leaves the block.

    The status becomes "interrupted" after KeyboardInterrupt, otherwise "failed".
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


def folder_problem(path: str | Path) -> str:
    """Return why a path is no folder: "does not exist" or "is not a folder"."""
    return "is not a folder" if os.path.lexists(path) else "does not exist"


def file_problem(path: str | Path) -> str:
    """Return why a path is no file: "does not exist" or "is not a file"."""
    return "is not a file" if os.path.lexists(path) else "does not exist"


def _first_of(folder: Path, files: Sequence[str]) -> str | None:
    return next((name for name in files if (folder / name).exists()), None)


def _record_of_another(folder: Path, files: Sequence[str]) -> str | None:
    """Return the name of a record that is not in `files`: JSON with `circumstances`."""
    for path in sorted(folder.glob("*.json")):
        if path.name not in files and path.is_file():
            with contextlib.suppress(ValueError, RecursionError):
                known = json.loads(path.read_bytes())
                if isinstance(known, dict) and {"versions", "machine"} <= known.keys():
                    return path.name
    return None


def _numbered_folder(kind: str) -> Path:
    """Create runs/<kind>-N with the first free N; mkdir is atomic, as runs may start together."""
    number = 1
    while True:
        folder = Path("runs", f"{kind}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise ValueError(f"out: {folder} cannot be created ({error.strerror})") from None
        else:
            return folder


def check_writable(folder: Path) -> None:
    """Raise OSError if no files can be created in the folder."""
    write_whole(folder / f".writable-{os.getpid()}", lambda path: path.write_text(""))
    (folder / f".writable-{os.getpid()}").unlink()


def circumstances(packages: Iterable[str]) -> dict[str, Any]:
    """Return the versions (None if not installed) and the machine, for a record."""
    versions = {name: _version(name) for name in ("vision-baseline-search", *packages)}
    return {
        "versions": {"python": platform.python_version(), **versions},
        "machine": f"{platform.system()} {platform.machine()}, {_cpus()} CPUs",
    }


def _cpus() -> str:
    """Return the number of CPUs, and how many this process may use if they are fewer."""
    available, every = available_cpus(), os.cpu_count()
    return str(every) if every in (None, available) else f"{available} of {every}"


@functools.cache
def _version(package: str) -> str | None:
    import importlib.metadata  # heavy: it imports email

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
