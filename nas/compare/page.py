"""The page report.html of a comparison of strategies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from nas.compare.comparison import SearchComparison
from nas.compare.picture import counted_searches
from nas.compare.report import HEADING, conclusions, table_of
from nas.compare.result import CompareResult
from vbs.accuracy import standard_error
from vbs.page.charts import COLOURS, Axis, Chart, Point, Series, chart, scripts
from vbs.page.parts import document, note, section, settings_section, table
from vbs.text import shortened

POINTS = 40  # points of a curve


def page(result: CompareResult, made_with: Mapping[str, Any]) -> str:
    """Return the page as HTML; made_with: see `vbs.folder.circumstances`."""
    names = ", ".join(shortened(name, 40) for name in result.comparison.curves)
    searches = [
        (name, str(folder)) for name, folders in result.searches.items() for folder in folders
    ]
    sections = [
        section(
            "Best reward",
            table(*table_of(result.comparison)),
            note(f"{HEADING}."),
            *(note(f"{line}.") for line in conclusions(result)),
        ),
        section(
            "Best reward so far",
            chart(_curves(result.comparison)),
            note("Mean over the searches; ±: standard error."),
        ),
        section("Searches", table(("strategy", "folder"), searches)),
        settings_section(result.config.settings(), made_with),
    ]
    return document(f"Comparison: {names}", sections, scripts())


def _curves(comparison: SearchComparison) -> Chart:
    """Return a chart of the mean best reward against evaluations."""
    steps = np.unique(np.geomspace(1, comparison.evaluations, POINTS).astype(int))
    series = []
    for place, name in enumerate(comparison.ranked()):
        curves = comparison.curves[name]
        points = []
        for step in steps:
            values = curves[:, step - 1]
            if np.isnan(values).any():
                continue  # a search has no successful evaluation yet
            error = standard_error(values) if len(values) > 1 else math.nan
            points.append(Point(int(step), float(values.mean()), error))
        called = f"{shortened(name, 40)}, {counted_searches(len(curves))}"
        series.append(Series(called, points, "line", COLOURS[place % len(COLOURS)]))
    return Chart(
        x=Axis("evaluations", log=True),
        y=Axis("best reward so far"),
        series=series,
        alt="The mean best reward of every strategy against evaluations.",
    )
