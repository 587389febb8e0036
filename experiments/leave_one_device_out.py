"""How well do ten measurements describe a new device?

What: each of six measured accelerators in turn serves as the new device. It is measured on 5 to 50
networks, designed or drawn at random from the measured ones, and all others are predicted. The
other devices serve as prior, except the training time and the devices of the same product line
(A100 and RTX 3090; TPUv2 and TPUv3); the deviations of the prior are also learned without that
line (nested). Compared with the prior without any device (costs only) and with FLOPs alone. The
kinds of features are not nested: they were chosen with all these devices in view.
Expected with ten designed measurements (Kendall tau, mean error): A100 .92, 4.8%; RTX 3090 .92,
5.2%; TPUv2 .89, 6.6%; TPUv3 .80, 5.4%; ZCU102 .89, 7.8%; VCK190 .90, 7.4%; training time .83, 7.3%.
Time: 2 minutes on one core.
Command: python -m experiments.leave_one_device_out [--measurements FILE]
Writes nas/devices/prior.json, experiments/results/leave_one_device_out.{json,png}.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.leave_one_device_out")

import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.fit_devices import scores, title
from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from experiments.lib.device_data import FILE, ROOT, SOURCE, Speeds, line_of, read_speeds
from experiments.lib.device_prior import Key, learn, sources_of
from experiments.lib.surrogate_scores import kendall_tau
from nas.devices.features import Features
from nas.devices.measured import MeasuredDevice, measured_devices
from nas.devices.own import fit_model, leave_one_out
from nas.devices.prior import POOL, TARGETS, Prior, plan, prior_from
from search_spaces.catalog import space as space_named
from search_spaces.space import SearchSpace
from vbs.console import print_out
from vbs.figure import draw_picture, new_figure, save_png
from vbs.folder import write_json

COUNTS = (5, 10, 20, 50)
GOALS = {"tpuv3": 0.80}  # Kendall's tau with ten designed measurements; .85 for the others
CHECKED = 10  # measurements up to which leave-one-out is compared with the error
TESTED = 1_500  # networks whose ranks are compared


def evaluate(
    prior: Prior, data: Speeds, key: Key, count: int, rng: np.random.Generator
) -> dict[str, dict[str, float]]:
    """Return scores on all other networks after `count` designed and after `count` random ones."""
    rows = rng.permutation(np.flatnonzero(np.isfinite(data.seconds[key])))
    pool = data.genotypes[rows[:POOL]]
    targets = data.genotypes[rows[POOL : POOL + TARGETS]]
    found = plan(prior, count, pool, targets)
    order = {genotype.tobytes(): index for index, genotype in enumerate(pool)}
    designed = [rows[order[genotype.tobytes()]] for genotype in found.genotypes]
    chosen = {"designed": np.array(designed), "random": rows[:count]}
    out = {}
    for name, own in chosen.items():
        logs = np.log(data.seconds[key][own])
        model = fit_model(prior, data.genotypes[own], logs)
        others = np.setdiff1d(rows, own)[:TESTED]
        mean, spread = model.predict(data.genotypes[others])
        out[name] = scores(np.log(data.seconds[key][others]), mean, spread)
        out[name]["expected_error_percent"] = round(100 * float(found.errors[-1]), 2)
        if count <= CHECKED:
            flops = prior.features.space.costs(data.genotypes[own]).flops
            loo = leave_one_out(prior, data.genotypes[own], logs, flops)
            out[name]["leave_one_out_error_percent"] = round(100 * loo.mean_error, 2)
            out[name]["refused"] = float(loo.deviation >= loo.of_mean)
    return out


def averaged(found: list[dict[str, float]]) -> dict[str, float]:
    """Return means over the repeats, and the lowest tau."""
    means = {name: round(float(np.mean([each[name] for each in found])), 4) for name in found[0]}
    return means | {"lowest_tau": min(each["kendall_tau"] for each in found)}


def by_count(prior: Prior, data: Speeds, key: Key, repeats: int) -> dict[str, Any]:
    """Return averaged scores for each number of measurements."""
    out: dict[str, Any] = {}
    for count in COUNTS:
        found = [
            evaluate(prior, data, key, count, np.random.default_rng(100 * count + repeat))
            for repeat in range(repeats)
        ]
        out[str(count)] = {
            name: averaged([each[name] for each in found]) for name in ("designed", "random")
        }
    return out


def flops_tau(space: SearchSpace, data: Speeds, key: Key) -> float:
    """Return Kendall's tau between FLOPs and time."""
    rows = np.flatnonzero(np.isfinite(data.seconds[key]))[:TESTED]
    flops = space.costs(data.genotypes[rows]).flops.astype(np.float64)
    return round(kendall_tau(data.seconds[key][rows], flops), 4)


