"""`python -m nas.block_times`: how long networks of a space take on this machine, without running
them.

Measures every block of a space once (forward, or forward, backward and update), shows the table,
how well it predicts whole networks that it was not made from, and where it is kept. A search that
is given `--target-latency 20ms` or `--max-step-time 0.5s` uses the table, and measures it first
where there is none. The format of the file, for times of other machines: `nas.block_times.table`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.block_times.table import FORMAT, Times, block_names, read_times
from nas.data_space import SMALL
from nas.storage.cache import default_folder
from search_spaces.catalog import SPACES, one_of, space
from search_spaces.cost import MEASURED
from search_spaces.space import SearchSpace
from train.options import TrainingOptions, WorkerOptions
from vbs.command import Parser, python_command, run_command
from vbs.console import print_err, print_out
from vbs.lock import owned
from vbs.text import next_steps, shell_word, shortened
from vbs.units import parse_seconds, short_seconds

if TYPE_CHECKING:
    from nas.block_times.timing import Setting

BATCH = {"latency": 1, "step_time": 32}  # images at a time, unless told
SECONDS = "60s"  # of measuring
MOST_ERROR = 0.07  # median, of whole networks; above it a table is warned of


def times_for(
    space: SearchSpace,
    *,
    kind: str,
    batch: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    precision: str = "auto",
    recipe: str = "proxy",
    path: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Times:
    """The table of a space's block times: from the file `path`, or of this machine.

    Of this machine it is measured once, which takes a minute or more, and found again by machine,
    settings and blocks in ~/.cache/vision-baseline-search/times (or under $XDG_CACHE_HOME).

    kind   "latency" or "step_time".
    batch  images at a time; None: 1 for a latency, 32 for a training step.
    say    gets a line when something is measured, on what and how long, and one on the error
           of the table, measured or found again, with a warning above 7%; stderr by default,
           where the latter stands once. Of a file it gets nothing.

    ValueError where the file is no table of that kind, or settings cannot be.
    """
    one_of("kind", kind, MEASURED)
    if path is not None:
        times = read_times(Path(path))
        if times.kind != kind:
            raise ValueError(f"block times: {path} holds {times.kind}, not {kind}")
        return times
    from nas.block_times.timing import Setting

    setting = Setting(
        kind, BATCH[kind] if batch is None else batch, device, threads, precision, recipe
    )
    kept = cached_path(space, setting)
    if kept.is_file():
        try:
            times = read_times(kept)
        except ValueError as error:
            (say or _stderr)(f"{error}; it is measured again")
        else:
            (say or _once)(_told(times, kept))
            return times
    return _measured(space, setting, kept, parse_seconds(SECONDS), say)


def cached_path(space: SearchSpace, setting: Setting) -> Path:
    """Where the table of this machine for these settings and the blocks of this space is kept."""
    import torch

    from nas.block_times.measure import machine

    names = block_names(space)
    known_by = [FORMAT, machine(setting), torch.__version__, asdict(setting), names]
    digest = hashlib.sha256(json.dumps(known_by, sort_keys=True).encode()).hexdigest()
    return default_folder().parent / "times" / f"{setting.kind}-{digest[:16]}.json"


def _measured(
    space: SearchSpace, setting: Setting, path: Path, seconds: float,
    say: Callable[[str], None] | None,
) -> Times:  # fmt: skip
    """Measure, and keep the table; one that cannot be kept is used all the same."""
    from nas.block_times.measure import measure

    times = measure(space, setting, seconds=seconds, say=say or _stderr)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        times.write(path)
    except OSError as error:
        (say or _stderr)(
            f"block times: {path} cannot be written ({error.strerror}); the table is not kept"
        )
        (say or _once)(_told(times, None))
    else:
        (say or _once)(_told(times, path))
    return times


def _stderr(line: str) -> None:
    print_err(line)


@functools.cache
def _once(line: str) -> None:
    """A search asks for its table more than once."""
    _stderr(line)


def _told(times: Times, path: Path | None) -> str:
    """A line on how far a table can be trusted, and where it is."""
    error = times.checked.get("median_error")
    poor = isinstance(error, int | float) and error > MOST_ERROR
    doubt = times.checked.get("doubt")
    where = "" if path is None else f"; kept in {path}"
    if isinstance(doubt, str):
        where = f" (measured on a busy machine: {shortened(doubt)}){where}"
    again = (
        f" (more than {MOST_ERROR:.0%}: measure again while the machine does nothing else, by "
        "python -m nas.block_times)"
    )
    warning = "warning: " * (poor or isinstance(doubt, str))
    return f"block times: {warning}{times.kind}: {accuracy(times)}{again * poor}{where}"


def accuracy(times: Times) -> str:
    """A sentence on how well whole networks were predicted, as far as the table says."""
    found = times.checked
    try:
        return (
            f"on {found['test_networks']} other networks the median error is "
            f"{found['median_error']:.1%}, the largest {found['largest_error']:.1%}, "
            f"Kendall tau {found['kendall_tau']:.2f}"
        )
    except (KeyError, ValueError, TypeError, OverflowError):
        return "the table does not say how well it predicts whole networks"


def summary(times: Times) -> list[str]:
    """The table by operation: blocks, their shortest, median and longest time, their spread."""
    groups: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for name, pair in times.blocks.items():
        groups[name.split()[0]].append(pair)
    lines = [f"{'block':12}{'forms':>7}{'shortest':>11}{'median':>11}{'longest':>11}{'spread':>9}"]
    for op, pairs in groups.items():
        seconds, spread = np.array(pairs).T
        shown = (seconds.min(), np.median(seconds), seconds.max())
        cells = "".join(f"{short_seconds(float(value)):>11}" for value in shown)
        lines.append(f"{op[:12]:12}{len(pairs):7}{cells}{np.median(spread / seconds):9.0%}")
    return lines


def _arguments(texts: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m nas.block_times", allow_abbrev=False,
        description="Measure how long every block of a space takes on this machine.",
    )  # fmt: skip
    add = parser.add_argument
    add("--space", default="efficientnet", metavar="|".join(SPACES), help="default efficientnet")
    add("--kind", default="latency", metavar="latency|step_time", help="forward pass, or training "
        "step (default latency)")  # fmt: skip
    add("--batch", type=int, metavar="N", help="images at a time (default 1; step_time: 32)")
    add("--resolution", type=int, default=224, metavar="PX", help="input side (default 224)")
    add("--classes", type=int, default=1000, metavar="N", help="default 1000")
    add("--width", type=float, default=1.0, metavar="X", help="multiplies all channels")
    add("--small-images", action="store_true", help="fewer strides (default: up to 64 px)")
    add("--device", default="cpu", metavar="cpu|cuda", help="default cpu")
    add("--threads", type=int, default=1, metavar="N", help="of a CPU (default 1)")
    add("--precision", default="auto", metavar="float32|bfloat16|auto", help="default auto")
    add("--recipe", default="proxy", metavar="NAME", help="whose optimizer a step has")
    add("--seconds", default=SECONDS, metavar="TIME", help=f"of measuring (default {SECONDS})")
    add("--out", metavar="FILE", help="where to keep the table (default: where searches look)")
    return parser.parse_args(texts)


def run(texts: list[str] | None = None) -> int:
    """The command: measure, keep, show."""
    given = _arguments(texts)
    given.small_images |= given.resolution <= SMALL  # as searches have it
    seconds = parse_seconds(given.seconds, what="--seconds")
    one_of("kind", given.kind, MEASURED)
    the_space = space(
        given.space, resolution=given.resolution, classes=given.classes, width=given.width,
        small_images=given.small_images,
    )  # fmt: skip
    from nas.block_times.timing import Setting

    batch = BATCH[given.kind] if given.batch is None else given.batch
    setting = Setting(given.kind, batch, given.device, given.threads, given.precision, given.recipe)
    path = cached_path(the_space, setting) if given.out is None else Path(given.out)
    if path.is_dir() or (given.out is not None and not os.access(path.parent, os.W_OK)):
        raise ValueError(f"--out: {path} cannot be written")
    with contextlib.suppress(OSError):  # a table that cannot be kept is shown all the same
        path.parent.mkdir(parents=True, exist_ok=True)
    place = path.parent if os.access(path.parent, os.W_OK) else None
    with owned(place, "nas.block_times", name=f".{path.name}.owner.json"):
        times = _measured(the_space, setting, path, seconds, None)
    _show(times, the_space, path, given)
    return 0


def _show(times: Times, the_space: SearchSpace, path: Path, given: argparse.Namespace) -> None:
    setting = times.settings
    print_out(
        f"{times.kind} of the {len(times.blocks)} blocks of {the_space.name!r} at "
        f"{setting['resolution']} px: batch {setting['batch']}, {setting['device']}, "
        f"{setting['threads']} thread{'s' * (setting['threads'] > 1)}, {times.machine}"
    )
    print_out(*summary(times))
    some = times.of(the_space)(the_space.sample(1000, np.random.default_rng(0)))
    low, middle, high = (short_seconds(float(q)) for q in np.quantile(some, (0.01, 0.5, 0.99)))
    print_out(f"networks of the space take {low} to {high}, half of them up to {middle}")
    how = {"none": "the plain sum of its blocks", "scale": f"{times.scale:.3f} x that sum"}
    line = f"{short_seconds(times.constant)} + {times.scale:.3f} x the sum of its blocks"
    print_out(f"a network is predicted as {how.get(str(times.checked.get('fit')), line)}")
    print_out(accuracy(times), "", f"table: {shell_word(path)}")
    print_out(*next_steps(_next(the_space, path, given, middle)))


def _next(the_space: SearchSpace, path: Path, given: argparse.Namespace, target: str) -> list[str]:
    """What to do next, as commands; the search goes by this very table."""
    python = shell_word(python_command())
    form = f"--space {given.space}"
    for name, usual in (("resolution", 224), ("classes", 1000), ("width", 1.0)):
        value = getattr(given, name)
        form += f" --{name} {value}" if value != usual else ""
    small = " --small-images" * (given.small_images and given.resolution > SMALL)
    search = form + small
    if given.space != "efficientnet" or the_space.settings != space("efficientnet").settings:
        # which no surrogate knows; unasked, such a search takes classes and side of its images
        search = f"--evaluator proxy --data imagefolder:DIR --space {given.space} --resolution "
        search += f"{given.resolution}{f' --width {given.width}' * (given.width != 1.0)}{small}"
    own = path.is_file() and path.resolve() != _looked_for(the_space, given.kind).resolve()
    table = f" --times {shell_word(str(path))}" * own
    other = "step_time" if given.kind == "latency" else "latency"
    target_name = given.kind.replace("_", "-")
    return [
        f"{python} -m nas.search {search} --target-{target_name} {target}{table}",
        f"{python} -m nas.block_times {form}{small} --kind {other}",
    ]


def _looked_for(the_space: SearchSpace, kind: str) -> Path:
    """The table that a search takes which is told nothing but its space and target."""
    from nas.block_times.timing import Setting

    device, recipe = WorkerOptions.device, TrainingOptions.recipe
    return cached_path(the_space, Setting(kind, BATCH[kind], device, recipe=recipe))


def main(texts: list[str] | None = None) -> int:
    """0, 2 with one line on stderr for a user's mistake, 130 for Ctrl-C."""
    return run_command(
        "nas.block_times", lambda: run(texts), interrupted="interrupted; nothing was kept"
    )
