"""The space with its measured costs, the objective and the strategy of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from nas import catalog
from nas.block_times.lookup import times_for
from nas.block_times.table import Times, read_times
from nas.devices.fitted import FittedTimes, fitted_times
from nas.objective import Objective, plugin_reward
from nas.search.config import SearchConfig
from nas.search.device_costs import device_costs, device_digests
from nas.search.loop import check_limits
from nas.search.targets import measured_costs, objective_of
from nas.strategies.base import Strategy
from search_spaces.catalog import space
from search_spaces.parent import NAME as PARENT
from search_spaces.space import SearchSpace


class Aims(NamedTuple):
    """Space, objective and strategy of a search.

    config  config with the default strategy and exponent filled in.
    tables  tables of the measured costs of the space, by kind.
    """

    config: SearchConfig
    space: SearchSpace
    objective: Objective
    strategy: Strategy
    tables: dict[str, Times | FittedTimes]

    @property
    def digests(self) -> dict[str, dict[str, str]]:
        """Digests of tables and device files, which a resumed search compares."""
        tables = {kind: times.digest for kind, times in self.tables.items()}
        devices = device_digests(self.config)
        found = {"times_sha256": tables, "devices_sha256": devices}
        return {name: each for name, each in found.items() if each}


def named_space(config: SearchConfig) -> tuple[SearchConfig, SearchSpace]:
    """Return the config and its space, for searches in which no images determine the sizes."""
    config.check_sizes()
    name = config.space or "efficientnet"
    networks = space(name, **config.sizes())
    return config.resolved(name, networks), networks


def aims(
    config: SearchConfig, networks: SearchSpace, *, fallback: str, earlier: Path | None = None
) -> Aims:
    """Return the space with the measured costs of the limits, the objective and the strategy.

    networks  space without measured costs.
    fallback  default strategy.
    earlier   folder of a resumed search, which contains its tables; None for a new search.

    Raises ValueError for an invalid objective, and for limits below the range of the space.
    """
    objective = objective_of(config)
    if objective.own_reward:
        plugin_reward(objective.reward_name)  # reports a mistake before files are written
    name = config.strategy or fallback
    reward = objective.reward_name
    config = replace(config, exponent=objective.exponent, reward=reward, strategy=name)
    kinds = measured_costs(objective)
    tables = {kind: _times_of(config, networks, kind, earlier=earlier) for kind in kinds}
    local = {kind: times.of(networks) for kind, times in tables.items()}
    devices = device_costs(config, objective, networks)
    networks = networks.measured_by(**local, **devices)
    entry = catalog.evaluator_entry(config.evaluator)
    check_limits(networks, objective, resizable=not (entry.schedules or entry.table))
    strategy = catalog.strategy(name, networks, objective)
    return Aims(config, networks, objective, strategy, tables)


def _times_of(
    config: SearchConfig, space: SearchSpace, kind: str, *, earlier: Path | None
) -> Times | FittedTimes:
    """Return the table of a measured cost, from --times, the resumed search or a measurement.

    Sub-networks of a parent have too many different blocks for a table, so whole sub-networks are
    measured instead.
    """
    if space.name == PARENT:
        return _fitted_times(config, space, kind, earlier)
    files = [Path(path) for path in config.times]
    if earlier is not None and (earlier / times_file(kind)).is_file():
        files.append(earlier / times_file(kind))
    path = next((path for path in files if read_times(path).kind == kind), None)
    return times_for(space, kind=kind, path=path, **timing_of(config, kind))


def timing_of(config: SearchConfig, kind: str) -> dict[str, Any]:
    """Return the timing options of a kind, named as in `nas.block_times.options.TimingOptions`."""
    how: dict[str, Any] = {"threads": config.threads, "device": config.device}
    if kind == "latency":
        how |= {"runtime": config.runtime, "batch": config.latency_batch}
    return how | {"recipe": config.recipe}


def _fitted_times(
    config: SearchConfig, space: SearchSpace, kind: str, earlier: Path | None
) -> FittedTimes:
    if config.times:
        raise ValueError(
            "--times: a search with --parent measures whole networks, not blocks; leave it out"
        )
    path = None if earlier is None else earlier / times_file(kind)
    kept = path if path is not None and path.is_file() else None
    return fitted_times(space, kind=kind, path=kept, **timing_of(config, kind))


def times_file(kind: str) -> str:
    """Return the file name of a table in the folder of a search."""
    return f"times-{kind}.json"


def keep_times(folder: Path, tables: Mapping[str, Times | FittedTimes]) -> None:
    """Write the tables into the folder of a search, so that it can be resumed elsewhere."""
    for kind, times in tables.items():
        if not (folder / times_file(kind)).is_file():
            times.write(folder / times_file(kind))
