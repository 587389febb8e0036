"""Run of a baseline: `run_baseline` executes its steps and writes the report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from nas.parents.run import prepare_search
from nas.search.job import prepared
from scaling.baseline import steps
from scaling.baseline.chain import Chain
from scaling.baseline.config import COMMAND, RECIPE, RECORD, STEPS, BaselineConfig
from scaling.baseline.page import write_report
from scaling.baseline.parent_page import write_parent_report
from scaling.baseline.report import BaselineResult
from scaling.options import ComparisonOptions
from scaling.trainings import free_resolution, measuring_of
from train.parser import check_device
from vbs.console import print_err
from vbs.folder import check_name, results_folder, status_after
from vbs.lock import owned
from vbs.options import words_of
from vbs.paths import absolute
from vbs.text import counted
from vbs.units import quantity_text, seconds_text


def run_baseline(
    config: BaselineConfig, *, out: str | Path | None = None, dry_run: bool = False
) -> BaselineResult | int:
    """Run all incomplete steps of a baseline, as `python -m scaling.baseline` does.

    out      folder for all results; an earlier baseline with the same config is resumed.
             Default: a new runs/baseline-N.
    dry_run  print the steps and return the exit code.

    Raises ValueError for invalid options, including those of later steps, and if the folder
    contains another baseline; `vbs.failures.Failure` if a step fails; KeyboardInterrupt after
    Ctrl-C.
    """
    resolved = _resolved(config)
    place = None
    if out is not None:
        check_name(str(out))
        place = absolute(out, what="out")
    if dry_run:
        if place is not None:
            Chain(place, resolved)  # raises if the folder contains another baseline
        print_err(*plan(resolved, "a new runs/baseline-N" if place is None else f"{place}/"))
        return 0
    with _folder(place) as folder:
        chain = Chain(folder, resolved)
        print_err(*plan(resolved, f"{folder}/"))
        chain.write("running")
        for step in _steps(resolved):
            step(chain)
        chain.write("finished")
        words = words_of(COMMAND, config, out=folder)
        write = write_report if config.parent is None else write_parent_report
        page = write(folder, command=["python", "-m", COMMAND.program, *words])
        return BaselineResult(folder, resolved, page)


@contextlib.contextmanager
def _folder(place: Path | None) -> Iterator[Path]:
    """Yield the folder of a baseline, locked inside the block; None: a new folder."""
    if place is None:
        with results_folder(
            None, kind=COMMAND.kind, files=(RECORD,), command=COMMAND.program, resume=None
        ) as folder:
            yield folder.resolve()
        return
    place.mkdir(parents=True, exist_ok=True)
    with owned(place, COMMAND.program), status_after(place / RECORD):
        yield place


def _steps(config: BaselineConfig) -> Sequence[Callable[[Chain], None]]:
    if config.parent is not None:
        return (steps.search,)
    return (steps.search, steps.finalists, steps.grid, steps.family, steps.train)


def plan(config: BaselineConfig, place: str) -> list[str]:
    """Return a description of the steps in a few lines."""
    if config.parent is not None:
        return _plan_of_parent(config, place)
    assert config.target_flops is not None
    seeds = counted(config.seeds, "seed")
    what = {
        "search": f"up to {counted(config.budget, 'network')} of space {config.space} within "
        f"{quantity_text(config.target_flops)} FLOPs, by trainings of {config.fidelity}",
        "finalists": f"the best {config.finalists}, {seeds} each, with the whole recipe",
        "grid": f"{config.candidates} ways to grow and 3 controls, {seeds} each, by trainings of "
        f"{config.fidelity}",
        "family": f"members {config.phi}, each step {config.growth:g} times the FLOPs; timed here",
        "train": f"the members whose trainings fit into {seconds_text(config.train_time)} "
        "together; a finalist is not trained again",
    }
    shown = [f"  {name:10s}{'skipped' if name in config.skip else what[name]}" for name in STEPS]
    return [*shown, f"results go to {place}; each step reports how long it takes"]


def _plan_of_parent(config: BaselineConfig, place: str) -> list[str]:
    each = steps.search_config(config).of_targets()
    sizes = ", ".join(quantity_text(search.target_flops or 0.0) for search in each)
    return [
        f"  search    inside {config.parent} within {sizes} FLOPs: the parent is fine-tuned, up to "
        f"{counted(config.budget, 'network')} are scored for each, and the best "
        f"{config.finalists} fine-tuned with {counted(config.seeds, 'seed')}",
        f"results go to {place}; the step reports how long it takes",
    ]


def _resolved(config: BaselineConfig) -> BaselineConfig:
    """Return the config with all defaults resolved; raise ValueError if a step would reject it."""
    check_device(config.device, local=config.address is None)
    if config.device == "cpu" and config.gpus is None:
        config = replace(config, gpus=0.0)
    if config.parent is not None:
        prepare_search(steps.search_config(config))
        return config
    trainings = ComparisonOptions(
        changes=config.changes,
        data=config.data,
        data_root=config.data_root,
        recipe=RECIPE,
        fidelity=config.fidelity,
    )
    measuring = measuring_of(trainings)
    if "grid" not in config.skip:
        free_resolution(measuring)
    config = replace(config, fidelity=config.fidelity or str(measuring.fidelity))
    measuring_of(replace(trainings, fidelity=""))
    prepared(steps.search_config(config), None)
    return config
