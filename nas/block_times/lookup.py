"""Lookup of block times of this machine: in the cache, or else by measurement."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.block_times.options import BATCH, RUNTIMES, SECONDS, TimingOptions
from nas.block_times.table import FORMAT, Times, block_names, read_times
from nas.storage.cache import default_folder
from search_spaces.space import SearchSpace
from vbs.console import print_err
from vbs.text import shortened

if TYPE_CHECKING:
    from nas.block_times.timing import Setting

MOST_ERROR = 0.07  # largest median error on whole networks without a warning


def times_for(
    space: SearchSpace,
    *,
    kind: str,
    path: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    **how: Any,
) -> Times:
    """Return the table of a space's block times, from a file or measured on this machine.

    The table of this machine is measured once, which takes a minute or more. Later calls find it
    by machine, settings and blocks in ~/.cache/vision-baseline-search/times (or under
    $XDG_CACHE_HOME).

    kind  "latency" or "step_time".
    path  file of a table; None: the table of this machine.
    say   function that prints the progress of a measurement, and a line on the error of the table,
          which is a warning if the error is above 7%. None: print to stderr, and the line on the
          error only once. Nothing is printed for a table from a file.
    how   batch (default 1 for a latency, 32 for a training step), threads, device, precision and
          recipe, as in `nas.block_times.config.TimingOptions`.

    Raises ValueError if the file is not a table of that kind, and for invalid settings.
    """
    timing = TimingOptions(kind=kind, **how)
    if path is not None:
        times = read_times(Path(path))
        if times.kind != kind:
            raise ValueError(f"block times: {path} contains {times.kind}; use a file of {kind}")
        return times
    setting = setting_of(timing)
    place = cached_path(space, setting)
    if place.is_file():
        try:
            times = read_times(place)
        except ValueError as error:
            (say or _stderr)(f"{error}; it is measured again")
        else:
            (say or _once)(_trust(times, place))
            return times
    return measured(space, setting, place, seconds=SECONDS, say=say)


def setting_of(timing: TimingOptions) -> Setting:
    """Return the setting that the options describe; raises ValueError for a missing device."""
    from nas.block_times.timing import Setting

    batch = BATCH[timing.kind] if timing.batch is None else timing.batch
    return Setting(
        timing.kind,
        batch,
        timing.device,
        timing.threads,
        timing.precision,
        timing.recipe,
        timing.runtime,
    )


def cached_path(space: SearchSpace, setting: Setting) -> Path:
    """Return the cache file of this machine's table for these settings and the space's blocks."""
    return kept_path(setting, FORMAT, block_names(space))


def kept_path(setting: Setting, what: str, of: Any) -> Path:
    """Return the cache file of measured times of this machine for these settings.

    what  format of the measured times.
    of    plain data that the times depend on.
    """
    from nas.block_times.measure import machine

    known_by = [what, machine(setting), _versions(setting), _identity(setting), of]
    digest = hashlib.sha256(json.dumps(known_by, sort_keys=True).encode()).hexdigest()
    return default_folder().parent / "times" / f"{setting.kind}-{digest[:16]}.json"


def _versions(setting: Setting) -> str:
    """Return the versions of the packages that the times depend on."""
    import torch

    packages = RUNTIMES[setting.runtime]
    return " ".join([torch.__version__, *map(importlib.metadata.version, packages)])


def _identity(setting: Setting) -> dict[str, Any]:
    """Return the setting as plain data for the name of the cache file.

    Where possible, the result equals that of version 0.1, so that its cached tables are found. The
    recipe `proxy` of version 0.1 used SGD; a step time with another optimizer is a new entry.
    """
    from train.recipe import preset

    fields = asdict(setting)
    if setting.runtime == "torch":
        del fields["runtime"]
    optimizer = preset(setting.recipe).optimizer
    if setting.kind == "step_time" and optimizer not in ("sgd", "rmsprop"):
        fields["optimizer"] = optimizer
    return fields


def measured(
    space: SearchSpace,
    setting: Setting,
    path: Path,
    *,
    seconds: float,
    say: Callable[[str], None] | None = None,
) -> Times:
    """Measure a table and write it to a file; a file that cannot be written is a warning."""
    from nas.block_times.measure import MeasuringPlan, measure

    times = measure(space, setting, MeasuringPlan(seconds=seconds), say=say or _stderr)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        times.write(path)
    except OSError as error:
        (say or _stderr)(
            f"block times: {path} cannot be written ({error.strerror}); the table is not cached"
        )
        (say or _once)(_trust(times, None))
    else:
        (say or _once)(_trust(times, path))
    return times


def _stderr(line: str) -> None:
    print_err(line)


@functools.cache
def _once(line: str) -> None:
    """Print a line only once, because a search reads its table several times."""
    _stderr(line)


def _trust(times: Times, path: Path | None) -> str:
    """Return a line on the error of a table, and its file."""
    error = times.checked.get("median_error")
    poor = isinstance(error, int | float) and error > MOST_ERROR
    doubt = times.checked.get("doubt")
    where = "" if path is None else f"; table: {path}"
    if isinstance(doubt, str):
        where = f" (measured on a busy machine: {shortened(doubt)}){where}"
    again = (
        f" (more than {MOST_ERROR:.0%}: measure again while the machine is idle, by "
        "python -m nas.block_times)"
    )
    warning = "warning: " * (poor or isinstance(doubt, str))
    return f"block times: {warning}{times.kind}: {accuracy(times)}{again * poor}{where}"


def accuracy(times: Times) -> str:
    """Return a clause on the error of a table on whole networks, if the table contains it."""
    found = times.checked
    try:
        return (
            f"on {found['test_networks']} other networks the median error is "
            f"{found['median_error']:.1%}, the largest {found['largest_error']:.1%}, "
            f"Kendall tau {found['kendall_tau']:.2f}"
        )
    except (KeyError, ValueError, TypeError, OverflowError):
        return "the table does not contain its error on whole networks"
