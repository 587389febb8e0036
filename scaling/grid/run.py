"""Run of a grid: `run_grid` trains or predicts its candidates."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.block_times.whole import measured
from nas.data_space import SMALL, fitting_side
from nas.storage.database import Database
from scaling.compound import Rules
from scaling.grid.config import (
    COMMAND,
    FIGURE,
    FINE,
    NARROW,
    NARROWEST,
    PROXY_FLOPS,
    PROXY_SIDE,
    RECORD,
    GridConfig,
)
from scaling.grid.growth import Candidate, ProxySize, candidates, proxy_base, spread
from scaling.grid.published import PublishedGrid, base_accuracy, predicted_grid
from scaling.grid.record import Record, read
from scaling.grid.report import GridResult, finished, print_preview, table
from scaling.measured_times import trusted
from scaling.options import DATA, ComparisonOptions
from scaling.training_result import Result
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.loading import load
from vbs.config import flag, given_values, options
from vbs.config_file import resumed
from vbs.console import print_err, print_out
from vbs.folder import results_folder
from vbs.page.parts import REPORT
from vbs.processes import available_cpus
from vbs.runs import opened_run
from vbs.signals import interrupted_with
from vbs.units import short

# options that have no effect without trainings; the device is used to measure times
TRAINED = {
    *(set(options(ComparisonOptions)) - {"data", "device", "recipe"}),
    *("seeds", "candidates", "small_images", "study"),
    *("proxy_width", "proxy_resolution", "proxy_flops"),
}

if TYPE_CHECKING:
    from nas.search.setup import Measuring
    from scaling.trainings import Trainings


def run_grid(
    config: GridConfig | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    changes: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    retry_failed: bool = False,
) -> GridResult | PublishedGrid | int:
    """Find how a baseline should grow, as `python -m scaling.grid` does.

    With `config.data`, candidates are trained on those images. Without it, their gains are
    predicted from published trainings.

    out           results folder; default: a new runs/grid-N.
    resume        whether to resume the grid in `out`; its config is read from there.
    changes       options of a resumed grid that change, such as {"seeds": 6}.
    dry_run       print the candidates without training, and return the exit code.
    retry_failed  whether a resumed grid repeats failed trainings.

    Raises ValueError for invalid options, and KeyboardInterrupt after Ctrl-C.
    """
    place = None if out is None else str(out)
    if retry_failed and not resume:
        raise ValueError("--retry-failed: needs --resume --out DIR")
    with opened_run(COMMAND, config, out=out, resume=resume, changes=changes) as earlier:
        if earlier is not None:
            config = resumed(GridConfig, changes or {}, earlier / RECORD, what=COMMAND.noun)
        assert config is not None  # see opened_run
        if dry_run or (config.data is None and not resume):
            with interrupted_with("interrupted"):
                return _listed(config) if dry_run else _predicted(config, place)
        if config.data is None:
            raise ValueError(
                f"resume: the grid in {place} was predicted, and nothing is left to train; "
                "leave --resume out, and use another --out"
            )
        return _prepared(config, place, resume=resume, retry_failed=retry_failed)


def _predicted(config: GridConfig, out: str | None) -> PublishedGrid:
    """Return the candidates of the base with gains predicted from published trainings."""
    base = load(config.base)
    unused = [name for name in given_values(config) if name in TRAINED]
    if unused:
        name = flag(unused[0], GridConfig)
        raise ValueError(
            f"{name}: without --data nothing is trained; add --data, e.g. --data {DATA}, or leave "
            f"{name} out"
        )
    top1 = base_accuracy(config)  # checked first, because candidates of large bases take long
    return predicted_grid(config, base, top1, _candidates(config, base), out)


def _prepared(
    config: GridConfig, out: str | None, *, resume: bool, retry_failed: bool
) -> GridResult:
    from scaling.trainings import Trainings, free_resolution, measuring_of, slots

    if not resume:
        load(config.base)  # an invalid base is reported before images are downloaded
    measuring = measuring_of(config)
    config = replace(config, fidelity=config.fidelity or str(measuring.fidelity))
    free_resolution(measuring)
    if resume:
        base, found = read(Path(out or "", RECORD))
    else:
        base = _proxy(config, measuring)
        found = spread(_candidates(config, base), config.candidates)
    _report_few(config, found)
    places = slots(config)
    _check_storage(config.storage)
    with results_folder(
        out,
        kind="grid",
        files=(RECORD, FIGURE, REPORT, "study.db"),
        command="scaling.grid",
        resume=resume,
    ) as folder:
        record = Record(folder, config, base, found, measuring, resumed=resume)
        trainings = Trainings(
            options=config, measuring=measuring, seeds=config.seeds, folder=folder, places=places
        )
        print_preview(config, trainings, base, found)
        known = _trained(trainings, found, record, retry_failed=retry_failed)
        return finished(record, known)


def _trained(
    trainings: Trainings, found: Sequence[Candidate], record: Record, *, retry_failed: bool
) -> dict[str, Result]:
    """Run the missing trainings."""
    from scaling.trainings import progress_of, train_all

    networks = {each.name: each.architecture for each in found}
    try:
        with progress_of(len(found) * trainings.seeds, record.scored) as show:

            def update(known: dict[str, Result]) -> None:
                record.write(known, "running")
                show(known)

            return train_all(networks, trainings, update=update, retry_failed=retry_failed)
    except BaseException as error:
        record.end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise


def _report_few(config: GridConfig, found: Sequence[Candidate]) -> None:
    """Print a line if the grid has fewer candidates than --candidates."""
    free = sum(not each.is_control for each in found)
    if free < config.candidates:
        print_err(
            f"{free} candidates are within {100 * config.tolerance:g}% of the growth; a "
            "larger --tolerance or a smaller --step gives more"
        )


def _check_storage(storage: str | None) -> None:
    """Raise ValueError for an unusable database before anything is created."""
    if storage is not None:
        Database(storage).close()


def _proxy(config: GridConfig, measuring: Measuring | None) -> Architecture:
    """Return the proxy of the base."""
    base = load(config.base)
    side, small = config.proxy_resolution, config.small_images
    classes = flops = None
    if measuring is not None:
        side = side or min(fitting_side(measuring.data), PROXY_SIDE)
        # a base for small images already has fewer strides
        small = side <= SMALL < base.resolution if small is None else small
        classes = len(measuring.data.classes)
        flops = config.proxy_flops or PROXY_FLOPS
    size = ProxySize(
        classes=classes,
        resolution=side,
        small_images=bool(small),
        width=config.proxy_width,
        flops=flops,
        narrowest=None if config.proxy_flops else NARROWEST,
    )
    return proxy_base(base, size)


def rules_of(config: GridConfig, base: Architecture) -> Rules:
    """Return the rules for rounding layers, channels and pixels of this proxy."""
    round_to = config.round_to
    if round_to is None:
        usual = statistics.median(stage.channels for stage in base.stages)
        round_to = 8 if usual >= NARROW else FINE
    return Rules(config.rules, round_to=round_to)


def _candidates(config: GridConfig, base: Architecture) -> list[Candidate]:
    costs = None
    if config.objective != "flops":
        from nas.block_times.timing import Setting

        setting = Setting(
            config.objective,
            batch=config.measure_batch,
            device=config.device,
            threads=available_cpus(),
            recipe=config.recipe,
            runtime=config.runtime,
        )

        def costs(networks: Sequence[Architecture]) -> list[float]:
            times = measured(networks, setting, report=print_err)
            return trusted(times, remedy="run it again while the machine does nothing else")

    return candidates(
        base,
        growth=config.growth,
        step=config.step,
        tolerance=config.tolerance,
        rules=rules_of(config, base),
        costs=costs,
    )


def _listed(config: GridConfig) -> int:
    """Print all candidates of the grid: of the proxy if data are given, otherwise of the base."""
    load(config.base)
    measuring = None
    if config.data is not None:
        from scaling.trainings import free_resolution, measuring_of

        measuring = measuring_of(config)
        free_resolution(measuring)
    started = time.monotonic()
    base = _proxy(config, measuring)
    found = _candidates(config, base)
    trained = spread(found, config.candidates)
    own = cost(base)
    what = "a proxy of the base" if measuring else "the base itself (its proxy with --data)"
    print_out(
        f"{config.base}, {what}: {short(own.flops)} FLOPs at {base.resolution} px, "
        f"{own.params:,} params; growth {config.growth:g} of real {config.objective} "
        f"within {100 * config.tolerance:g}%, step {config.step:g}",
        "",
    )
    table(found, {}, marked={each.name for each in trained})
    controls = sum(each.is_control for each in found)
    print_out(
        "",
        f"{len(found) - controls} candidates and {controls} controls, in "
        f"{time.monotonic() - started:.1f} s; {len(trained)} would be trained (*; "
        "see --candidates); nothing was trained",
    )
    return 0
