"""Report of a search from pretrained weights: files, printed table and figure."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rich.box

from nas.parents.page import page
from nas.parents.references import SMALLER, UNIFORM
from nas.parents.result import ParentResult, Tuned
from search_spaces.cost import cost_text
from vbs import signals
from vbs.command import python_command
from vbs.console import print_err, print_results
from vbs.figure import draw_picture, new_figure, save_png
from vbs.folder import write_json, write_whole
from vbs.page.parts import REPORT, write_page
from vbs.tables import Console, Table
from vbs.text import csv_cell, shell_word

TABLE, FIGURE = "networks.csv", "networks.png"
COLOURS = {"found": "tab:blue", SMALLER: "tab:orange", UNIFORM: "tab:gray", "parent": "black"}


def write(result: ParentResult) -> None:
    """Write best.json, networks.csv, networks.png and report.html, and best.json of each target.

    A figure or a page that cannot be drawn is a warning.
    """
    _write_best(result.folder, result.targets[0].networks[0], result)
    for target in result.targets:
        _write_best(target.folder, target.networks[0], result)
    write_whole(result.folder / TABLE, lambda path: _write_table(path, result))
    draw_picture(result.folder / FIGURE, lambda path: _draw(path, result))
    write_page(result.folder, lambda: page(result.folder))


def _write_best(folder: Path, network: Tuned, result: ParentResult) -> None:
    write_json(
        folder / "best.json",
        {
            **network.as_row(folder),
            "parent": result.config.parent,
        },
    )


def show(result: ParentResult) -> None:
    """Print the networks of each target with the parent, and commands for the next steps."""
    with signals.deferred():
        if result.targets:
            _show(result)
        if result.reason:
            print_err(f"nas.search: {result.reason}")


def _show(result: ParentResult) -> None:
    console = Console(piped_width=130)
    teacher = result.teacher
    table = Table(box=rich.box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    extra = [name for name in _costs(result) if name not in ("flops", "params", "activations")]
    split = "test" if teacher.test else "minival"
    for name in ("target", "network"):
        table.add_column(name, no_wrap=True)
    for name in (
        *("FLOPs", "of parent", "params", "px", "layers"),
        *(name.replace("_", " ") for name in extra),
        *((f"{split} %, int8", "in float %") if teacher.in_float else (f"{split} %",)),
        "seeds",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for target, network in _listed(result):
        table.add_row(
            target,
            network.kind,
            f"{network.costs['flops']:,.0f}",
            f"{network.costs['flops'] / teacher.costs['flops']:.0%}",
            f"{network.costs['params']:,.0f}",
            str(network.architecture.resolution),
            str(sum(stage.layers for stage in network.architecture.stages)),
            *(
                cost_text(name, network.costs[name]) if name in network.costs else "-"
                for name in extra
            ),
            accuracy_text(network),
            *([f"{np.mean(network.in_float):.2f}"] if teacher.in_float else []),
            str(len(network.minival)),
        )
    console.print(table)
    for line in notes(result):
        console.print(line)
    targets = (f"{each.folder.name}/" for each in result.targets)
    files = ("search.json", "best.json", TABLE, FIGURE, REPORT, *targets)
    print_results(result.folder, files, _next(result))


def accuracy_text(network: Tuned) -> str:
    """Return the mean accuracy with its standard error over the seeds."""
    if math.isnan(network.error):
        return f"{network.accuracy:.2f}"
    return f"{network.accuracy:.2f} ± {network.error:.2f}"


def notes(result: ParentResult) -> list[str]:
    """Return sentences that compare the best network of each target with the references."""
    lines = []
    for each in result.targets:
        best = each.networks[0]
        name = each.text
        if best.kind != "found":
            found = next((other for other in each.networks if other.kind == "found"), None)
            behind = "" if found is None else f"; the search's best has {accuracy_text(found)}%"
            lines.append(
                f"target {name}: {_article(best.kind)}{best.kind} is the best network{behind}."
            )
            continue
        for kind in (SMALLER, UNIFORM):
            other = next((network for network in each.networks if network.kind == kind), None)
            if other is not None and other.architecture.key == best.architecture.key:
                same = f"the {kind}" if kind == SMALLER else f"{kind} of the parent"
                lines.append(f"target {name}: the network found is {same}.")
            elif other is not None:
                gain = best.accuracy - other.accuracy
                lines.append(
                    f"target {name}: {gain:+.2f} points against {_article(kind)}{kind}"
                    f"{_uncertain(best, other, gain)}."
                )
    chosen = "The best network of a target is chosen by its minival accuracy."
    known = any(not math.isnan(network.error) for _, network in _listed(result))
    return [*lines, f"±: standard error over seeds. {chosen}" if known else chosen]


def _article(kind: str) -> str:
    return "the " if kind == SMALLER else ""


def _uncertain(best: Tuned, other: Tuned, gain: float) -> str:
    """Return the end of a sentence that says whether a difference is within the seeds' errors."""
    errors = [each.error for each in (best, other) if not math.isnan(each.error)]
    if not errors:
        return ", with one seed each"
    return ", within the standard error" if abs(gain) <= math.hypot(*errors) else ""


