"""Interactive charts of an HTML report: points and lines with hover and zoom, and network details.

Charts are drawn in the browser by Chart.js (MIT licence, in `chartjs/`), which is embedded in the
page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vbs.page.parts import escaped, note
from vbs.text import printable

HERE = Path(__file__).parent
SCRIPTS = ("hammer.min.js", "chart.umd.min.js", "chartjs-plugin-zoom.min.js")
Style = Literal["dots", "circles", "crosses", "stars", "diamond", "steps", "stairs", "line"]
# colours that remain distinct in print and for colour-blind readers (Okabe and Ito 2008)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
GREY = "#9aa3ad"


class Point(NamedTuple):
    """A point of a chart.

    error    one standard deviation of y; None or NaN: unknown.
    network  index of its network in `Chart.networks`; None: none.
    """

    x: float
    y: float
    error: float | None = None
    network: int | None = None


@dataclass(frozen=True)
class Series:
    """Points with one name, colour and style."""

    name: str
    points: Sequence[Point]
    style: Style = "dots"
    colour: str = COLOURS[0]


@dataclass(frozen=True)
class Listed:
    """A network that is shown when its point is clicked.

    title     name of the network.
    figures   (value, label) pairs in large print.
    numbers   values for the filters, by `Limit.name`.
    stages    (colour, width in pixels, text) of bars, from the input to the output.
    json      the architecture as JSON text; "": none.
    file      file name under which `json` is saved.
    commands  commands that continue with this network.
    """

    title: str
    figures: Sequence[tuple[str, str]]
    numbers: Mapping[str, float] = field(default_factory=dict)
    stages: Sequence[tuple[str, int, str]] = ()
    json: str = ""
    file: str = ""
    commands: Sequence[str] = ()


class Limit(NamedTuple):
    """A number by which networks are filtered.

    unit   unit in which the user types a limit.
    scale  factor from the number to the unit: 1e-6 for millions.
    most   whether it is an upper limit (otherwise a lower limit).
    """

    name: str
    label: str
    unit: str
    scale: float = 1.0
    most: bool = True


class Axis(NamedTuple):
    """An axis of a chart.

    label  name of the quantity with its unit.
    log    whether the axis is logarithmic.
    least  start of the axis; None: at the data.
    whole  whether its ticks are whole numbers, such as epochs.
    """

    label: str
    log: bool = False
    least: float | None = None
    whole: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart, and the networks that its points belong to.

    alt     description of the chart for screen readers.
    chosen  index of the network that is shown first; None: there are no networks.
    limits  filters for the networks.
    marks   x of vertical lines, such as a target.
    """

    x: Axis
    y: Axis
    series: Sequence[Series]
    alt: str
    networks: Sequence[Listed] = ()
    chosen: int | None = None
    limits: Sequence[Limit] = ()
    marks: Sequence[float] = ()


def scripts() -> str:
    """Return the script elements that draw the charts, for the end of a page."""
    texts = [(HERE / "chartjs" / name).read_text(encoding="utf-8") for name in SCRIPTS]
    texts.append((HERE / "charts.js").read_text(encoding="utf-8"))
    licence = "<!-- Chart.js, chartjs-plugin-zoom and Hammer.JS: MIT licence -->"
    return licence + "".join(f"<script>{text}</script>" for text in texts)


def chart(drawn: Chart) -> str:
    """Return a chart as HTML; points that are not finite are omitted."""
    limits = "".join(
        f"<label>{escaped(each.label)} at {'most' if each.most else 'least'} ({escaped(each.unit)})"
        f'<input type="number" step="any" data-limit="{escaped(each.name)}" '
        f'data-scale="{each.scale:g}" data-kind="{"most" if each.most else "least"}"></label>'
        for each in drawn.limits
    )
    listed = ""
    if drawn.networks:
        options = "".join(
            f'<option value="{index}">{escaped(each.title)}</option>'
            for index, each in enumerate(drawn.networks)
        )
        listed = f"<label>network<select>{options}</select></label>"
    panel = '<div class="network" aria-live="polite"></div>' if drawn.networks else ""
    click = "Click a point or choose a network to see it. " if drawn.networks else ""
    hint = f"{click}Drag to zoom, click a name of the legend to hide its points."
    return (
        f'<div data-chart><div class="controls">{limits}{listed}<button type="button">Reset zoom'
        f'</button></div><div class="plot"><canvas role="img" aria-label="{escaped(drawn.alt)}">'
        f"</canvas></div>{note(hint)}{panel}"
        f'<script type="application/json">{_json(_spec(drawn))}</script></div>'
    )


def _spec(drawn: Chart) -> dict[str, Any]:
    """Return the content of a chart for `charts.js`."""
    return {
        "x": drawn.x._asdict(),
        "y": drawn.y._asdict(),
        "marks": [float(x) for x in drawn.marks if math.isfinite(x)],
        "chosen": drawn.chosen,
        "series": [
            {
                "name": printable(series.name),
                "style": series.style,
                "colour": series.colour,
                "points": [_numbers(point) for point in series.points if _finite(point)],
            }
            for series in drawn.series
        ],
        "networks": [_listed(each) for each in drawn.networks],
    }


def _listed(network: Listed) -> dict[str, Any]:
    numbers = {name: value for name, value in network.numbers.items() if math.isfinite(value)}
    return {
        "title": printable(network.title),
        "figures": [[printable(text) for text in figure] for figure in network.figures],
        "numbers": numbers,
        "stages": [[colour, width, printable(text)] for colour, width, text in network.stages],
        "json": network.json,
        "file": network.file,
        "commands": [printable(command) for command in network.commands],
    }


def _finite(point: Point) -> bool:
    return math.isfinite(point.x) and math.isfinite(point.y)


def _numbers(point: Point) -> list[float | int | None]:
    error = point.error if point.error is not None and math.isfinite(point.error) else None
    return [
        _short(point.x),
        _short(point.y),
        None if error is None else _short(error),
        point.network,
    ]


def _short(value: float) -> float:
    return float(f"{float(value):.7g}")


def _json(content: Any) -> str:
    """Return JSON that cannot end the script element that contains it."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
