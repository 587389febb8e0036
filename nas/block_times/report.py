"""Printed report of a table of block times."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from nas.block_times.config import TimingOptions
from nas.block_times.lookup import accuracy, cached_path, setting_of
from nas.block_times.run import BlockTimesResult
from nas.block_times.table import Times
from nas.data_space import search_form, space_form
from search_spaces.space import SearchSpace
from train.options import TrainingOptions, WorkerOptions
from vbs.command import python_command
from vbs.console import print_out
from vbs.text import next_steps, shell_word
from vbs.units import short_seconds


def show_result(result: BlockTimesResult) -> None:
    """Print the table by operation, its error, and the next steps."""
    times, the_space, path = result.times, result.space, result.path
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
    print_out(*next_steps(_next(result, middle)))


def summary(times: Times) -> list[str]:
    """Return the printed table by operation: number, shortest, median and longest time, spread."""
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


def _next(result: BlockTimesResult, target: str) -> list[str]:
    """Return commands for the next steps; the search uses this table."""
    config, the_space, path = result.config, result.space, result.path
    python = python_command()
    assert config.space is not None  # see measure_block_times
    search = search_form(config.space, the_space.settings)
    form = space_form(config.space, the_space.settings)
    own = path.is_file() and path.resolve() != _looked_for(the_space, config.kind).resolve()
    table = f" --times {shell_word(str(path))}" * own
    other = "step_time" if config.kind == "latency" else "latency"
    target_name = config.kind.replace("_", "-")
    return [
        f"{python} -m nas.search {search} --target-{target_name} {target}{table}",
        f"{python} -m nas.block_times {form} --kind {other}",
    ]


def _looked_for(the_space: SearchSpace, kind: str) -> Path:
    """Return the table that a search uses by default for a space and a target of that kind."""
    device, recipe = WorkerOptions.device, TrainingOptions.recipe
    return cached_path(
        the_space, setting_of(TimingOptions(kind=kind, device=device, recipe=recipe))
    )
