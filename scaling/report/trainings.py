"""Report sections that compare trainings: scores and learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scaling.report.runs import DamagedRun, Run, groups
from scaling.report.searches import mean_text
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from train.logs import read_curves_csv
from train.scored import with_error
from vbs.page.charts import COLOURS, Axis, Chart, Point, Series, chart
from vbs.page.parts import note, section, table
from vbs.units import clock, short

SPLITS = {"test": "test top-1", "minival": "minival top-1"}


def training_sections(runs: Sequence[Run]) -> list[str]:
    """Return the sections of trainings by `train.run`.

    Raises DamagedRun if run.json is not that of a training, and other exceptions for other damage.
    """
    return [
        section("Trainings", _table(runs), _groups(runs), note("±: one standard deviation.")),
        section("Minival accuracy by epoch", chart(_curves(runs))),
    ]


def _scores(run: Run) -> Mapping[str, Any]:
    """Return top-1 in percent by split; None if unknown."""
    outcome = run.record["outcome"]
    test, chosen = outcome.get("test") or {}, outcome.get("chosen") or {}
    return {"test": test.get("top1"), "minival": chosen.get("top1")}


def _table(runs: Sequence[Run]) -> str:
    rows = []
    for run in runs:
        try:
            network = Architecture.from_dict(run.record["training"]["architecture"])
            outcome, scores = run.record["outcome"], _scores(run)
            images = outcome.get("images") or {}
            rows.append(
                (
                    run.name,
                    run.record["status"],
                    str(outcome["epochs"]),
                    clock(outcome["seconds"]),
                    *(with_error(scores[name], images.get(name), empty="-") for name in SPLITS),
                    short(cost(network).flops),
                    short(cost(network).params),
                )
            )
        except (KeyError, TypeError, ValueError):
            raise DamagedRun(f"{run.folder}/run.json is not that of a train.run") from None
    heads = ("training", "status", "epochs", "time", *SPLITS.values(), "FLOPs", "params")
    return table(heads, rows)


def _groups(runs: Sequence[Run]) -> str:
    """Return a table of means over trainings that differ only in the seed; "" if there are none."""
    rows = []
    for name, members in groups(runs).items():
        known = [[_scores(run)[split] for run in members] for split in SPLITS]
        if len(members) > 1:
            texts = [mean_text(values) if None not in values else "-" for values in known]
            rows.append((name, str(len(members)), *texts))
    heads = ("mean of (± standard error)", "seeds", *SPLITS.values())
    return table(heads, rows) if rows else ""


def _curves(runs: Sequence[Run]) -> Chart:
    series = []
    for place, run in enumerate(runs):
        rows = read_curves_csv(run.folder)
        known = [(row.get("epoch"), row.get("val_top1")) for row in rows]
        points = [Point(x, y) for x, y in known if x is not None and y is not None]
        series.append(Series(run.name, points, "line", COLOURS[place % len(COLOURS)]))
    return Chart(
        x=Axis("epoch", whole=True),
        y=Axis("minival top-1 (%)"),
        series=series,
        alt="Held-out accuracy of every training by epoch.",
    )
