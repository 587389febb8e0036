"""HTML report of a baseline: report.html, a single self-contained page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scaling.baseline.device_section import device_section
from scaling.baseline.networks import FINALISTS, best_record, read_json, trained_members
from scaling.grid.page import grid_sections
from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from search_spaces.stage_bars import stage_bars
from vbs.figure import new_figure
from vbs.folder import write_whole
from vbs.page.charts import scripts
from vbs.page.parts import (
    bars,
    cards,
    document,
    escaped,
    note,
    picture,
    pm,
    section,
    table,
)
from vbs.text import shell_command
from vbs.units import short, short_seconds

PM = "±: one standard deviation, from the number of images and, if there are several, the seeds."
UP = 2  # largest number of ".." in a path that is shown as a relative path


def write_report(folder: Path, *, command: Sequence[str]) -> Path:
    """Write report.html of the baseline in a folder; skipped steps are marked."""
    known = read_json(folder / "baseline.json") or {}
    network = _network(folder)
    sections = [
        _summary(folder, network),
        _search(folder),
        stages_section(network, "EfficientNet-B0", zoo("efficientnet_b0")),
        device_section(best_record(folder)),
        *_grid(folder),
        _family(folder),
        _costs(folder, known),
        commands_section(folder, known, command),
    ]
    data = str(known.get("settings", {}).get("data", ""))
    title = f"A new baseline for {Path(data).name or data}"
    page = document(title, sections, scripts())
    path = folder / "report.html"
    write_whole(path, lambda unfinished: unfinished.write_text(page, encoding="utf-8"))
    return path


def _network(folder: Path) -> Architecture:
    best = best_record(folder)
    return Architecture.from_dict(best["architecture"])


def _summary(folder: Path, network: Architecture) -> str:
    spent = cost(network)
    best = best_record(folder)
    accuracy = (
        pm(best["accuracy"], best.get("accuracy_std")),
        "of the held-out images used for the selection",
    )
    if best.get("test_accuracy") is not None:
        accuracy = (pm(best["test_accuracy"], best.get("test_std")), "of the test images")
    figures = [
        accuracy,
        (short(spent.flops), "FLOPs (multiply-adds)"),
        (short(spent.params), "params"),
        (f"{network.resolution} px", "input"),
        (str(sum(stage.layers for stage in network.stages)), "layers in stages"),
    ]
    notes = [note(best["certainty"])] if best.get("certainty") else []
    return section("The network found", cards(figures), *notes, note(PM))


def _search(folder: Path) -> str:
    record = read_json(folder / "search" / "search.json")
    if record is None:
        return section("Search", note("This step was skipped."))
    import pandas

    history = pandas.read_parquet(folder / "search" / "history.parquet")
    full = history[(history["fidelity"] >= 1) & (history["error"] == "")]
    early = history[(history["fidelity"] < 1) & (history["error"] == "")]
    failed = int((history["error"] != "").sum())
    outcome = record["outcome"]
    text = (
        f"{len(full)} complete trainings, {len(early)} stopped early, {failed} failed, in "
        f"{outcome['seconds'] / 60:.0f} minutes."
    )
    drawn = picture(lambda: _evaluated(early, full), "All evaluated networks.")
    notes = [note(line) for line in outcome.get("certainty", ())]
    return section("Search", drawn, note(text), *notes)


def _evaluated(early: Any, full: Any) -> Any:
    """Draw accuracy against FLOPs of complete trainings and of those that were stopped early."""
    figure = new_figure(5.4, 3.4)
    axes = figure.add_subplot()
    axes.plot(early["flops"] / 1e6, early["accuracy"], "x", c="0.7", label="stopped early")
    axes.plot(full["flops"] / 1e6, full["accuracy"], "o", c="tab:blue", ms=5, label="trained")
    order = full.sort_values(["flops", "accuracy"])
    best = np.maximum.accumulate(order["accuracy"].to_numpy())
    axes.step(order["flops"] / 1e6, best, where="post", c="tab:red", label="front")
    axes.set(xlabel="FLOPs, in millions", ylabel="accuracy on held-out images (%)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def stages_section(network: Architecture, name: str, other: Architecture) -> str:
    """Return the stages of a network beside those of another one."""
    columns = "".join(
        f"<div><b>{escaped(name)}</b>{bars(stage_bars(each))}</div>"
        for name, each in (("found", network), (name, other))
    )
    legend = note("Each bar is a stage. Its width grows with the root of the channels.")
    title = f"Stage by stage, beside {name}"
    return section(title, f'<div class="pair">{columns}</div>', legend)


def _grid(folder: Path) -> list[str]:
    record = read_json(folder / "grid" / "grid.json")
    if record is None or "chosen" not in record["outcome"]:
        return [section("Best growth", note("This step was skipped."))]
    return grid_sections(folder / "grid", record)


def _family(folder: Path) -> str:
    record = read_json(folder / "family" / "family.json")
    if record is None:
        return section("The family", note("This step was skipped."))
    trained = trained_members(folder)
    split = (
        "test" if any(row.get("test_top1") is not None for row in trained.values()) else "minival"
    )
    rows = []
    for member in record["members"]:
        row = trained.get(member["name"], {})
        top1 = row.get(f"{split}_top1")
        step = member.get("measured_step_time", {}).get("seconds")
        rows.append(
            (
                member["name"],
                f"{member['resolution']} px",
                str(member["layers"]),
                f"{member['params']:,}",
                f"{member['flops']:,}",
                short(member["formula_flops"]),
                "-" if step is None else short_seconds(step),
                "-" if top1 is None else pm(top1, row.get(f"{split}_error")),
            )
        )
    heads = (
        "member",
        "input",
        "layers",
        "params",
        "FLOPs",
        "by formula",
        "step of 32",
        f"{split} top-1",
    )
    parts = [table(heads, rows)]
    points = [
        (member, trained[member["name"]])
        for member in record["members"]
        if (trained.get(member["name"], {}).get(f"{split}_top1") is not None)
    ]
    if points:
        parts.append(_family_figures(points, split))
    return section("The family", *parts)


def _family_figures(
    points: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], split: str
) -> str:
    """Return figures of accuracy against FLOPs and against time, side by side if they fit."""
    tops = [row[f"{split}_top1"] for _, row in points]
    flops = [member["flops"] / 1e6 for member, _ in points]
    times = [
        1e3 * member.get("measured_step_time", {}).get("seconds", np.nan) for member, _ in points
    ]
    drawn = [
        partial(_line, flops, tops, "FLOPs, in millions", split, "tab:blue"),
        partial(
            _line, times, tops, "milliseconds of a training step of 32 images", split, "tab:orange"
        ),
    ]
    pictures = "".join(
        picture(figure, f"Accuracy of the trained members against {what}.")
        for figure, what in zip(drawn, ("FLOPs", "the time of a step"), strict=True)
    )
    return f'<div class="pair">{pictures}</div>'


def _line(
    places: Sequence[float], tops: Sequence[float], label: str, split: str, colour: str
) -> Any:

    figure = new_figure(4.6, 3.2)
    axes = figure.add_subplot()
    axes.plot(places, tops, "o-", c=colour)
    axes.set(xlabel=label, ylabel=f"{split} top-1 (%)")
    axes.grid(alpha=0.3)
    return figure


def _costs(folder: Path, known: Mapping[str, Any]) -> str:
    """Return a table of wall-clock time, machine time, and time spent in trainings, by step."""
    measured = _measuring_seconds(folder, known)
    held = {what: known.get(what, 0) for what in ("processors", "gpus")}
    at_once = known.get("at_once")
    total = {"wall_seconds": sum(cost["wall_seconds"] for cost in known.get("costs", {}).values())}
    measured["all"] = sum(measured[name] for name in known.get("costs", {}))
    rows = []
    for name, spent in [*known.get("costs", {}).items(), ("all", total)]:
        wall = spent["wall_seconds"]
        share = min(1.0, measured[name] / (wall * at_once)) if at_once and wall else None
        rows.append(
            (
                name,
                f"{wall / 60:.1f} min",
                *(f"{wall * count / 3600:.2f} h" if count else "-" for count in held.values()),
                f"{measured[name] / 3600:.2f} h",
                "-" if share is None else f"{share:.0%}",
            )
        )
    heads = ("step", "wall clock", "processor hours", "GPU hours", "measuring", "share")
    text = (
        "Hours are those of all processors and GPUs of this machine while a step ran; those of a "
        "cluster are unknown. Measuring: total seconds of all trainings, and of the timing of the "
        "family; share: measuring divided by the time of all trainings that could have run at "
        "once. Results reused from earlier trainings count as if they were trained again."
    )
    skipped = known.get("skipped", [])
    if skipped:
        text += f" Skipped: {', '.join(skipped)}."
    return section("Cost", table(heads, rows), note(text))


def _measuring_seconds(folder: Path, known: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds in trainings by step, and those of the family's timing."""
    timing = known.get("costs", {}).get("family", {"wall_seconds": 0.0})["wall_seconds"]
    found = {"search": 0.0, "family": timing * known.get("at_once", 1)}
    history = folder / "search" / "history.parquet"
    if history.exists():
        import pandas

        seconds = pandas.read_parquet(history, columns=["seconds"])["seconds"]
        found["search"] = float(seconds.sum())
    outcome = (read_json(folder / "grid" / "grid.json") or {}).get("outcome", {})
    found["grid"] = float(outcome.get("training_seconds", 0.0))
    for step, places in (("finalists", FINALISTS), ("train", "train/*")):
        results = [read_json(path) for path in folder.glob(f"{places}/results.json")]
        found[step] = float(sum(row["seconds"] for one in results for row in one["trials"]))
    return found


