"""report.html of a baseline inside pretrained weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.parents.report import FIGURE
from scaling.baseline.networks import read_json
from scaling.baseline.page import commands_section, relative, stages_section
from search_spaces.architecture import Architecture
from search_spaces.cost import cost_text
from train.parents import load_parent
from vbs.folder import write_whole
from vbs.page.parts import cards, document, escaped, image, note, pm, section, table
from vbs.text import shell_command
from vbs.units import short


def write_parent_report(folder: Path, *, command: Sequence[str]) -> Path:
    """The page of a baseline with a parent in a folder, whose search has ended."""
    known = read_json(folder / "baseline.json") or {}
    record = read_json(folder / "search" / "search.json")
    outcome = record["outcome"]
    network = Architecture.from_dict(read_json(folder / "search" / "best.json")["architecture"])
    parent = load_parent(str(folder / "search" / outcome["teacher"]["weights"])).architecture
    sections = [
        _summary(outcome),
        _networks(folder, outcome),
        stages_section(network, "the parent", parent),
        _use(folder, outcome),
        _spent(known, outcome),
        commands_section(folder, known, command),
    ]
    settings = known.get("settings", {})
    data = str(settings.get("data", ""))
    title = f"The best networks inside {settings.get('parent')} for {Path(data).name or data}"
    page, path = document(title, sections), folder / "report.html"
    write_whole(path, lambda unfinished: unfinished.write_text(page, encoding="utf-8"))
    return path


def _summary(outcome: Mapping[str, Any]) -> str:
    """The best network of each target in large print, beside the parent."""
    teacher = outcome["teacher"]
    figures = [(_accuracy(teacher), f"the fine-tuned parent, {short(teacher['flops'])} FLOPs")]
    for name, rows in outcome["targets"].items():
        best = rows[0]
        share = best["flops"] / teacher["flops"]
        what = f"target {name}: {best['kind']}, {short(best['flops'])} FLOPs ({share:.0%})"
        figures.append((_accuracy(best), what))
    text = f"Accuracy on the {_split(teacher)} images."
    return section("What was found", cards(figures), note(text))


def _networks(folder: Path, outcome: Mapping[str, Any]) -> str:
    """The result table and the figure: what was found, the parent, and the references."""
    teacher = outcome["teacher"]
    extra = [
        name
        for name in outcome["targets"][next(iter(outcome["targets"]))][0]
        if name.partition("@")[0] in ("latency", "step_time", "image_time", "train_time")
    ]
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
            str(row["seeds"]),
        )
        for target, row in _listed(outcome)
    ]
    heads = (
        *("target", "network", "FLOPs", "of parent", "params", "input", "layers"),
        *(name.replace("_", " ") for name in extra),
        *(f"{_split(teacher)} top-1", "seeds"),
    )
    notes = [note(line) for line in outcome.get("notes", ())]
    figure = image(
        folder / "search" / FIGURE,
        "Accuracy against FLOPs: the parent, what was found, and the networks without a search.",
    )
    return section(
        "Against the parent, and what needs no search", table(heads, rows), figure, *notes
    )


def _listed(outcome: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "-", outcome["teacher"]
    for name, rows in outcome["targets"].items():
        for place, row in enumerate(rows):
            yield ("" if place else name), row


def _split(row: Mapping[str, Any]) -> str:
    return "test" if row["test_top1"] else "minival"


def _accuracy(row: Mapping[str, Any]) -> str:
    """Mean accuracy with its standard error over the seeds."""
    values = row["test_top1"] or row["minival_top1"]
    mean = sum(values) / len(values)
    if len(values) == 1:
        return pm(mean, None)
    spread = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return pm(mean, (spread / len(values)) ** 0.5)


def _use(folder: Path, outcome: Mapping[str, Any]) -> str:
    """Commands that take the trained networks."""
    place = folder.resolve().parent
    lines = []
    for name in outcome["targets"]:
        weights = str(folder.resolve() / "search" / f"target-{name}" / "best.safetensors")
        export = ["python", "-m", "train.export", weights, "--to", "onnx", "--out", f"{name}.onnx"]
        lines.append(shell_command(relative(export, place)))
    smaller = ["python", "-m", "scaling.family", "--base", weights, "--phi=-2..-1"]
    lines += ["", "# smaller ones of the same parent, with the weights that they inherit"]
    lines.append(shell_command(relative(smaller, place)))
    text = escaped("\n".join(lines), keep="\n")
    return section("To use them", f"<pre>{text}</pre>")


def _spent(known: Mapping[str, Any], outcome: Mapping[str, Any]) -> str:
    wall = sum(each["wall_seconds"] for each in known.get("costs", {}).values())
    processors = known.get("processors")
    text = f"{wall / 60:.1f} minutes of wall clock"
    if processors:
        text += f" on {processors} processors"
    text += (
        ", for the fine-tuning of the parent where no earlier search had done that, the scores of "
        "candidates, and the fine-tuning of the best."
    )
    return section("What it cost", note(text))
