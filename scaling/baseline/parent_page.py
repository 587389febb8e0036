"""HTML report of a baseline inside pretrained weights: report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.parents.page import parent_sections
from scaling.baseline.networks import read_json
from scaling.baseline.page import commands_section, relative, stages_section
from search_spaces.architecture import Architecture
from train.parents import load_parent
from vbs.folder import write_whole
from vbs.page.charts import scripts
from vbs.page.parts import document, escaped, note, section
from vbs.text import shell_command


def write_parent_report(folder: Path, *, command: Sequence[str]) -> Path:
    """Write report.html of a baseline with a parent; its search must have ended."""
    known = read_json(folder / "baseline.json") or {}
    record = read_json(folder / "search" / "search.json")
    outcome = record["outcome"]
    network = Architecture.from_dict(read_json(folder / "search" / "best.json")["architecture"])
    parent = load_parent(str(folder / "search" / outcome["teacher"]["weights"])).architecture
    sections = [
        *parent_sections(outcome),
        stages_section(network, "the parent", parent),
        _use(folder, outcome),
        _spent(known, outcome),
        commands_section(folder, known, command),
    ]
    settings = known.get("settings", {})
    data = str(settings.get("data", ""))
    title = f"The best networks inside {settings.get('parent')} for {Path(data).name or data}"
    page, path = document(title, sections, scripts()), folder / "report.html"
    write_whole(path, lambda unfinished: unfinished.write_text(page, encoding="utf-8"))
    return path


def _use(folder: Path, outcome: Mapping[str, Any]) -> str:
    """Return the section with commands that use the trained networks."""
    place = folder.resolve().parent
    lines = []
    for name in outcome["targets"]:
        weights = str(folder.resolve() / "search" / f"target-{name}" / "best.safetensors")
        export = ["python", "-m", "train.export", weights, "--to", "onnx", "--out", f"{name}.onnx"]
        lines.append(shell_command(relative(export, place)))
    smaller = ["python", "-m", "scaling.family", "--base", weights, "--phi=-2..-1"]
    lines += ["", "# smaller networks of the same parent, with inherited weights"]
    lines.append(shell_command(relative(smaller, place)))
    text = escaped("\n".join(lines), keep="\n")
    return section("How to use them", f"<pre>{text}</pre>")


def _spent(known: Mapping[str, Any], outcome: Mapping[str, Any]) -> str:
    wall = sum(each["wall_seconds"] for each in known.get("costs", {}).values())
    processors = known.get("processors")
    text = f"{wall / 60:.1f} minutes of wall clock"
    if processors:
        text += f" on {processors} processors"
    text += (
        ", for the fine-tuning of the parent (unless an earlier search had done it), the scores of "
        "the candidates, and the fine-tuning of the best."
    )
    return section("Cost", note(text))
