"""Connecting to Ray: a new Ray on this machine, or an existing cluster.

Errors are reported as ValueError, in one line and within seconds; Ray itself waits minutes for an
address that does not answer.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from train.cluster.probe import NotRay
from train.cluster.token import Settings, authentication, environment, own_token, settings_for
from vbs import signals
from vbs.console import print_err
from vbs.failures import Failure
from vbs.processes import available_cpus
from vbs.sockets import SHORT, check_loopback, too_long
from vbs.temporary import PREFIX, temporary_folder

MACHINE_LOST = "its machine was lost"
PROBE = 5.0  # seconds to wait for an answer from an address
LOOK = 60.0  # seconds to wait for a check on a node
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # tasks without a GPU share see no GPU
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # curves are in the store
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial may fail before its first epoch
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),  # trials are restored from the store, not from Tune
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "auto",
    "RAY_AIR_NEW_OUTPUT": "0",  # the progress display replaces it
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # keeps relative paths valid
    "RAY_TRAIN_V2_ENABLED": "1",
}
# beginnings of Ray's own errors, alone or in a traceback; RayTaskError wraps a task's error
RAYS_OWN = re.compile(
    r"ray\.exceptions\.(?!RayTaskError)\w+|"
    r"^(The actor (died|experienced|\w+ is unavailable)|The worker died|The node |"
    r"Task was killed|The task's local raylet)",
    re.MULTILINE,
)

_connection = contextlib.ExitStack()  # closed with the connection of this process


def connect(address: str | None = None, *, cpus: float | None = None) -> bool:
    """Connect this process to Ray.

    Returns True if this call connected it; the caller then has to call `disconnect`.

    address  None or "local" starts Ray on this machine: loopback only, no dashboard, no usage
             reports. "auto" is the cluster of which this machine is a node. "host:port" is the head
             of a cluster (port 6379 by default) of which this machine must be a node.
    cpus     number of CPUs of a Ray started here; None: those available to this process.

    Raises ValueError, within seconds, if the address is wrong or does not answer, and Failure if
    Ray cannot start on this machine.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(environment(QUIET))  # some are read when Ray is imported
        import ray

        if ray.is_initialized():
            return False
        try:
            _init(None if address == "local" else address, cpus, stack)
        except BaseException:  # including signals
            with signals.deferred(), contextlib.suppress(Exception):
                stack.close()
            raise
        signals.install()  # again, because Ray's C++ installs handlers that print tracebacks
        global _connection
        _connection = stack.pop_all()
        atexit.register(disconnect)  # if a signal arrives before the caller stores the result
    return True


def is_connected() -> bool:
    """Return whether this process is connected to Ray."""
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


def _init(address: str | None, cpus: float | None, stack: contextlib.ExitStack) -> None:
    """Call ray.init; its environment variables stay set until the stack is closed."""
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        # Ray would count processors that a quota does not allow
        options["num_cpus"] = available_cpus() if cpus is None else math.ceil(cpus)
        options |= {"address": "local", "include_dashboard": False, **_temporary(stack)}
        settings = own_token()
        check_loopback()
    else:
        options["address"], settings = probe(address)
    # pools report lost workers; Ray would print them in the middle of tables
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    # Ray's handler would end this process by SystemExit, without a message
    ray._private.utils.set_sigterm_handler = lambda _: None
    debugger = {name: os.environ.get(name) for name in ("PYTHONBREAKPOINT",)}  # Ray changes it
    stack.enter_context(environment(debugger))
    stack.enter_context(authentication(settings))
    stack.callback(ray.shutdown)
    try:
        with _loopback() if address is None else contextlib.nullcontext():
            ray.init(**options)
    except Exception as error:  # errors of Ray, of gRPC, or of the operating system
        if address is None:
            raise Failure(f"Ray could not start here ({_short(error)})") from None
        raise ValueError(f"address: {address} ({_short(error)})") from None


def _temporary(stack: contextlib.ExitStack) -> dict[str, str]:
    """Return options of ray.init that put all files of Ray into a temporary folder.

    The paths of its sockets are short for any TMPDIR.
    """
    above = tempfile.gettempdir()
    session = "session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store"
    if not too_long(above, f"{PREFIX}12345678/{session}"):
        return {"_temp_dir": stack.enter_context(temporary_folder(above))}
    # objects that do not fit into memory are still stored in TMPDIR
    return {
        "_temp_dir": stack.enter_context(temporary_folder(SHORT)),
        "object_spilling_directory": above,
    }


def disconnect() -> None:
    """Leave the cluster; a Ray that was started here ends with all its processes."""
    atexit.unregister(disconnect)
    _connection.close()


