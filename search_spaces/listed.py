"""Networks for HTML reports: their costs, stages, JSON, and commands that continue with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.stage_bars import stage_bars
from vbs.page.charts import Limit, Listed
from vbs.units import short

# numbers by which every page can filter networks
LIMITS = (Limit("flops", "FLOPs", "millions", 1e-6), Limit("params", "params", "millions", 1e-6))


def listed_network(
    network: Architecture,
    *,
    title: str,
    figures: Sequence[tuple[str, str]] = (),
    numbers: Mapping[str, float] | None = None,
    commands: Sequence[str] = (),
) -> Listed:
    """Return the entry of a network in a chart.

    figures   (value, label) pairs before those of its costs.
    numbers   numbers for filters, in addition to flops and params.
    commands  commands with {file} in place of the file name of the network.
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
