"""Causes of failures: out of memory, infrastructure, or the work itself.

A network that runs out of memory has failed; this is recorded as its result. A full disk, lost
storage or a lost machine says nothing about the network: the work stops or is retried, and nothing
is recorded.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

REASON = 300  # maximum characters of a reason

# torch and oneDNN raise RuntimeError with these texts; the sources are c10/core/impl/alloc_cpu.cpp,
# c10/cuda/CUDACachingAllocator.cpp, oneDNN's dnnl.hpp, and the status names of cuBLAS and cuDNN
OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator: (can't|not enough)|can't allocate memory|enforce fail at alloc_cpu|"
    r"C10 Out of Memory|out of memory|std::bad_alloc|cannot allocate memory|"
    r"could not (create|execute) a primitive(?! descriptor)|could not create a memory object|"
    r"(CUBLAS|CUSOLVER|CUDNN)_STATUS_ALLOC_FAILED|CUFFT_ALLOC_FAILED|"
    r"CUDNN_STATUS_INTERNAL_ERROR_\w*ALLOCATION_FAILED|Not enough memory for workspace|"
    r"Unable to allocate [\d.]+ \w+ for an array|memory allocation of \d+ bytes failed|"
    r"DataLoader worker \(pid.{1,40}\) is killed by signal: Killed",
    re.IGNORECASE,
)
# messages of the operating system, databases and libraries about disks, mounts and limits that are
# not raised as an OSError; Rust libraries write "(os error 28)"
INFRASTRUCTURE = re.compile(
    r"No space left on device|Disk quota exceeded|Read-only file system|Input/output error|"
    r"Stale (NFS )?file handle|File too large|Too many open files|Transport endpoint is not|"
    r"\(os error \d+\)|PytorchStreamWriter failed|unable to (mmap|write to file|open shared)|"
    r"database or disk is full|disk I/O error|readonly database|unable to open database|"
    r"can't start new thread|bus error|DataLoader worker \(pid|"
    r"No CUDA GPUs are available|no CUDA-capable device|uncorrectable ECC|"
    r"devices? (is|are) busy or unavailable|CUDA driver initialization failed",
    re.IGNORECASE,
)
# parts of recorded reasons that only the operating system writes; 12 is ENOMEM
RECORDED = re.compile(
    r"^\w*(OSError|IOError|PermissionError|FileNotFoundError|NotADirectoryError|IsADirectoryError|"
    r"FileExistsError|BlockingIOError|InterruptedError|Connection\w*Error|BrokenPipeError|"
    r"TimeoutError): \[Errno (?!12\])\d+\]|"
    r"No space left on device|Disk quota exceeded|Read-only file system|Stale (NFS )?file handle|"
    r"database or disk is full"
)
# packages whose errors are caused by storage or the cluster, never by a network
STORAGE = ("sqlite3", "sqlalchemy", "psycopg", "pyarrow", "fsspec", "zipfile", "ray")


class Failure(RuntimeError):
    """A failure that is not the user's mistake; reported in one line with exit code 1."""


class InfrastructureError(Failure):
    """A failure that the evaluated network did not cause, such as a full disk or lost storage.

    Its text is one line, with the path if there is one. The exit code of commands is 1.
    """


class DataLost(InfrastructureError, ValueError):
    """Images of a data set can no longer be read, or too many of them are damaged."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the error or one of its causes is out of memory, on a CPU or a GPU."""
    return any(_ran_out(each) for each in _chain(error))


def is_infrastructure(error: BaseException) -> bool:
    """Return whether the error or one of its causes is a failure of the infrastructure."""
    return not is_out_of_memory(error) and any(_is_of_infrastructure(e) for e in _chain(error))


def recorded_infrastructure(reason: str) -> bool:
    """Return whether a recorded reason certainly names a failure of the infrastructure.

    Earlier versions recorded, for example, a full disk as the failure of a network.
    """
    return RECORDED.search(reason) is not None


def reason_of(error: BaseException) -> str:
    """Return the class and text of an error in one line; "out of memory (...)" if that is it."""
    # torch's loader includes the traceback of its process; the last line is the error itself
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines and "Original Traceback" in str(error) else " ".join(lines)
    text = " ".join(text.split())[:REASON]
    name = type(error).__name__
    if not text.startswith(f"{name}: "):
        text = f"{name}: {text}" if text else name
    named = "out of memory" in text.lower()
    return f"out of memory ({text})" if is_out_of_memory(error) and not named else text


def infrastructure_error(error: BaseException) -> InfrastructureError:
    """Convert an error of the infrastructure to an InfrastructureError with its path."""
    if isinstance(error, InfrastructureError):
        return error
    for each in _chain(error):
        if isinstance(each, OSError) and each.strerror:
            place = f"{_text(each.filename)}: " if each.filename is not None else ""
            return InfrastructureError(f"{place}{each.strerror}")
    return InfrastructureError(reason_of(error))


def _text(path: object) -> str:
    return path.decode(errors="replace") if isinstance(path, bytes) else str(path)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes."""
    seen: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in seen:
        seen.append(each)
        yield each
        # Ray wraps the error of a task
        cause = getattr(each, "cause", None)
        each = each.__cause__ or (cause if isinstance(cause, BaseException) else None)


def _ran_out(error: BaseException) -> bool:
    if isinstance(error, InfrastructureError):
        return False
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch.OutOfMemoryError and ray.exceptions.OutOfMemoryError, without importing the packages
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)) is not None


def _is_of_infrastructure(error: BaseException) -> bool:
    if isinstance(error, InfrastructureError):
        return True
    if isinstance(error, OSError):
        # a TimeoutError without errno may be a time limit of the evaluation
        return not isinstance(error, TimeoutError) or error.errno is not None
    kind = type(error)
    if kind.__module__.partition(".")[0] in STORAGE:
        return not kind.__name__.startswith("RayTaskError")  # its cause decides
    return INFRASTRUCTURE.search(str(error)) is not None
