"""Page report.html of a search from pretrained weights: its networks compared with the parent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.parents.references import SMALLER, UNIFORM
from search_spaces.architecture import Architecture
from search_spaces.cost import cost_text, is_measured
from search_spaces.listed import LIMITS, listed_network
from vbs.accuracy import standard_error
from vbs.json_text import parse_json
from vbs.page.charts import COLOURS, GREY, Axis, Chart, Limit, Listed, Point, Series, chart, scripts
from vbs.page.parts import cards, document, note, pm, section, settings_section, table
from vbs.text import counted, shell_word
from vbs.units import short

KINDS = {"parent": COLOURS[6], "found": COLOURS[0], SMALLER: COLOURS[4], UNIFORM: GREY}


def page(folder: Path) -> str:
    """Return the HTML page of the search from pretrained weights in a folder."""
    record = parse_json((folder / "search.json").read_bytes())
    settings = record["settings"]
    title = f"The best networks inside {settings['parent']} for {Path(settings['data']).name}"
    sections = [
        *parent_sections(record["outcome"]),
        settings_section(settings, record),
    ]
    return document(title, sections, scripts())


def parent_sections(outcome: Mapping[str, Any]) -> list[str]:
    """Return two sections: the found networks, and all networks compared with the parent.

    outcome  the entry "outcome" of search.json. Before the first target is finished, the only
             section says so.
    """
    if not outcome.get("teacher") or not outcome.get("targets"):
        return [section("Found networks", note("No target of the search is finished."))]
    return [_summary(outcome), _networks(outcome)]


def _summary(outcome: Mapping[str, Any]) -> str:
    """Return cards with the accuracy of the parent and of the best network of each target."""
    teacher = outcome["teacher"]
    figures = [(_accuracy(teacher), f"the fine-tuned parent, {short(teacher['flops'])} FLOPs")]
    for name, rows in outcome["targets"].items():
        best = rows[0]
        share = best["flops"] / teacher["flops"]
        what = f"target {name}: {best['kind']}, {short(best['flops'])} FLOPs ({share:.0%})"
        figures.append((_accuracy(best), what))
    text = f"Accuracy on the {_split(teacher)} images."
    return section("Found networks", cards(figures), note(text))


def _networks(outcome: Mapping[str, Any]) -> str:
    """Return a chart and a table of the found networks, the parent, and the references."""
    teacher = outcome["teacher"]
    extra, in_float = _measured(outcome), "float_top1" in teacher
    rows = [
        (
            target,
            row["kind"],
            f"{row['flops']:,.0f}",
            f"{row['flops'] / teacher['flops']:.0%}",
            f"{row['params']:,.0f}",
            f"{row['resolution']} px",
            str(row["layers"]),
            *(cost_text(name, row[name]) if name in row else "-" for name in extra),
            _accuracy(row),
            *([_mean(row["float_top1"])] if in_float else []),
            str(row["seeds"]),
        )
        for target, row in _listed(outcome)
    ]
    heads = (
        *("target", "network", "FLOPs", "of parent", "params", "input", "layers"),
        *(name.replace("_", " ") for name in extra),
        f"{_split(teacher)} top-1" + ", int8" * in_float,
        *(["in float"] if in_float else []),
        "seeds",
    )
    notes = [note(line) for line in outcome.get("notes", ())]
    title = "Comparison with the parent and with networks that need no search"
    return section(title, chart(_chart(outcome)), table(heads, rows), *notes)


def _measured(outcome: Mapping[str, Any]) -> list[str]:
    """Return the names of the measured costs of the networks."""
    first = next(iter(outcome["targets"].values()))[0]
    return [name for name in first if is_measured(name)]


def _chart(outcome: Mapping[str, Any]) -> Chart:
    """Return a chart of accuracy against FLOPs, with a series for each kind of network."""
    listed = list(_listed(outcome))
    networks = [_network(row, outcome) for _, row in listed]
    points: dict[str, list[Point]] = {kind: [] for kind in KINDS}
    for index, (_, row) in enumerate(listed):
        mean, error = float(np.mean(accuracies(row))), standard_error(accuracies(row))
        points[row["kind"]].append(Point(row["flops"] / 1e6, mean, error, index))
    return Chart(
        x=Axis("FLOPs: multiply-adds of one image, in millions"),
        y=Axis(f"top-1 on the {_split(outcome['teacher'])} images (%)"),
        series=[
            Series(kind, each, "diamond" if kind == "parent" else "circles", KINDS[kind])
            for kind, each in points.items()
            if each
        ],
        alt="Accuracy of every trained network against its FLOPs.",
        networks=networks,
        chosen=1,
        limits=[*LIMITS, Limit("accuracy", "accuracy", "%", most=False)],
    )


def _network(row: Mapping[str, Any], outcome: Mapping[str, Any]) -> Listed:
    """Return a trained network with its export command.

    There is no command for weights outside the folder, because the path could reveal the user.
    """
    weights = str(row["weights"])
    inside = not Path(weights).is_absolute()
    measured = [(cost_text(name, row[name]), name) for name in _measured(outcome) if name in row]
    what = f"top-1, {_split(row)} images, {counted(row['seeds'], 'seed')}"
    return listed_network(
        Architecture.from_dict(row["architecture"]),
        title=f"{row['kind']}, {short(row['flops'])} FLOPs: {_accuracy(row)}",
        figures=[(_accuracy(row), what), *measured],
        numbers={"accuracy": float(np.mean(accuracies(row)))},
        commands=[f"python -m train.export {shell_word(weights)} --to onnx"] if inside else [],
    )


def _listed(outcome: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "-", outcome["teacher"]
    for name, rows in outcome["targets"].items():
        for place, row in enumerate(rows):
            yield ("" if place else name), row


def _split(row: Mapping[str, Any]) -> str:
    return "test" if row["test_top1"] else "minival"


def accuracies(row: Mapping[str, Any]) -> Sequence[float]:
    """Return the accuracies of a network in percent, one per seed.

    They are on the test images, or on the minival without test images.
    """
    found: Sequence[float] = row["test_top1"] or row["minival_top1"]
    return found


def _mean(values: Sequence[float]) -> str:
    """Return the mean with its standard error over the seeds."""
    return pm(float(np.mean(values)), standard_error(values))


def _accuracy(row: Mapping[str, Any]) -> str:
    return _mean(accuracies(row))
