"""HTML report of a family: its members with costs, accuracies and networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling.family.config import MEMBERS, RECORD
from search_spaces.architecture import Architecture
from search_spaces.listed import LIMITS, listed_network
from vbs.json_text import parse_json
from vbs.page.charts import COLOURS, Axis, Chart, Point, Series, chart, scripts
from vbs.page.parts import document, note, pm, section, settings_section, table
from vbs.units import short, short_seconds

ACCURACIES = {  # column -> label; in percent, predicted ones with their error
    "published_top1": "published top-1",
    "predicted_top1": "predicted top-1",
    "inherited_minival_top1": "top-1 as inherited, held-out images",
}


def page(folder: Path) -> str:
    """Return the HTML page of the family in a folder."""
    record = parse_json((folder / RECORD).read_bytes())
    title = f"The family of {Path(str(record['settings']['base'])).stem}"
    sections = [*family_sections(folder, record), settings_section(record["settings"], record)]
    return document(title, sections, scripts())


def family_sections(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Return the members as a chart and a table; `record` is the content of family.json."""
    members = record["members"]
    return [section("Members", chart(_chart(folder, members)), _table(members))]


def _chart(folder: Path, members: Sequence[Mapping[str, Any]]) -> Chart:
    """Return a chart of accuracies against FLOPs; of parameters if no accuracy is known."""
    networks, series = [], []
    for member in members:
        known = parse_json((folder / MEMBERS / f"{member['name']}.json").read_bytes())
        networks.append(
            listed_network(
                Architecture.from_dict(known["architecture"]),
                title=f"{member['name']}: {short(member['flops'])} FLOPs",
                figures=_accuracies(member),
            )
        )
    for place, (name, what) in enumerate(ACCURACIES.items()):
        known = [(index, each, _accuracy(each, name)) for index, each in enumerate(members)]
        points = [
            Point(each["flops"] / 1e6, accuracy[0], accuracy[1], index)
            for index, each, accuracy in known
            if accuracy is not None
        ]
        if points:
            series.append(Series(what, points, "line", COLOURS[place]))
    label = "top-1 (%)"
    if not series:
        label = "params, in millions"
        points = [
            Point(each["flops"] / 1e6, each["params"] / 1e6, None, index)
            for index, each in enumerate(members)
        ]
        series.append(Series("members", points, "line"))
    return Chart(
        x=Axis("FLOPs: multiply-adds of one image, in millions", log=True),
        y=Axis(label),
        series=series,
        alt=f"{label} of the members against FLOPs.",
        networks=networks,
        chosen=0,
        limits=LIMITS,
    )


def _accuracies(member: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (value, label) of the known accuracies of a member."""
    known = [(_accuracy(member, name), what) for name, what in ACCURACIES.items()]
    return [(pm(*accuracy), what) for accuracy, what in known if accuracy]


def _accuracy(member: Mapping[str, Any], name: str) -> tuple[float, float | None] | None:
    """Return an accuracy in percent with its error or None; None if it is unknown."""
    value = member.get(name)
    if isinstance(value, Mapping):
        return value["percent"], value["std"] or None
    return None if value is None else (value, None)


def _table(members: Sequence[Mapping[str, Any]]) -> str:
    known = [what for name, what in ACCURACIES.items() if any(m.get(name) for m in members)]
    times = [name for name in members[0] if name.startswith(("measured_", "predicted_step"))]
    rows = []
    for member in members:
        accuracies = {what: text for text, what in _accuracies(member)}
        seconds = [member.get(name) for name in times]
        rows.append(
            (
                member["name"],
                f"{member['resolution']} px",
                str(member["layers"]),
                f"{member['params']:,}",
                f"{member['flops']:,}",
                short(member["formula_flops"]),
                *(_time(each) for each in seconds),
                *(accuracies.get(what, "-") for what in known),
            )
        )
    heads = ("member", "input", "layers", "params", "FLOPs", "by formula")
    text = "By formula: the base's FLOPs times the growth of the coefficients."
    return table((*heads, *(n.replace("_", " ") for n in times), *known), rows) + note(text)


def _time(value: Any) -> str:
    """Format the seconds of a measurement or a prediction in a record."""
    seconds = value.get("seconds") if isinstance(value, Mapping) else value
    return "-" if seconds is None else short_seconds(seconds)