def _costs(result: ParentResult) -> list[str]:
    names = {name: None for each in result.targets for n in each.networks for name in n.costs}
    return list(names)


def _listed(result: ParentResult) -> Iterator[tuple[str, Tuned]]:
    yield "", result.teacher
    for each in result.targets:
        for place, network in enumerate(each.networks):
            yield ("" if place else each.text), network


def _next(result: ParentResult) -> list[str]:
    """Return commands for the next steps."""
    python, first = python_command(), result.targets[0]
    weights = shell_word(str(first.folder / "best.safetensors"))
    return [
        f"{python} -m train.export {weights} --to onnx --out {shell_word(f'{first.text}.onnx')}",
        f"{python} -m train.predict {weights} IMAGES",
        f"{python} -m search_spaces.show {shell_word(str(result.folder / 'best.json'))}",
    ]


def _write_table(path: Path, result: ParentResult) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        costs = _costs(result)
        header = ["target", "network", "key", "resolution", "layers", *costs]
        writer.writerow(
            [*header, "seeds", "minival_top1", "test_top1", "standard_error", "weights"]
        )
        for target, network in _listed(result):
            row = network.as_row(result.folder)
            minival = sum(network.minival) / len(network.minival)
            test = sum(network.test) / len(network.test) if network.test else ""
            cells: list[Any] = [target, network.kind, row["key"], row["resolution"], row["layers"]]
            cells += [network.costs.get(name, "") for name in costs]
            error = "" if math.isnan(network.error) else f"{network.error:.4f}"
            cells += [len(network.minival), minival, test, error, row["weights"]]
            writer.writerow(map(csv_cell, cells))


def _draw(path: Path, result: ParentResult) -> None:
    """Draw accuracy against FLOPs of the parent, the found networks, and the references."""
    figure = new_figure(7.5, 5.0, dpi=120)
    axes = figure.add_subplot()
    drawn: set[str] = set()
    best = [result.teacher, *(each.networks[0] for each in result.targets)]
    best.sort(key=lambda network: network.costs["flops"])
    axes.plot(
        [each.costs["flops"] / 1e6 for each in best],
        [each.accuracy for each in best],
        color=COLOURS["found"],
        lw=1,
    )
    for _, network in _listed(result):
        error = None if math.isnan(network.error) else network.error
        axes.errorbar(
            network.costs["flops"] / 1e6,
            network.accuracy,
            yerr=error,
            fmt="o",
            ms=5,
            capsize=2,
            color=COLOURS[network.kind],
            label=None if network.kind in drawn else network.kind,
        )
        drawn.add(network.kind)
    split = "test" if result.teacher.test else "minival"
    axes.set(
        xlabel="FLOPs: multiply-adds of one image, in millions",
        ylabel=f"{split} accuracy after fine-tuning (%)",
        title=f"networks inside {result.config.parent}",
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    save_png(figure, path)
