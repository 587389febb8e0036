"""Does one network fit all devices?

For each of six measured accelerators and three targets, a search finds the network with the highest
predicted top-1 among those at least 0.8, 1 or 1.2 times as fast as EfficientNet-B0 on that device.
Shown: the gain of each search over B0; for each device, the fastest network with at least B0's
predicted accuracy, its speed relative to B0, and its speed on the other devices; and how many
decisions the six networks share.

Speed is predicted (`nas.devices`, fitted to Accel-NASBench, Ahmad et al., DAC 2024), and so is
top-1 (short schedule). Time: five minutes.

    python -m experiments.one_network_per_device
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.one_network_per_device")

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from nas import catalog
from nas.devices import DEVICES, load_device
from nas.evaluators.surrogate import imagenet_evaluator
from nas.history import History
from nas.objective import Objective
from nas.search.device_costs import DeviceCost
from nas.search.loop import LoopOptions, search
from search_spaces.catalog import space as make_space
from search_spaces.space import SearchSpace
from vbs.console import print_err, print_out
from vbs.figure import draw_picture, new_figure, save_png
from vbs.folder import write_json

B0 = "EfficientNet-B0"
NAMES = [name for name in DEVICES if name != "train_time"]
SPEEDS = (0.8, 1.0, 1.2)  # relative to B0 on the device
FASTER = (1.0, 1.25, 1.5, 1.75)  # speeds at which networks as accurate as B0 are searched


def cost_of(name: str, space: SearchSpace) -> DeviceCost:
    """Return the cost "seconds per image on a device", at its throughput."""
    return DeviceCost(load_device(name), "throughput", space)


def found_on(name: str, space: SearchSpace, speed: float, budget: int) -> History:
    """Search for the most accurate network that is `speed` times as fast as B0 on a device."""
    spent = cost_of(name, space)
    measured = space.measured_by(**{spent.name: spent})
    b0 = float(spent(space.encode(space.references[B0])[None])[0])
    objective = Objective(b0 / speed, "feasible", of=spent.name)
    strategy = catalog.strategy("evolution", measured, objective)
    return search(measured, imagenet_evaluator(), objective, strategy, budget, LoopOptions())


def fastest(history: History, least: float) -> list[np.ndarray]:
    """Return the fastest network of a history with at least that accuracy; [] if there is none."""
    rows = np.flatnonzero(history.accuracy >= least)
    spent = history.costs.get(history.objective.of)
    return [history.genotypes[rows[spent[rows].argmin()]]] if len(rows) else []


def experiment(budget: int) -> dict[str, Any]:
    """Run all searches; return their results as plain data."""
    space, evaluator = make_space("efficientnet"), imagenet_evaluator()
    b0 = space.encode(space.references[B0])
    least = float(evaluator.surrogate.predict(b0[None])[0][0])
    rows, winners = [], {}
    for speed, name in itertools.product(SPEEDS, NAMES):
        print_err(f"{name}, {speed:g} times as fast as B0")
        history = found_on(name, space, speed, budget)
        best = history.best()
        winners[speed, name] = history.genotypes[best]
        spent = cost_of(name, space)
        rows.append(
            {
                "device": name,
                "speed_over_b0": speed,
                "top1": round(float(history.accuracy[best]), 3),
                "gain_over_b0": round(float(history.accuracy[best]) - least, 3),
                "images_per_second": round(1 / float(spent(winners[speed, name][None])[0]), 1),
                "b0_images_per_second": round(1 / float(spent(b0[None])[0]), 1),
                "choices": space.choices_of(winners[speed, name]),
            }
        )
    fast = {name: _as_accurate(name, space, least, budget) for name in NAMES}
    return {
        "b0_top1": round(least, 3),
        "searches": rows,
        "as_accurate_as_b0": [_faster(name, fast[name], space) for name in NAMES],
        "crossed": _crossed(fast, space),
        "shared_decisions": _shared(winners),
    }


def _faster(name: str, genotype: np.ndarray, space: SearchSpace) -> dict[str, Any]:
    """Return the speed of a network relative to B0 on a device, and its predicted top-1."""
    spent, b0 = cost_of(name, space), space.encode(space.references[B0])
    top1, _ = imagenet_evaluator().surrogate.predict(genotype[None])
    times = float(spent(b0[None])[0]) / float(spent(genotype[None])[0])
    return {
        "device": name,
        "times_as_fast_as_b0": round(times, 3),
        "top1": round(float(top1[0]), 3),
        "choices": space.choices_of(genotype),
    }


def _as_accurate(name: str, space: SearchSpace, least: float, budget: int) -> np.ndarray:
    """Return the fastest network on a device that is predicted to be as accurate as B0.

    It is the best of searches at several speeds.
    """
    spent = cost_of(name, space)
    b0 = float(spent(space.encode(space.references[B0])[None])[0])
    most = b0 / space.measured_by(**{spent.name: spent}).cost_range(spent.name)[0]
    feasible = [speed for speed in FASTER if speed < 0.95 * most]
    found = [space.encode(space.references[B0])]
    for speed in feasible:
        found += fastest(found_on(name, space, speed, budget), least)
    return min(found, key=lambda genotype: float(spent(genotype[None])[0]))


def _crossed(fast: dict[str, np.ndarray], space: SearchSpace) -> list[Any]:
    """Return the speed of each device's network on every device, relative to that device's own.

    All networks are predicted to be at least as accurate as B0.
    """
    rows = []
    for on in NAMES:
        spent = cost_of(on, space)
        own = float(spent(fast[on][None])[0])
        others = {name: round(own / float(spent(fast[name][None])[0]), 3) for name in NAMES}
        rows.append({"on": on, "relative_speed_of": others})
    return rows


def _shared(winners: dict[tuple[float, str], np.ndarray]) -> list[Any]:
    """Return how many of the 28 decisions two devices' networks share, on average over pairs."""
    rows = []
    for speed in SPEEDS:
        pairs = itertools.combinations(NAMES, 2)
        same = [int((winners[speed, a] == winners[speed, b]).sum()) for a, b in pairs]
        rows.append(
            {
                "speed_over_b0": speed,
                "mean": round(float(np.mean(same)), 1),
                "least": min(same),
                "most": max(same),
            }
        )
    return rows