def compare(
    space: SearchSpace, data: Speeds, devices: dict[str, MeasuredDevice], repeats: int
) -> list[dict[str, Any]]:
    """Return one row for each device and kind."""
    learned: dict[tuple[str, bool], dict[str, float]] = {}
    rows = []
    for key, _, _ in data.rows():
        row: dict[str, Any] = {"device": key[0], "kind": key[1]}
        for measured, name in ((True, "with_prior"), (False, "costs_only")):
            line = line_of(key[0]), measured
            if line not in learned:
                learned[line] = learn(space, data, devices, without=[key[0]], measured=measured)
            features = Features(space, sources_of(devices, key[0]) if measured else [])
            prior = prior_from(features, learned[line])
            row[name] = by_count(prior, data, key, repeats)
        row["flops_tau"] = flops_tau(space, data, key)
        row["goal"] = GOALS.get(key[0], 0.85)
        rows.append(row)
        ten = row["with_prior"]["10"]
        print_out(f"{title(key)}: designed {ten['designed']}", f"  random {ten['random']}")
    return rows


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    """Draw Kendall's tau and mean error against the number of measurements."""
    figure = new_figure(13, 10)
    for axes, row in zip(figure.subplots(3, 3).flat, rows, strict=True):
        for name, way, style in (
            ("with_prior", "designed", "o-"),
            ("with_prior", "random", "o--"),
            ("costs_only", "designed", "s-"),
            ("costs_only", "random", "s--"),
        ):
            taus = [row[name][str(count)][way]["kendall_tau"] for count in COUNTS]
            label = f"{'other devices' if name == 'with_prior' else 'costs only'}, {way}"
            axes.semilogx(COUNTS, taus, style, markersize=4, label=label)
        axes.axhline(row["flops_tau"], color="grey", linewidth=0.8, label="FLOPs")
        axes.set_title(title((row["device"], row["kind"])), fontsize=10)
        axes.set(xlabel="measurements", ylabel="Kendall's tau", ylim=(0.3, 1.0))
        axes.set_xticks(COUNTS, [str(count) for count in COUNTS])
        axes.set_xticks([], minor=True)
    figure.axes[0].legend(fontsize=7)
    save_png(figure, path)


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = experiment_arguments(__doc__)
    parser.add_argument("--measurements", type=Path, default=FILE)
    parser.add_argument("--out", type=Path, default=ROOT / "nas" / "devices" / "prior.json")
    parser.add_argument("--results", type=Path, default=RESULTS / "leave_one_device_out.json")
    parser.add_argument(
        "--repeats",
        type=int,
        default=4,
        help="draws of the networks for each number of measurements",
    )
    args = parser.parse_args(argv)
    start = time.perf_counter()
    space = space_named("efficientnet")
    data = read_speeds(args.measurements, space)
    devices = dict(measured_devices())
    learned = {
        "measured": learn(space, data, devices),
        "costs": learn(space, data, devices, measured=False),
    }
    write_json(args.out, learned)
    rows = compare(space, data, devices, args.repeats)
    draw_picture(args.results.with_suffix(".png"), lambda path: draw(path, rows))
    content = {
        "source": SOURCE,
        "settings": {"space": space.name, **space.settings, "repeats": args.repeats},
        **settings_of_machine(),
        "learned": learned,
        "devices": rows,
        "seconds": round(time.perf_counter() - start),
    }
    write_json(args.results, content)
    return 0
