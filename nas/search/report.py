"""Printed report and result files of a search; the page report.html is made in `page`."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import rich.box

from nas.evaluators.base import Evaluator
from nas.evaluators.ranking import could_be_best, probability_better
from nas.history import History
from nas.objective import highest
from nas.parents import report as parent_report
from nas.parents.result import ParentResult
from nas.search import front_figure, record
from nas.search.config import SearchConfig
from nas.search.doubts import advised, doubt_about
from nas.search.result import SearchResult
from nas.search.rows import Row, reference_rows, rows
from nas.strategies.base import feasible_share
from search_spaces.architecture import Architecture
from search_spaces.cost import cost_text, is_measured, split_cost
from search_spaces.space import SearchSpace
from train.suggested import recipe_words
from vbs import signals
from vbs.command import python_command
from vbs.config import code_values, flag
from vbs.console import print_err, print_results
from vbs.figure import draw_picture
from vbs.folder import write_json, write_whole
from vbs.tables import Console, Table
from vbs.text import counted, csv_cell, shell_command, shell_word
from vbs.units import percent, short

# for the certainty of the ranking: number of networks of highest reward, and number of draws
CONTENDERS, DRAWS = 3_000, 400
# columns of `Evaluator.further` that tables show: name -> heading
OTHERS = {"accuracy_long": "long %", "accuracy_short": "short %"}
ENDINGS = {
    "finished": "finished",
    "exhausted": "finished early, the strategy proposed no new network within the limits",
    "out of time": "finished, the time limit was reached",
    "interrupted": "interrupted, the results so far are saved",
    "failed": "stopped, the results so far are saved",
}


def write(folder: Path, config: SearchConfig, history: History, evaluator: Evaluator) -> None:
    """Write best.json and pareto.csv into the folder of a search."""
    names = ("space", "evaluator", "strategy", "seed")
    best = record.best_record(history, history.best(), evaluator)
    write_json(folder / "best.json", {**best, **{name: getattr(config, name) for name in names}})
    write_whole(folder / "pareto.csv", lambda path: _write_front(path, history, evaluator))


def draw(folder: Path, history: History, evaluator: Evaluator) -> None:
    """Draw pareto.png; a failure prints a warning."""
    draw_picture(folder / "pareto.png", lambda path: _draw_front(path, history, evaluator))


def _write_front(path: Path, history: History, evaluator: Evaluator) -> None:
    front = history.front()
    genotypes = history.genotypes[front]
    more = record.further_costs(history.space, genotypes)
    more |= evaluator.further(history.space, genotypes)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = history.space.cost_names
        header = [*names, "accuracy", "accuracy_std", "reward", *more, *history.space.choices]
        writer.writerow(map(csv_cell, header))
        for place, row in enumerate(front):
            costs = [history.costs.get(name)[row].item() for name in names]
            numbers = history.summary(row)[:3]
            choices = history.space.choices_of(history.genotypes[row]).values()
            texts = [f"{number:.6f}" for number in numbers]
            texts += [f"{values[place]:.6g}" for values in more.values()]
            cells = [*costs, *texts, *choices]
            writer.writerow(map(csv_cell, cells))


def _draw_front(path: Path, history: History, evaluator: Evaluator) -> None:
    front_figure.draw(path, history, evaluator, reference_rows(history, evaluator))


def show_result(result: SearchResult | ParentResult) -> None:
    """Print the networks of a search, suggested commands, and the reason of a failure."""
    if isinstance(result, ParentResult):
        parent_report.show(result)
        return
    with signals.deferred():
        if result.found:
            _show(result)
        if result.reason:
            print_err(f"nas.search: {result.reason}")


def _show(result: SearchResult) -> None:
    console = Console(piped_width=130)
    narrow = console.width < 100
    folder, history, evaluator = result.folder, result.history, result.evaluator
    console.print(ending(history, evaluator, status=result.status, seconds=result.seconds))
    table = Table(box=None if narrow else rich.box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("network", no_wrap=True)
    listed = rows(history, evaluator)
    for header in cells(listed[0], history.space, evaluator, narrow=narrow):
        table.add_column(header, justify="right", no_wrap=True)
    for row in listed:
        table.add_row(row.name, *cells(row, history.space, evaluator, narrow=narrow).values())
    console.print(table)
    for line in certainty(history, evaluator):
        console.print(line)
    for line in column_notes(history, evaluator):
        console.print(line)
    for line in result.ranking:
        console.print(line)
    steps = next_commands(folder, result.config, result.status, history, evaluator)
    print_results(folder, (*record.FILES, "study.db"), steps)


def column_notes(history: History, evaluator: Evaluator) -> list[str]:
    """Return lines that explain the columns of the table."""
    lines = [f"top-1: {evaluator.unit}."]
    if "accuracy_long" in evaluator.further(history.space, history.genotypes[:1]):
        lines.append(
            "long: the same with a schedule 5.7 times longer (EfficientNet-B0: about 72.5)."
        )
    if evaluator.measured is not None:
        lines.append("nearest: number of decisions that differ from the nearest measured network.")
    return lines


def certainty(history: History, evaluator: Evaluator) -> list[str]:
    """Return lines about the certainty of the choice and the meaning of ±, if known."""
    lines = []
    if evaluator.scored_on:
        lines.append(
            f"±: one standard deviation, from {evaluator.scored_on:,} held-out images and, for "
            "networks trained with several seeds, between the seeds."
        )
    if evaluator.scored_on or history.networks < len(history):
        lead = str(history.lead())
        lines += [f"{lead} (reward, paired error on the same images)."] if lead else []
    lines += evaluator.notes
    doubt = doubt_about(history, evaluator)
    return [*lines, f"warning: {advised(doubt, evaluator)}."] if doubt else lines


def rank_certainty(history: History, evaluator: Evaluator) -> list[str]:
    """Return lines about the certainty of a predicted ranking; an empty list if it is unknown."""
    rows = highest(history.reward, CONTENDERS)
    known = evaluator.predict_own(history.space, history.genotypes[rows])
    if known is None or history.objective.own_reward:
        return []
    reward, costs = history.objective.reward, history.costs[rows]
    means = reward(known[0], costs)
    deviations = np.abs(reward(known[0] + known[1], costs) - means)
    rng = np.random.default_rng(0)
    best = could_be_best(means, deviations, rng, draws=DRAWS)
    many = "at least " * (len(best) > CONTENDERS // 2)
    lines = [
        f"rank: {many}{counted(len(best), 'network')} could be the best by reward (95%); "
        "their predictions differ by less than their errors."
    ]
    references = reference_rows(history, evaluator)
    if references:
        other = references[0]
        theirs = evaluator.predict_own(history.space, other.genotype[None])
        assert theirs is not None
        above = probability_better(known[0][:1], known[1][:1], theirs[0], theirs[1])[0]
        lines.append(
            f"the best by reward is more accurate than {other.name} with a probability of "
            f"{percent(float(above))}."
        )
    return lines


def ending(history: History, evaluator: Evaluator, *, status: str, seconds: float) -> str:
    """Return a sentence that describes how the search ended."""
    text = f"{ENDINGS[status]}: {counted(history.networks, 'network')} evaluated in {seconds:.1f} s"
    if repeats := len(history) - history.networks:
        text += f", and {repeats} further evaluation{'s' * (repeats > 1)} of the best ones"
    if stopped := int((history.fidelity < 1).sum()):
        text += f", {stopped:,} stopped early"
    if failed := int((history.error != "").sum()):
        text += f", {failed:,} of them failed"
    space, objective = history.space, history.objective
    if evaluator.pooled and evaluator.measured is not None:
        share = float(objective.feasible(space.costs(evaluator.measured.genotypes)).mean())
        whole = "the measured networks"
    else:
        share = feasible_share(space, objective, np.random.default_rng(0))
        whole = f"space {space.name!r}"
    return f"{text}; {percent(share)} of {whole} is within the limits"


def cells(row: Row, space: SearchSpace, evaluator: Evaluator, *, narrow: bool) -> dict[str, str]:
    """Return the cells of a network: header -> text."""
    headers = {name: cost_header(name) for name in space.cost_names if is_measured(name)}
    more = evaluator.further(space, row.genotype[None])
    further = {OTHERS[name]: name for name in OTHERS if name in more}
    columns = ["top-1 %", "measured", *further, "FLOPs", "params", *headers.values()]
    columns += ["reward", "nearest"]
    if evaluator.measured is None:
        columns = [name for name in columns if name not in ("measured", "nearest")]
    if narrow:
        crowded = {"measured"} if headers else set()
        left_out = {"reward", *further, *crowded}
        columns = [name for name in columns if name not in left_out]
    known = not np.isnan(row.accuracy)
    spread = "" if np.isnan(row.std) else f" ± {row.std:.2f}"
    flops, params = row.costs["flops"], row.costs["params"]
    texts = {
        "top-1 %": f"{row.accuracy:.2f}{spread}" if known else "-",
        "measured": "-" if np.isnan(row.measured) else f"{row.measured:.2f}",
        "FLOPs": short(flops) if narrow else f"{flops:,}",
        "params": short(params) if narrow else f"{params:,}",
        **{header: _cost_cell(row, name) for name, header in headers.items()},
        **{
            header: f"{more[name][0]:.2f} ± {more[f'{name}_std'][0]:.2f}"
            for header, name in further.items()
        },
        "reward": "-" if np.isnan(row.reward) else f"{row.reward:.2f}",
    }
    if evaluator.measured is not None:
        texts["nearest"] = str(evaluator.measured.nearest(row.genotype[None])[0][0])
    return {name: texts[name] for name in columns}


def cost_header(name: str) -> str:
    """Return the heading of a measured cost: its kind or its device."""
    kind, device = split_cost(name)
    return {"latency": device, "image_time": f"{device} images/s"}.get(kind, name) or name


def _cost_cell(row: Row, name: str) -> str:
    """Return a measured cost as text, with its error if it was predicted."""
    value, error = row.costs[name], row.cost_errors.get(name)
    share = "" if error is None else f" ± {percent(error / value)}"
    return cost_text(name, value).removesuffix(" images/s") + share


def training_words(config: SearchConfig, evaluator: Evaluator) -> str:
    """Return options of train.run with the data and recipe of the search's trainings, if any."""
    if config.data is None:
        return "--data imagefolder:DIR"
    root = f" --data-root {shell_word(config.data_root)}" if config.data_root else ""
    how = recipe_words(evaluator.train_images, recipe=config.recipe, changes=config.changes)
    return f"--data {shell_word(str(config.data))}{root} {shell_command(how)}"


def next_commands(
    folder: Path, config: SearchConfig, status: str, history: History, evaluator: Evaluator
) -> list[str]:
    """Return suggested next commands."""
    python = python_command()
    commands = []
    if (folder / "best.json").is_file():  # missing if the disk was full
        commands.append(f"{python} -m search_spaces.show {shell_word(str(folder / 'best.json'))}")
    if commands and status in ("finished", "exhausted", "out of time"):
        network = history.space.decode(history.genotypes[history.best()])
        if isinstance(network, Architecture):
            path = shell_word(str(folder / "best.json"))
            commands.append(f"{python} -m train.run {path} {training_words(config, evaluator)}")
    if status != "exhausted":
        broken = status in ("interrupted", "failed")
        assert config.budget is not None  # a search that ran has one
        more = config.budget if broken else 4 * max(config.budget, history.networks)
        quoted = shell_word(str(folder))
        code = code_values(config)  # a resumed search does not read these from its record
        again = "".join(f" {flag(name)} {shell_word(text)}" for name, text in code.items())
        commands.append(f"{python} -m nas.search --resume --out {quoted} --budget {more}{again}")
    return commands