def draw(path: Path, result: dict[str, Any]) -> None:
    """Draw the speed of each device's network on every device, all as accurate as B0."""
    figure = new_figure(7.2, 5.2)
    axes = figure.add_subplot()
    rows = result["crossed"]
    values = np.array([[row["relative_speed_of"][name] for name in NAMES] for row in rows])
    shown = axes.imshow(values, vmin=min(0.5, float(values.min())), vmax=1.0)
    for (y, x), value in np.ndenumerate(values):
        axes.text(
            x,
            y,
            f"{value:.2f}",
            ha="center",
            va="center",
            c="black" if value > 0.8 else "white",
            fontsize=9,
        )
    axes.set_xticks(range(len(NAMES)), NAMES)
    axes.set_yticks(range(len(NAMES)), NAMES)
    axes.set(
        xlabel="network found for",
        ylabel="running on",
        title="One network does not fit all: speed over that of the device's own network",
    )
    figure.colorbar(shown, ax=axes, shrink=0.8, label="relative speed")
    save_png(figure, path)


def main() -> int:
    """Measure and write the result; return the exit code."""
    parser = experiment_arguments(__doc__)
    parser.add_argument("--budget", type=int, default=200_000)
    parser.add_argument("--out", type=Path, default=RESULTS / "one_network_per_device.json")
    args = parser.parse_args()
    result = experiment(args.budget)
    write_json(
        args.out,
        {
            "settings": {"budget": args.budget, "strategy": "evolution", "reward": "feasible"},
            **result,
            **settings_of_machine(),
        },
    )
    draw_picture(args.out.with_suffix(".png"), lambda path: draw(path, result))
    for row in result["searches"]:
        print_out(
            f"{row['device']:8} {row['speed_over_b0']:g}x: {row['gain_over_b0']:+.2f} points "
            f"at {row['images_per_second']:,.0f} images/s"
        )
    for row in result["as_accurate_as_b0"]:
        print_out(
            f"{row['device']:8} as accurate as B0: {row['times_as_fast_as_b0']:.2f} times as fast"
        )
