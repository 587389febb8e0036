"""Entries of networks in HTML reports: costs, stages, JSON, and commands that use the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from search_spaces.stage_bars import stage_bars
from vbs.page.charts import Limit, Listed
from vbs.units import short

# filters of every page: limits of FLOPs and params
LIMITS = (Limit("flops", "FLOPs", "millions", 1e-6), Limit("params", "params", "millions", 1e-6))


def listed_network(
    network: Architecture,
    *,
    title: str,
    figures: Sequence[tuple[str, str]] = (),
    numbers: Mapping[str, float] | None = None,
    commands: Sequence[str] = (),
) -> Listed:
    """Return the entry of a network, which a page shows when the network is selected in a chart.

    figures   (value, label) pairs that are shown before the costs.
    numbers   values for the page's filters, in addition to flops and params.
    commands  commands with {file} in place of the JSON file of the network.
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
