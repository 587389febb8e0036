"""Classification of failures: out of memory, infrastructure, or the network itself."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vbs.failures import (
    InfrastructureError,
    infrastructure_error,
    is_infrastructure,
    is_out_of_memory,
    reason_of,
    recorded_infrastructure,
)
from vbs.folder import write_json

# texts of torch 2.14, oneDNN and CUDA, from their binaries
MEMORY = [
    MemoryError(),
    MemoryError("std::bad_alloc"),
    RuntimeError("std::bad_alloc"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 4294967296 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    RuntimeError("could not create a primitive"),
    RuntimeError("could not execute a primitive"),
    RuntimeError("could not create a memory object"),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]
INFRASTRUCTURE = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    OSError(errno.EROFS, "Read-only file system"),
    OSError(errno.ESTALE, "Stale file handle"),
    OSError(errno.EFBIG, "File too large"),
    PermissionError(errno.EACCES, "Permission denied", "/data/1.jpg"),
    FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/1.jpg"),
    ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    TimeoutError(errno.ETIMEDOUT, "Connection timed out"),
    RuntimeError("unable to write to file </torch_1>: No space left on device (28)"),
    RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    RuntimeError("DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that"),
    RuntimeError("can't start new thread"),
    sqlite3.OperationalError("database or disk is full"),
    zipfile.BadZipFile("File is not a zip file"),
    InfrastructureError("storage: gone"),
]
OWN = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    RuntimeError("could not create a primitive descriptor for the matmul primitive"),
    ValueError("the loss is not a number"),
    TimeoutError("took too long"),
    ZeroDivisionError(),
]


def name(error: BaseException) -> str:
    return reason_of(error)[:40]


@pytest.mark.parametrize("error", MEMORY, ids=name)
def test_memory_that_ran_out_is_recognised(error):
    assert is_out_of_memory(error)
    assert not is_infrastructure(error)
    assert "out of memory" in reason_of(error).lower()


@pytest.mark.parametrize("error", INFRASTRUCTURE, ids=name)
def test_failures_of_the_infrastructure_are_recognised(error):
    assert is_infrastructure(error)
    assert not is_out_of_memory(error)
    wrapped = RuntimeError("the training failed")
    wrapped.__cause__ = error
    assert is_infrastructure(wrapped)


@pytest.mark.parametrize("error", OWN, ids=name)
def test_failures_of_a_network_are_its_own(error):
    assert not is_infrastructure(error)
    assert not is_out_of_memory(error)


@pytest.mark.slow
def test_torch_texts_are_those_that_torch_raises():
    """The errors are provoked with a limit on the address space."""
    code = """if True:
        import resource, torch
        from vbs.failures import is_out_of_memory
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, resource.RLIM_INFINITY))
        for make in (lambda: torch.empty(2**28), lambda: [0] * 2**28):
            try:
                make()
            except Exception as error:
                print(is_out_of_memory(error))
    """
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "True"]


def test_the_error_of_a_loader_is_its_last_line():
    text = (
        "Caught FileNotFoundError in DataLoader worker process 0.\nOriginal Traceback (most "
        'recent call last):\n  File "x.py", line 1\nFileNotFoundError: [Errno 2] No such file\n'
    )
    assert reason_of(FileNotFoundError(text)) == "FileNotFoundError: [Errno 2] No such file"


def test_the_path_is_in_the_line():
    error = PermissionError(errno.EACCES, "Permission denied", "/data/1.jpg")
    assert str(infrastructure_error(error)) == "/data/1.jpg: Permission denied"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_names_the_file_that_was_written(tmp_path: Path, monkeypatch):
    def full(path: Path, text: str) -> None:
        with open("/dev/full", "w") as file:
            file.write(text)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_json(tmp_path / "search.json", {})
    assert caught.value.filename == str(tmp_path / "search.json")


@pytest.mark.parametrize(
    ("reason", "was"),
    [
        ("OSError: [Errno 28] No space left on device", True),
        ("PermissionError: [Errno 13] Permission denied: '/x'", True),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/x'", True),
        ("SafetensorError: I/O error: No space left on device (os error 28)", True),
        ("OSError: [Errno 12] Cannot allocate memory", False),
        ("out of memory with 16 images of 16 px on the device", False),
        ("timed out after 5 s", False),
        ("TimeoutError: too slow", False),
    ],
)
def test_recorded_reasons_are_recognised_safely(reason, was):
    assert recorded_infrastructure(reason) is was
