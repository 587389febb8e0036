"""Run of a training-aware search: `run_training_aware` searches, compares and grows."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.block_times.lookup import times_for
from nas.block_times.table import Times, read_times
from nas.block_times.whole import measured
from nas.data_space import SMALL, space_for
from nas.search.config import SearchConfig
from nas.search.report import show_result as report_search
from nas.search.run import run_search
from scaling.certainty import certainty, scored_by
from scaling.options import DATA
from scaling.training_aware.config import (
    BUDGET,
    COMMAND,
    FIGURE,
    RECORD,
    TrainingAwareConfig,
)
from scaling.training_aware.figure import draw
from scaling.training_aware.networks import (
    BASE,
    BATCH,
    SPACE,
    b0_like,
    full_size,
    members,
    ops_of_stages,
    reference,
)
from scaling.training_aware.page import page
from scaling.training_aware.predicted import PredictedAware, predicted_search
from scaling.training_aware.report import FOUND, MEMBERS, TrainingAwareResult
from scaling.training_result import Result
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from vbs import signals
from vbs.config import code_values, flag, given_values
from vbs.config_file import resumed
from vbs.console import print_err
from vbs.figure import draw_picture
from vbs.folder import circumstances, results_folder, write_json
from vbs.json_text import parse_json
from vbs.page.parts import REPORT, write_page
from vbs.runs import opened_run
from vbs.text import counted
from vbs.units import short, short_seconds

if TYPE_CHECKING:
    from nas.block_times.rounds import Timing
    from search_spaces.staged import StagedSpace

B0 = "EfficientNet-B0"
FRESH = 1000  # first seed of the compared trainings
TIMES = "times.json"
# options that are passed on to the search
SHARED = (
    "data",
    "data_root",
    "workers",
    "cpus",
    "gpus",
    "address",
    "device",
    "cache",
    "max_failures",
    "timeout",
    "max_time",
    "budget",
)


# options that a search without trainings uses
PREDICTED = ("on", "budget", "strategy", "seed", "w", "v")


def run_training_aware(
    config: TrainingAwareConfig | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> TrainingAwareResult | PredictedAware:
    """Search by V2's reward, compare the result with V2-base and B0, and grow the family.

    Without `config.data`, accuracy and training time are predicted, and nothing is trained.

    out      results folder; default: a new runs/aware-N.
    resume   whether to resume the run in `out`; its config is read from there.
    changes  options of a resumed run that change, such as {"budget": 100}.

    Raises ValueError for invalid options, and KeyboardInterrupt after Ctrl-C.
    """
    place = None if out is None else str(out)
    with opened_run(COMMAND, config, out=out, resume=resume, changes=changes) as earlier:
        if earlier is not None:
            config = resumed(
                TrainingAwareConfig, changes or {}, earlier / RECORD, what=COMMAND.noun
            )
        assert config is not None  # see opened_run
        if config.data is None:
            if resume:
                raise ValueError(
                    f"resume: the search in {place} was predicted, and nothing is left to train; "
                    "leave --resume out, and use another --out"
                )
            _check_untrained(config)
            with signals.interrupted_with("interrupted"):
                return predicted_search(config, place)
        if config.on is not None:
            raise ValueError("--on: leave it out if --data is given")
        config = replace(
            config,
            budget=config.budget or BUDGET,
            strategy=config.strategy or "predictor",
        )
        return _prepared(config, place, resume=resume)


def _check_untrained(config: TrainingAwareConfig) -> None:
    """Raise ValueError for an option that has no effect without trainings."""
    unused = [name for name in given_values(config) if name not in PREDICTED]
    if unused:
        name = flag(unused[0], TrainingAwareConfig)
        raise ValueError(
            f"{name}: without --data nothing is trained; add --data, e.g. --data {DATA}, or leave "
            f"{name} out"
        )


def _prepared(config: TrainingAwareConfig, out: str | None, *, resume: bool) -> TrainingAwareResult:
    from scaling.trainings import measuring_of, slots

    measuring = measuring_of(config)
    config = replace(config, fidelity=config.fidelity or str(measuring.fidelity))
    the_space = space_for(measuring.data, SPACE, resolution=config.resolution, width=config.width)
    base = reference(the_space)
    slots(config)
    times = _times(config, the_space, Path(out) if resume and out else None)
    with results_folder(
        out,
        kind="aware",
        files=(RECORD, FIGURE, REPORT),
        command="scaling.training_aware",
        resume=resume,
    ) as folder:
        if not resume:
            times.write(folder / TIMES)
            _record(folder, config, "running")
        return _in_folder(folder, config, the_space, base, usual=times.predict(base)[0])


def _in_folder(
    folder: Path,
    config: TrainingAwareConfig,
    the_space: StagedSpace,
    base: Architecture,
    *,
    usual: float,
) -> TrainingAwareResult:
    """Search, compare and grow in a folder."""
    print_err(
        f"V2-base at this size: {short(cost(base).flops)} FLOPs, {cost(base).params:,} params, a "
        f"training step of {BATCH} images {short_seconds(usual)}"
    )
    code = _search(folder, config, the_space, usual=usual)
    if code:
        return TrainingAwareResult(folder, config, exit_code=code)
    signals.raise_noted()
    best = parse_json((folder / "search" / "best.json").read_bytes())
    small = base.resolution <= SMALL  # as in `space_for`
    networks = {
        FOUND: Architecture.from_dict(best["architecture"]),
        BASE: base,
        B0: b0_like(base, width=config.width, small_images=small),
    }
    return _compared(folder, config, networks, best["choices"])


def _times(config: TrainingAwareConfig, the_space: StagedSpace, folder: Path | None) -> Times:
    """Return the table of step times: the run's own, one of --times, or this machine's."""
    if folder is not None and (folder / TIMES).is_file():
        return read_times(folder / TIMES)
    tables = [path for path in config.times if read_times(Path(path)).kind == "step_time"]
    if config.times and not tables:
        raise ValueError(
            "--times: no table contains step times; measure one with python -m nas.block_times "
            "--kind step_time"
        )
    return times_for(
        the_space,
        kind="step_time",
        path=tables[0] if tables else None,
        recipe=config.recipe,
        device=_device(config),
    )


def _device(config: TrainingAwareConfig) -> str:
    """Return the device of trainings, on which steps are timed too."""
    from train.distributed import pick_device

    return str(pick_device(config.device))


def _search(
    folder: Path, config: TrainingAwareConfig, the_space: StagedSpace, *, usual: float
) -> int:
    """Run `nas.search` with V2's reward in the folder; return its exit code."""
    inner = folder / "search"
    record = inner / "search.json"
    shared = {name: getattr(config, name) for name in SHARED}
    if record.is_file() and (inner / "study.db").is_file():
        known = parse_json(record.read_bytes())
        longer = known["status"] == "out of time" and config.max_time != known["settings"].get(
            "max_time"
        )
        over = known["status"] in ("finished", "out of time", "exhausted") and not longer
        if over and known["settings"]["budget"] == config.budget:
            return 0
        result = run_search(out=inner, resume=True, changes={**shared, **code_values(config)})
    else:
        base = reference(the_space)
        search = SearchConfig(
            evaluator="proxy",
            space=SPACE,
            width=config.width,
            resolution=base.resolution,
            strategy=config.strategy,
            seed=config.seed,
            recipe=config.recipe,
            changes=config.changes,
            fidelity=config.fidelity,
            target_step_time=usual,
            reward="mnas",
            exponent=config.w,
            over_target="allow",
            also=(f"params:{cost(base).params}:{config.v}",),
            max_step_time=config.max_step_time or 2 * usual,
            times=(str(folder / TIMES),),
            **shared,
        )
        result = run_search(search, out=inner)
    report_search(result)
    return result.exit_code