def relative(words: Sequence[str], place: Path) -> list[str]:
    """Return the words of a command with its absolute paths relative to a folder.

    A path far from the folder is reduced to its name, because the page may be read on another
    machine, where the path is useless and would reveal the user's name.
    """

    def shown(word: str) -> str:
        option, equals, value = word.partition("=")
        if equals and option.startswith("--"):
            return f"{option}={shown(value)}"
        kind, colon, path = word.partition(":")
        if colon and kind in ("imagefolder", "parquet"):
            return f"{kind}:{shown(path)}"
        if not os.path.isabs(word):
            return word
        near = os.path.relpath(word, place)
        return near if near.count("..") <= UP else os.path.basename(word.rstrip("/"))

    return [shown(str(word)) for word in words]


def commands_section(folder: Path, known: Mapping[str, Any], command: Sequence[str]) -> str:
    """Return the section with the command that repeats a baseline, and those of its steps."""
    place = folder.resolve().parent
    single = [["python", "-m", *words] for words in known.get("commands", {}).values()]
    whole, *steps = (shell_command(relative(words, place)) for words in (command, *single))
    lines = [f"# in the folder that contains {folder.resolve().name}/", whole, "", "# step by step"]
    lines += steps
    versions = known.get("versions", {})
    with_what = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    machine = note(f"{known.get('machine', '')}; {with_what}")
    text = escaped("\n".join(lines), keep="\n")
    return section("How to repeat it", f"<pre>{text}</pre>", machine)
