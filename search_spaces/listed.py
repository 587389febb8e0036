"""Networks as a page lists them: costs, stages, JSON, and commands to go on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.stage_bars import stage_bars
from vbs.page.charts import Limit, Listed
from vbs.units import short

# what networks of every page are filtered by
LIMITS = (Limit("flops", "FLOPs", "millions", 1e-6), Limit("params", "params", "millions", 1e-6))


def listed_network(
    network: Architecture,
    *,
    title: str,
    figures: Sequence[tuple[str, str]] = (),
    numbers: Mapping[str, float] | None = None,
    commands: Sequence[str] = (),
) -> Listed:
    """A network of a page.

    figures   (value, what it is), before those of its costs.
    numbers   beside flops and params, those that limits act on.
    commands  with {file} for the name that the network is saved by.
    """
    spent, file = cost(network), f"{network.key}.json"
    own = (
        (short(spent.flops), "FLOPs"),
        (short(spent.params), "params"),
        (f"{network.resolution} px", "input"),
        (str(sum(stage.layers for stage in network.stages)), "layers in stages"),
    )
    shown = commands or ("python -m search_spaces.show {file}",)
    return Listed(
        title=title,
        figures=(*figures, *own),
        numbers={"flops": spent.flops, "params": spent.params, **(numbers or {})},
        stages=stage_bars(network),
        json=network.to_json(),
        file=file,
        commands=[each.replace("{file}", file) for each in shown],
    )