def _compared(
    folder: Path,
    config: TrainingAwareConfig,
    networks: Mapping[str, Architecture],
    choices: dict[str, Any],
) -> TrainingAwareResult:
    """Train and time the found network and the published ones, and grow the family.

    Seeds and held-out images differ from those of the search, because the search selected the
    network by its accuracy with the latter.
    """
    from nas.block_times.timing import Setting
    from scaling.trainings import Trainings, length_of, measuring_of, progress_of, train_all

    fresh = replace(
        config,
        changes=(*config.changes, f"seed={FRESH}"),
        storage=None,
        study=f"compare-{networks[FOUND].key}",
    )
    (folder / "compare").mkdir(exist_ok=True)
    measuring = measuring_of(fresh, split=FRESH)
    length = length_of(measuring)
    print_err(f"{', '.join(networks)}: {counted(config.seeds, 'training')} each of {length}")
    scored = scored_by(measuring, larger="wider networks (--width)")
    trainings = Trainings(
        options=fresh,
        measuring=measuring,
        seeds=config.seeds,
        folder=folder / "compare",
        split=FRESH,
    )
    with progress_of(len(networks) * config.seeds, scored) as show:
        known = train_all(networks, trainings, update=show)
    setting = Setting(
        "step_time", batch=BATCH, threads=1, device=_device(config), recipe=config.recipe
    )
    times = measured(list(networks.values()), setting, report=print_err)
    rows = _figures(networks, known, times)
    listed, sure = _grown(folder, choices, config.members), certainty(known, scored)
    _record(folder, config, "finished", networks=rows, members=listed, certainty=sure)
    draw_picture(folder / FIGURE, lambda path: draw(path, rows, known))
    write_page(folder, lambda: page(folder))
    return TrainingAwareResult(
        folder,
        config,
        networks=rows,
        members=listed,
        known=known,
        certainty=sure,
        images=measuring.data.train,
    )


def _figures(
    networks: Mapping[str, Architecture], known: Mapping[str, Result], times: Sequence[Timing]
) -> dict[str, Any]:
    """Return all values of the compared networks as plain data."""
    return {
        name: _row(network, timed) | known[name].to_json()
        for (name, network), timed in zip(networks.items(), times, strict=True)
    }


def _row(network: Architecture, timed: Timing) -> dict[str, Any]:
    """Return the values of a network as plain data."""
    return {
        **cost(network)._asdict(),
        "step_seconds": timed.seconds,
        "step_spread": timed.spread,
        "step_doubt": timed.doubt,
        "architecture": json.loads(network.to_json()),
        "stages": ops_of_stages(network),
    }


def _grown(folder: Path, choices: dict[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """Write the members to files and return their values."""
    (folder / MEMBERS).mkdir(exist_ok=True)
    listed = []
    for member in members(full_size(choices), tuple(names)):
        row = {
            "name": member.name,
            **member.cost._asdict(),
            "resolution": member.architecture.resolution,
            "layers": [stage.layers for stage in member.architecture.stages],
        }
        listed.append(row)
        network = json.loads(member.architecture.to_json())
        write_json(folder / MEMBERS / f"{member.name}.json", {"architecture": network, **row})
    return listed


def _record(folder: Path, config: TrainingAwareConfig, status: str, **outcome: Any) -> None:
    write_json(
        folder / RECORD,
        {
            "status": status,
            "partial": status != "finished",
            "settings": config.settings(),
            "outcome": outcome,
            "written": time.strftime("%Y-%m-%dT%H:%M:%S"),
            **circumstances(("numpy", "torch", "ray")),
        },
    )
