"""Training-aware search without trainings: accuracy and training time are predicted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas import catalog
from nas.devices import load_device
from nas.evaluators.surrogate import SurrogateEvaluator, load_surrogate
from nas.history import History
from nas.objective import Objective
from nas.search.device_costs import DeviceCost
from nas.search.loop import LoopOptions, search
from nas.search.record import best_record
from scaling.training_aware.config import FIGURE, RECORD, TrainingAwareConfig
from scaling.training_aware.page import page
from search_spaces.catalog import space as make_space
from search_spaces.cost import MEASURED, cost_text, split_cost
from search_spaces.space import SearchSpace
from vbs.command import python_command
from vbs.console import print_out, print_results
from vbs.figure import draw_picture, label, new_figure, save_png
from vbs.folder import circumstances, results_folder, write_json
from vbs.page.parts import REPORT, write_page
from vbs.tables import Console, Table
from vbs.text import shell_word, shortened
from vbs.units import percent, short_seconds

SPACE, B0 = "efficientnet", "EfficientNet-B0"
BUDGET = 100_000  # networks of each search
LIMIT = 2.0  # largest training time relative to B0
BEST, REWARD, FASTEST = "best.json", "A x S^w x P^v", "as accurate as B0, fastest"
SAMPLE = 3000  # points of the figure


@dataclass(frozen=True)
class PredictedRow:
    """Predictions of a network with standard deviations, and its exact costs.

    accuracy  top-1 under the short schedule, in percent.
    long      top-1 under the longer schedule, in percent.
    seconds   time S of the reward, in seconds.
    """

    name: str
    genotype: np.ndarray
    accuracy: float
    accuracy_std: float
    long: float
    long_std: float
    seconds: float
    seconds_std: float
    flops: int
    params: int


@dataclass(frozen=True)
class PredictedAware:
    """Networks chosen by each term of V2's reward, by predictions.

    cost_name  name of the cost that is S in the reward: "train_time", or "image_time@a100".
    rows       chosen networks, B0 first.
    history    history of the search by the whole reward.
    """

    folder: Path
    config: TrainingAwareConfig
    cost_name: str
    rows: Mapping[str, PredictedRow]
    history: History

    @property
    def exit_code(self) -> int:
        """Exit code of the command."""
        return 0


def predicted_search(config: TrainingAwareConfig, out: str | None) -> PredictedAware:
    """Search by V2's reward and by each of its terms, and compare the results with B0.

    Raises ValueError for an unknown device and for invalid options.
    """
    space, cost_name = _space(config)
    evaluator = SurrogateEvaluator(load_surrogate("imagenet"))
    b0 = space.encode(space.references[B0])
    own = space.costs(b0[None])
    usual, params = float(own.get(cost_name)[0]), float(own.params[0])
    objective = Objective(
        usual,
        exponent=0.0,
        over_target="allow",
        limits=((cost_name, LIMIT * usual),),
        of=cost_name,
    )
    also = (("params", params, config.v),)
    terms = {
        "A": objective,
        "A x P^v": replace(objective, also=also),
        "A x S^w": replace(objective, exponent=config.w),
        REWARD: replace(objective, exponent=config.w, also=also),
    }
    budget = config.budget or BUDGET
    histories = {}
    for name, each in terms.items():
        strategy = catalog.strategy(config.strategy or "evolution", space, each)
        options = LoopOptions(seed=config.seed)
        histories[name] = search(space, evaluator, each, strategy, budget, options)
    chosen = {B0: b0}
    chosen |= {name: known.genotypes[known.best()] for name, known in histories.items()}
    chosen[FASTEST] = _fastest(histories, evaluator, b0, cost_name)
    rows = {
        name: _row(name, genotype, space, evaluator, cost_name) for name, genotype in chosen.items()
    }
    with results_folder(
        out,
        kind="aware",
        files=(RECORD, FIGURE, BEST, REPORT),
        command="scaling.training_aware",
        resume=None,
    ) as folder:
        history = histories[REWARD]
        result = PredictedAware(folder, config, cost_name, rows, history)
        best = best_record(history, history.best(), evaluator)
        write_json(folder / BEST, {**best, "space": SPACE, "seed": config.seed})
        write_json(folder / RECORD, _record(result))
        draw_picture(folder / FIGURE, lambda path: _draw(path, result))
        write_page(folder, lambda: page(folder))
    return result


def _space(config: TrainingAwareConfig) -> tuple[SearchSpace, str]:
    """Return the space with the time of the reward as a measured cost, and the name of the cost."""
    space = make_space(SPACE)
    if config.on and "," in config.on:
        raise ValueError(f"--on: give one device, not {shortened(config.on, 60)}")
    device = load_device(config.on or "train_time")
    kind = "throughput" if config.on else "train_time"
    if kind not in device.kinds:
        raise ValueError(
            f"--on: {device.name} has no throughput; leave --on out, or use a device such as a100"
        )
    device.check(space)
    spent = DeviceCost(device, kind, space)
    return space.measured_by(**{spent.name: spent}), spent.name


def _fastest(
    histories: Mapping[str, History], evaluator: SurrogateEvaluator, b0: np.ndarray, cost_name: str
) -> np.ndarray:
    """Return the fastest of all networks that are at least as accurate as B0; or B0."""
    least = evaluator.surrogate.predict(b0[None])[0][0]
    found: list[tuple[float, np.ndarray]] = []
    for history in histories.values():
        spent = history.costs.get(cost_name)
        rows = np.flatnonzero(history.accuracy >= least)
        if len(rows):
            row = rows[spent[rows].argmin()]
            found.append((float(spent[row]), history.genotypes[row]))
    return min(found, key=lambda each: each[0])[1] if found else b0


def _row(
    name: str,
    genotype: np.ndarray,
    space: SearchSpace,
    evaluator: SurrogateEvaluator,
    cost_name: str,
) -> PredictedRow:
    accuracy, accuracy_std = evaluator.surrogate.predict(genotype[None])
    long, long_std = evaluator.surrogate.predict(genotype[None], schedule="long")
    costs, errors = space.costs(genotype[None]), space.cost_errors(genotype[None])
    return PredictedRow(
        name,
        genotype,
        float(accuracy[0]),
        float(accuracy_std[0]),
        float(long[0]),
        float(long_std[0]),
        float(costs.get(cost_name)[0]),
        float(errors[cost_name][0]),
        int(costs.flops[0]),
        int(costs.params[0]),
    )


def _record(result: PredictedAware) -> dict[str, Any]:
    """Return the content of training_aware.json."""
    space = result.history.space
    networks = {}
    for name, row in result.rows.items():
        figures = {key: value for key, value in row.__dict__.items() if key != "genotype"}
        architecture = json.loads(space.decode(row.genotype).to_json())
        networks[name] = {**figures, "architecture": architecture}
    return {
        "status": "finished",
        "partial": False,
        "settings": result.config.settings(),
        "outcome": {"S": result.cost_name, "networks": networks},
        **circumstances(("numpy",)),
    }


def _draw(path: Path, result: PredictedAware) -> None:
    """Draw predicted accuracy against the time of the reward: a sample, and the chosen networks."""
    history, name = result.history, result.cost_name
    figure = new_figure(8, 5.4)
    axes = figure.add_subplot()
    kind, device = split_cost(name)
    unit, scale = ("microseconds", 1e6) if device else ("seconds", 1.0)
    what = MEASURED[kind].replace("seconds", unit) + f", {label(device)}" * bool(device)
    spent = history.costs.get(name) * scale
    drawn = np.random.default_rng(0).choice(len(history), min(SAMPLE, len(history)), replace=False)
    sample = history.accuracy[drawn]
    axes.plot(spent[drawn], sample, ".", ms=2, c="0.7", label="evaluated (a sample)")
    for row, mark in zip(result.rows.values(), "*sv^DP", strict=False):
        axes.errorbar(
            row.seconds * scale,
            row.accuracy,
            xerr=row.seconds_std * scale,
            yerr=row.accuracy_std,
            fmt=mark,
            ms=9,
            capsize=2,
            label=label(row.name),
        )
    axes.set(
        xlabel=f"S: {what}",
        ylabel="predicted ImageNet top-1 (%), short schedule",
        ylim=(min(row.accuracy for row in result.rows.values()) - 2, None),
    )
    axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    save_png(figure, path)


def show_predicted(result: PredictedAware) -> None:
    """Print the network chosen by each term of the reward, and the commands to run next."""
    config, rows, b0 = result.config, result.rows, result.rows[B0]
    kind, device = split_cost(result.cost_name)
    print_out(
        f"reward A x S^{config.w:g} x P^{config.v:g}: A predicted accuracy, S "
        f"{MEASURED[kind]}{f', {device}' * bool(device)}, P params; S at most {LIMIT:g} times "
        f"{B0}'s",
        "",
    )
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    rates = ("images/s",) * bool(device)
    for header in ("chosen by", "top-1 %", "long %", "S", "to B0", *rates, "FLOPs", "params"):
        table.add_column(header, justify="left" if header == "chosen by" else "right", no_wrap=True)
    for name, row in rows.items():
        share = percent(row.seconds_std / row.seconds)
        table.add_row(
            name,
            f"{row.accuracy:.2f} ± {row.accuracy_std:.2f}",
            f"{row.long:.2f} ± {row.long_std:.2f}",
            f"{short_seconds(row.seconds)} ± {share}",
            f"{row.seconds / b0.seconds:.2f}",
            *(cost_text(result.cost_name, row.seconds).split()[:1] if device else ()),
            f"{row.flops:,}",
            f"{row.params:,}",
        )
    Console(piped_width=130).print(table)
    fastest = rows[FASTEST]
    saved = 1 - fastest.seconds / b0.seconds
    print_out(
        "",
        f"the same predicted accuracy as {B0} in {saved:.0%} less time."
        if saved > 0
        else f"no faster network of the predicted accuracy of {B0} was found.",
        "top-1: ImageNet, short training schedule (EfficientNet-B0: about 66); long: one 5.7 times "
        "longer. Both are predicted; --data DATA trains networks with Fused-MBConv on your images.",
    )
    python, best = python_command(), shell_word(str(result.folder / BEST))
    print_results(
        result.folder,
        (RECORD, FIGURE, BEST, REPORT),
        [
            f"{python} -m search_spaces.show {best}",
            f"{python} -m scaling.family --base {best} --phi 0..3",
            f"{python} -m scaling.training_aware --data imagefolder:DIR",
        ],
    )