def node_resources() -> list[dict[str, float]]:
    """Return the resources of each living node, by Ray's names ("CPU", "GPU")."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def check_fits(
    cpus: float,
    gpus: float,
    *,
    what: str = "trial",
    count: int = 1,
    nodes: Sequence[Mapping[str, float]] | None = None,
) -> None:
    """Raise ValueError unless the nodes can run `count` processes at once.

    cpus, gpus  resources of one process; a single node must have them.
    what        name of a process, or of what it belongs to, in messages.
    nodes       resources of each node; None: those of `node_resources`.
    """
    nodes = node_resources() if nodes is None else nodes
    for name, option, wanted in (("GPU", "gpus", gpus), ("CPU", "cpus", cpus)):
        has = [node.get(name, 0.0) for node in nodes]
        most, total = max(has, default=0.0), sum(has)
        if wanted > most:
            raise ValueError(
                f"{option}: a {what} needs {wanted:g} {name}s, but no node has more than {most:g}"
            )
        if wanted * count > total:
            raise ValueError(
                f"{option}: {count} processes of a {what} need {wanted * count:g} {name}s, "
                f"but all nodes together have {total:g}"
            )
    if not any(n.get("CPU", 0.0) >= cpus and n.get("GPU", 0.0) >= gpus for n in nodes):
        raise ValueError(f"gpus: a {what} needs {cpus:g} CPUs and {gpus:g} GPUs, which no node has")


def wait_for_nodes(count: int, *, seconds: float = 900.0) -> None:
    """Wait until the cluster has `count` nodes, and print the progress.

    Nodes of a new cluster join one by one. Raises ValueError after `seconds`.
    """
    import ray

    end, seen = time.monotonic() + seconds, -1
    while (there := sum(node["Alive"] for node in ray.nodes())) < count:
        if there != seen:
            seen = there
            print_err(f"waiting for nodes: {there} of {count} have joined")
        if time.monotonic() > end:
            raise ValueError(f"nodes: {there} of {count} nodes joined within {seconds:g} s")
        time.sleep(1.0)


def total(name: str) -> float:
    """Return the number of CPUs ("CPU") or GPUs ("GPU") of all living nodes together."""
    return sum(node.get(name, 0.0) for node in node_resources())


def real_gpus(gpus: float) -> bool:
    """Return whether a node that declares this many GPUs has one; tests declare fake GPUs."""
    import ray

    task = ray.remote(_has_gpu).options(num_cpus=0, num_gpus=gpus)
    done, _ = ray.wait([task.remote()], timeout=LOOK)
    return bool(ray.get(done[0])) if done else True


def _has_gpu() -> bool:
    # NVIDIA's, AMD's and WSL's; torch would take seconds to import
    return any(any(Path("/dev").glob(name)) for name in ("nvidia[0-9]*", "kfd", "dxg"))


def death(error: BaseException | str) -> str:
    """Return why Ray lost a process, in one line, from its error or traceback.

    Ray does not report exit codes. For an error that is not Ray's own, this is its last line.
    """
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    if type(error).__module__ == "ray.exceptions":
        text = f"ray.exceptions.{text}"
    own = RAYS_OWN.search(text)
    own_text = text[own.start() :] if own else ""
    if "low on memory" in own_text or "OutOfMemoryError" in own_text:
        return "its process was killed because its machine ran out of memory"
    if "node has died" in own_text or "node died" in own_text or "NodeDiedError" in own_text:
        return MACHINE_LOST
    if "Unavailable" in own_text or "is unavailable" in own_text:
        return "its process or its machine was lost"
    if "Died" in own_text or "died" in own_text or "WorkerCrashed" in own_text:
        return "its process died (it crashed or was killed, e.g. for lack of memory)"
    return text.strip().rpartition("\n")[2][:200]


def probe(address: str) -> tuple[str, Settings]:
    """Return the head of a cluster as "host:port", and the environment that its drivers need.

    Raises ValueError unless a head answers within PROBE seconds and accepts this user.
    """
    if address == "auto":
        from ray._private.services import find_bootstrap_address

        found = os.environ.get("RAY_ADDRESS") or find_bootstrap_address(None)
        if not found:
            raise ValueError(
                "address: auto finds no Ray on this machine; start one by `ray start --head`, "
                "or leave --address out"
            )
        address = found
    if "://" in address:
        raise ValueError(
            f"address: {address} is not supported; run this on a node of the cluster with "
            "--address auto, or give its head as host:port"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"address: {address!r} is not host:port; use e.g. 10.0.0.1:6379, or auto")
    try:
        return address, settings_for(host.strip("[]"), int(port), seconds=PROBE)
    except NotRay:
        raise ValueError(
            f"address: {address} answers, but is not the head of a Ray cluster"
        ) from None
    except OSError as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else _short(error)
        raise ValueError(f"address: {address} cannot be reached ({reason})") from None


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Let processes that are started in this block listen on 127.0.0.1 only, as on macOS."""
    from ray._private import ray_constants as constants

    before = constants.ENABLE_RAY_CLUSTER
    constants.ENABLE_RAY_CLUSTER = False
    os.environ[constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # for the processes it starts
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before
        del os.environ[constants.ENABLE_RAY_CLUSTERS_ENV_VAR]


def _short(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return text[:160]
