"""Interactive charts of a page: points and lines with hover and zoom, and networks to choose.

Drawn in the browser by Chart.js (MIT licence, in `chartjs/`), which is inside the page.
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
# colours that differ in print and for colour-blind readers (Okabe and Ito 2008)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
GREY = "#9aa3ad"


class Point(NamedTuple):
    """A point of a chart.

    error    one standard deviation of y; None or NaN where unknown.
    network  its place among the chart's networks; None where it has none.
    """

    x: float
    y: float
    error: float | None = None
    network: int | None = None


@dataclass(frozen=True)
class Series:
    """Points of one name, colour and style."""

    name: str
    points: Sequence[Point]
    style: Style = "dots"
    colour: str = COLOURS[0]


@dataclass(frozen=True)
class Listed:
    """A network that a click on its point shows.

    title     what it is called.
    figures   (value, what it is) in large print.
    numbers   those that limits act on, by the names of `Limit`.
    stages    (colour, width in pixels, text) of bars, from the input to the output.
    json      its architecture as text; "" where there is none. file: the name it is saved by.
    commands  to go on with it.
    """

    title: str
    figures: Sequence[tuple[str, str]]
    numbers: Mapping[str, float] = field(default_factory=dict)
    stages: Sequence[tuple[str, int, str]] = ()
    json: str = ""
    file: str = ""
    commands: Sequence[str] = ()


class Limit(NamedTuple):
    """A number that networks are filtered by.

    unit   that limits are typed in; `scale` of it are 1 of the number: 1e-6 for millions.
    most   an upper limit; else a lower one.
    """

    name: str
    label: str
    unit: str
    scale: float = 1.0
    most: bool = True


class Axis(NamedTuple):
    """An axis of a chart; `label` names its unit.

    least  where it begins; None: at the data.
    whole  whether its marks are whole numbers, such as epochs.
    """

    label: str
    log: bool = False
    least: float | None = None
    whole: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart, and the networks whose points it has.

    alt     what is seen, for readers who do not see it.
    chosen  the network that is shown first; None where there are no networks.
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
    """The scripts that draw the charts of a page, at its end."""
    texts = [(HERE / "chartjs" / name).read_text(encoding="utf-8") for name in SCRIPTS]
    texts.append((HERE / "charts.js").read_text(encoding="utf-8"))
    licence = "<!-- Chart.js, chartjs-plugin-zoom and Hammer.JS: MIT licence -->"
    return licence + "".join(f"<script>{text}</script>" for text in texts)


def chart(drawn: Chart) -> str:
    """A chart as HTML; points without a finite place are left out."""
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
    """What `charts.js` reads."""
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
    """JSON that no character of ends the script element it stands in."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
