"""Examination of this installation: packages, devices, Ray, a database, display and caches."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import locale
import os
import platform
import resource
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from vbs.doctor.config import DoctorConfig
from vbs.paths import cache_folder
from vbs.processes import available_cpus
from vbs.text import printable, shortened
from vbs.version import VERSION

REQUIRED = (
    "numpy",
    "pandas",
    "pyarrow",
    "torch",
    "torchvision",
    "timm",
    "optuna",
    "sqlalchemy",
    "ray",
    "fvcore",
    "matplotlib",
    "rich",
)
# package -> (extra that installs it, its purpose)
OPTIONAL = {
    "onnx": ("onnx", "export to ONNX"),
    "onnxruntime": ("onnx", "check of exported networks"),
    "openvino": ("openvino", "export to OpenVINO"),
    "psycopg": ("postgresql", "searches with a PostgreSQL database"),
    "optuna-dashboard": ("dashboard", "a page for running searches"),
    "tensorboard": ("tensorboard", "curves in TensorBoard"),
}
NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "lustre", "fuse", "9p")
GIB = 2**30
FEW_FILES = 4096  # with fewer allowed open files, Ray and loader processes may fail
SMALL_MEMORY = 1.0  # GiB; with less free space in /dev/shm, loader processes may fail


@dataclass(frozen=True)
class Examination:
    """Result of an examination.

    facts     lines by section.
    missing   requirements without which commands fail.
    warnings  lines about problems that may occur.
    """

    facts: dict[str, list[str]]
    missing: list[str]
    warnings: list[str]

    @property
    def exit_code(self) -> int:
        """1 if a requirement is missing, otherwise 0."""
        return 1 if self.missing else 0


def examine(config: DoctorConfig) -> Examination:
    """Examine packages, devices, Ray, a database, the display and caches without changing them."""
    found = Examination({}, [], [])
    sections: dict[str, Callable[[Examination], Iterable[str]]] = {
        "versions": _versions,
        "machine": _machine,
        "GPUs": _gpus,
        "Ray": _ray,
        "database": lambda seen: _database(config.storage, seen),
        "display": _display,
        "folders": _folders,
    }
    for name, section in sections.items():
        try:
            found.facts[name] = [printable(line) for line in section(found)]
        except Exception as error:  # this command must also report broken packages
            reason = f"{type(error).__name__}: {shortened(str(error))}"
            found.facts[name] = [f"could not be examined ({reason})"]
            found.missing.append(f"{name}: {reason}")
    return found


def _versions(found: Examination) -> Iterable[str]:
    yield f"vision-baseline-search {VERSION}, Python {platform.python_version()}"
    known = {name: _version(name) for name in (*REQUIRED, *OPTIONAL)}
    yield ", ".join(f"{name} {known[name] or 'missing'}" for name in REQUIRED)
    yield ", ".join(f"{name} {known[name] or 'not installed'}" for name in OPTIONAL)
    for name in REQUIRED:
        if known[name] is None:
            found.missing.append(f"{name}: pip install {name}")
    for name, (extra, use) in OPTIONAL.items():
        if known[name] is None:
            found.warnings.append(
                f"{name} is not installed ({use}): pip install 'vision-baseline-search[{extra}]'"
            )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine(found: Examination) -> Iterable[str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    yield f"{platform.platform()}, {platform.machine()}"
    yield f"{available_cpus()} CPUs may be used, {memory:.1f} GiB of memory"
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    shared = _free("/dev/shm")
    yield f"{files:,} open files allowed, {shared:.1f} GiB free in /dev/shm"
    if files < FEW_FILES:
        found.warnings.append(f"only {files:,} open files are allowed; use ulimit -n {FEW_FILES}")
    if shared < SMALL_MEMORY:
        found.warnings.append(
            "/dev/shm is small: loader processes and Ray may fail; in a container, use --shm-size"
        )


def _free(place: str | Path) -> float:
    """Return the free GiB of a file system; 0 if the path does not exist."""
    try:
        return shutil.disk_usage(place).free / GIB
    except OSError:
        return 0.0


def _gpus(found: Examination) -> Iterable[str]:
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        yield "none" if built else "none (torch was built for CPUs only)"
        return
    for index in range(torch.cuda.device_count()):
        known = torch.cuda.get_device_properties(index)
        yield f"cuda:{index} {known.name}, {known.total_memory / GIB:.0f} GiB"
    yield f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"


def _ray(found: Examination) -> Iterable[str]:
    token = Path.home() / ".ray" / "auth_token"
    address = os.environ.get("RAY_ADDRESS")
    yield f"RAY_ADDRESS {'is ' + address if address else 'not set'}"
    mode = os.environ.get("RAY_AUTH_MODE", "not set")
    yield f"RAY_AUTH_MODE {mode}, {'a' if token.is_file() else 'no'} token in ~/.ray/auth_token"


def _database(storage: str | None, found: Examination) -> Iterable[str]:
    if storage is None:
        yield "not examined; use --storage URL"
        return
    import sqlalchemy

    url = sqlalchemy.engine.make_url(storage)
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            version = connection.dialect.server_version_info or ()
            shown = ".".join(map(str, version))
            yield f"{url.render_as_string(hide_password=True)}: connected, {url.drivername} {shown}"
    finally:
        engine.dispose()


def _display(found: Examination) -> Iterable[str]:
    backend = os.environ.get("MPLBACKEND", "not set")
    yield f"MPLBACKEND {backend} (commands always draw figures with Agg)"
    terminal = "a terminal" if sys.stdout.isatty() else "not a terminal"
    yield f"stdout {sys.stdout.encoding}, {terminal}; locale {locale.getlocale()[0]}"
    if sys.stdout.encoding.lower().replace("-", "") != "utf8":
        found.warnings.append("stdout is not UTF-8: some characters are replaced in tables")


def _folders(found: Examination) -> Iterable[str]:
    cache = cache_folder()
    for what, place in (("cache", cache), ("results", Path("runs").resolve())):
        yield f"{what} {_shown(place)}: {_state(place, found)}"
    data = os.environ.get("VBS_DATA")
    yield f"data sets {_shown(Path(data)) if data else _shown(cache / 'data')}"


def _state(place: Path, found: Examination) -> str:
    """Describe whether a folder is writable, its free space and its file system."""
    there = next(each for each in (place, *place.parents) if each.exists())
    free = f"{_free(there):.1f} GiB free"
    if not os.access(there, os.W_OK):
        found.warnings.append(f"{_shown(place)} cannot be written")
        return f"cannot be written, {free}"
    kind = _file_system(there)
    network = kind.startswith(NETWORK_FILE_SYSTEMS)
    if network:
        found.warnings.append(
            f"{_shown(place)} is on a network file system ({kind}); a study.db there is not safe "
            "with several machines: use --storage postgresql://..."
        )
    return f"{'can be written' if place.exists() else 'not created'}, {free}, {kind or 'unknown'}"


def _file_system(place: Path) -> str:
    """Return the type of the file system of a path; "" if unknown."""
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return ""
    mounts = [line.split()[1:3] for line in lines]
    holding = [
        (point.replace("\\040", " "), kind)
        for point, kind in mounts
        if place.resolve().is_relative_to(point.replace("\\040", " "))
    ]
    return max(holding, key=lambda each: len(each[0]), default=("", ""))[1]


def _shown(place: Path) -> str:
    """Return the path with the home folder as ~, which hides the user's name."""
    home = Path.home()
    return f"~/{place.relative_to(home)}" if place.is_relative_to(home) else str(place)
