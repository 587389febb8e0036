"""Run of a family: `grow_family` scales the base and writes the members."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.block_times.table import read_times
from nas.parents.options import target_list
from scaling.budget import Costs, Growth
from scaling.family.config import (
    FIGURE,
    MEMBERS,
    OBJECTIVES,
    RECORD,
    TIMED,
    FamilyConfig,
    rules_of,
    test_side_of,
)
from scaling.family.device_times import add_device_times, device_times, time_notes
from scaling.family.figure import draw
from scaling.family.members import Member, family, fast_factors, tiny_factors
from scaling.family.page import page
from scaling.family.predicted import known_members, notes, predictions
from scaling.family.report import FamilyResult
from scaling.family.resolved import STEP, base_network, resolve, step_of
from scaling.family.times import measure, seconds_of
from scaling.memory import training_memory
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from train.recipe import preset
from vbs.config import ConfigError
from vbs.figure import draw_picture
from vbs.folder import circumstances, results_folder, write_json
from vbs.page.parts import REPORT, write_page

OWN_FACTORS = {"fast": fast_factors, "tinynet": tiny_factors}  # rules -> factors of a phi


def grow_family(
    config: FamilyConfig | None = None, *, out: str | Path | None = None
) -> FamilyResult:
    """Grow a base into a family and write its members, as `python -m scaling.family` does.

    config  None: the published family of EfficientNet-B0, B0 to B7.
    out     results folder; default: a new runs/family-N.

    Raises ValueError for invalid options, if no network has the cost of a growth, and if the
    folder already contains a family.
    """
    config, coefficients, cut = resolve(config or FamilyConfig())
    base = base_network(config)
    if cut is not None:
        from scaling.family.inherited import check_base, write_member_weights

        check_base(cut, base, config)
    assert config.base is not None
    if config.objective not in OBJECTIVES:
        device_times(config.objective).check(base, Path(config.base).name)
    tables = _tables(config.times)
    phis, given = _places(config, base), known_members(config)
    every = family(
        base,
        list(dict.fromkeys([*phis, *given])),
        coefficients=coefficients,
        factors=OWN_FACTORS.get(config.rules),
        growth=_growth(config),
        rules=replace(rules_of(config), within=None if cut is None else cut.network),
    )
    members = _named(every[: len(phis)], config)
    trained = {each: given[each.phi] for each in every if each.phi in given}
    found = predictions(base, members, trained, config)
    rows = [
        {**_row(member, config, tables), **top1.as_row()}
        for member, top1 in zip(members, found.top1, strict=True)
    ]
    _check_memory(rows, config)
    if config.objective not in OBJECTIVES:
        add_device_times(base, members, rows, device_times(config.objective))
    if config.measure:
        measure(base, members, rows, config)
    place = None if out is None else str(out)
    with results_folder(
        place, kind="family", files=(RECORD, FIGURE, REPORT), command="scaling.family", resume=None
    ) as folder:
        lines = [*_test_notes(config), *time_notes(config)]
        if cut is None:
            lines += notes(rows, found.basis)
        elif config.weights:
            write_member_weights(folder / MEMBERS, members, rows, cut)
        result = FamilyResult(folder, config, base, coefficients, members, rows, lines, cut)
        _write(result)
        return result


def _places(config: FamilyConfig, base: Architecture) -> list[float]:
    """Return the phi of each member; with targets, those at which members cost at most a target."""
    if config.targets is None:
        return config.phis()
    assert config.tolerance is not None
    own = cost(base).flops * (1 + config.tolerance)
    targets = target_list(config.targets)
    return [math.log(value / own) / math.log(STEP) for _, value in targets]


def _named(members: Sequence[Member], config: FamilyConfig) -> list[Member]:
    """Return the members named by the targets, if there are any."""
    if config.targets is None:
        return list(members)
    names = [text for text, _ in target_list(config.targets)]
    return [replace(each, name=name) for each, name in zip(members, names, strict=True)]


def _growth(config: FamilyConfig) -> Growth | None:
    """Return the growth of the real cost, for a resolved config."""
    step = step_of(config)
    if step is None:
        return None
    assert config.tolerance is not None
    computed = config.objective not in TIMED
    return Growth(step, config.tolerance, _costs(config), computed)


def _costs(config: FamilyConfig) -> Costs | None:
    """Return the function of the cost that grows; None: FLOPs."""
    if config.objective == "flops":
        return None
    if config.objective in TIMED:
        return seconds_of(config)
    if config.objective == "activations":
        return lambda networks: [cost(each).activations for each in networks]
    if config.objective == "memory":
        return lambda networks: [_memory(each, config) for each in networks]
    return device_times(config.objective)


def _memory(network: Architecture, config: FamilyConfig) -> int:
    """Return the estimated bytes of a training step."""
    recipe = preset(config.recipe)
    return training_memory(
        network,
        batch=config.batch,
        optimizer=recipe.optimizer,
        average=bool(recipe.ema_decay),
        precision=config.precision,
    ).total


def _tables(paths: Sequence[str]) -> list[Any]:
    return [read_times(Path(path)) for path in paths]


def _row(member: Member, config: FamilyConfig, tables: Sequence[Any]) -> dict[str, Any]:
    """Return all values of a member as plain data."""
    row: dict[str, Any] = {
        "name": member.name,
        "phi": member.phi,
        "resolution": member.architecture.resolution,
        "layers": sum(stage.layers for stage in member.architecture.stages),
        **member.cost._asdict(),
        "factors": member.factors._asdict(),
        "real_factors": {name: round(x, 4) for name, x in member.real._asdict().items()},
        "formula_flops": round(member.formula),
        "training_memory": _memory(member.architecture, config),
        "published_top1": member.top1,
    }
    if config.test_resolution is not None:
        row["test"] = _tested(member.architecture, config)
    for table in tables:
        try:
            seconds, spread = table.predict(member.architecture)
        except ValueError:
            continue  # a table of one space and size often lacks blocks of a member
        row[f"predicted_{table.kind}"] = {"seconds": seconds, "spread": spread}
    return row


def _tested(network: Architecture, config: FamilyConfig) -> dict[str, Any]:
    """Return the side for testing a member, and the cost at that side."""
    assert config.test_resolution is not None
    step = config.round_resolution or 1
    side = test_side_of(config.test_resolution, network.resolution, step)
    spent = cost(replace(network, resolution=side))
    return {"resolution": side, "flops": spent.flops, "activations": spent.activations}


def _test_notes(config: FamilyConfig) -> list[str]:
    if config.test_resolution is None:
        return []
    return [
        "test px, test FLOPs: for testing; all other columns are for training, including the "
        "predicted top-1. Testing at more pixels needs no further training: six of timm's "
        "EfficientNet-B0 to B4 gained 0.8 to 1.3 points at 1.1 to 1.2 times the side"
    ]


def _check_memory(rows: Sequence[Mapping[str, Any]], config: FamilyConfig) -> None:
    memory = config.memory
    for row in rows:
        if memory is not None and row["training_memory"] > memory:
            raise ConfigError(
                "memory",
                f"phi {row['phi']:g} needs about {row['training_memory'] / 1e9:.1f} GB to train "
                f"with a batch of {config.batch}, more than {memory / 1e9:g} GB; use a smaller "
                "--phi or --batch, or --precision bfloat16",
            )


def _write(result: FamilyResult) -> None:
    """Write the members, the record, the figure and the page."""
    folder = result.folder
    (folder / MEMBERS).mkdir(exist_ok=True)
    for member, row in zip(result.members, result.rows, strict=True):
        network = json.loads(member.architecture.to_json())
        write_json(folder / MEMBERS / f"{member.name}.json", {"architecture": network, **row})
    coefficients = result.coefficients
    write_json(
        folder / RECORD,
        {
            "settings": result.config.settings(),
            "coefficients": result.config.coefficients
            if coefficients is None
            else coefficients.__dict__,
            "base": json.loads(result.base.to_json()),
            "members": list(result.rows),
            **circumstances(("numpy",)),
        },
    )
    name = Path(result.config.base or "").name
    draw_picture(folder / FIGURE, lambda path: draw(path, result.rows, name=name))
    write_page(folder, lambda: page(folder))
