"""How should a small network grow? Compound growth and growth along one axis, at equal real cost.

What: `scaling.grid` on CIFAR-10 for three baselines, each a proxy of at most 3M FLOPs at 32 px: the
network found by `experiments.cifar10_search`, EfficientNet-B0 and MobileNetV2. The trained networks
are candidates of the grid whose real cost is twice that of the baseline, as far apart as possible,
and three controls that spend the same on depth, width or resolution alone; 3 seeds each, 6 where
those were too few; scored on images held out of the training set. The accuracy of the best
candidate is biased upwards, because it is the best of several noisy ones. Unbiased comparisons
with a control are the mean of all compound candidates, or, with 6 seeds, the candidate that is best
by the first 3 as scored by the other 3.
Expected: the best compound candidates ahead of all three controls, and an optimum that noise does
not hide entirely. Measured: results/scaling_cifar10.json, and a triangle for each base: no
candidate is clearly ahead of the best axis, which is width for two of them and resolution for the
third. Time: 30 to 70 minutes for each base on 2 CPU cores; rerun the command to resume. Command:

    python -m experiments.scaling_cifar10 --data parquet:../shared/data/cifar10
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.scaling_cifar10")

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from experiments.cifar10_search import NAME as SEARCH
from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from scaling.grid.config import FIGURE, RECORD, GridConfig
from scaling.grid.report import show_result
from scaling.grid.run import run_grid
from search_spaces.architecture import Architecture
from vbs.accuracy import standard_error
from vbs.failures import Failure
from vbs.folder import write_json

NAME = "scaling_cifar10"
CANDIDATES, FIDELITY = 5, "epochs=6,share=0.15"
CHOOSING = 3  # seeds that select a candidate; the other seeds score it
SHOWN = ("candidates", "seeds", "fidelity", "growth")  # settings of a grid in the result file
# seeds of each base; with three seeds the best candidates of the found network were within noise
BASES = {"found": 6, "efficientnet_b0": 3, "mobilenet_v2": 3}


def found_network(work: Path) -> Path:
    """Return the file of the network that the search on CIFAR-10 found."""
    searched = RESULTS / f"{SEARCH}.json"
    if not searched.exists():
        raise ValueError(f"{searched} is missing; run python -m experiments.{SEARCH} first")
    network = json.loads(searched.read_text())["settings"]["networks"]["found"]
    path = work / f"found-{Architecture.from_dict(network).key}.json"
    write_json(path, {"architecture": network})
    return path


def grid(base: str, work: Path, args: Any) -> dict[str, Any]:
    """Start or resume the grid of a base; return its record."""
    network, seeds = str(found_network(work)) if base == "found" else base, BASES[base]
    folder = work / Path(network).stem  # another found network gets another grid
    record = folder / RECORD
    known = json.loads(record.read_text()) if record.exists() else None
    if known is None or known["status"] != "finished" or known["settings"]["seeds"] < seeds:
        if known is None:  # a run interrupted before its first record has no results
            shutil.rmtree(folder, ignore_errors=True)
        how = {"data": args.data, "workers": args.processes, "seeds": seeds}
        if known:
            result = run_grid(out=folder, resume=True, retry_failed=True, changes=how)
        else:
            config = GridConfig(
                base=network, candidates=CANDIDATES, fidelity=FIDELITY, device="cpu", **how
            )
            result = run_grid(config, out=folder)
        show_result(result)
        if isinstance(result, int) or result.exit_code:
            raise Failure(f"{base}: the grid failed; see above")
    shutil.copyfile(folder / FIGURE, RESULTS / f"{NAME}_{base}.png")
    return json.loads(record.read_text())


def compared(record: dict[str, Any]) -> dict[str, Any]:
    """Return the controls and the best compound candidate of a grid."""
    rows = {row["name"]: row for row in record["candidates"] if row.get("mean") is not None}
    controls = {name: rows[name] for name in ("depth", "width", "resolution") if name in rows}
    compound = [row for name, row in rows.items() if name not in controls]
    best = max(compound, key=lambda row: row["mean"])
    names = ("growth", "mean", "standard_error", "flops", "params")
    return {
        "best_compound": {"name": best["name"], **{name: best[name] for name in names}},
        **afresh(compound, record["settings"]["seeds"]),
        "mean_of_compound": round(sum(row["mean"] for row in compound) / len(compound), 3),
        **{f"{name}_alone": {key: row[key] for key in names} for name, row in controls.items()},
        "outcome": record["outcome"],
    }


def afresh(compound: list[dict[str, Any]], seeds: int) -> dict[str, Any]:
    """Return the compound candidate that is best by the first seeds, scored by the others."""
    if seeds < 2 * CHOOSING:
        return {}

    def mean_and_error(row: dict[str, Any], part: range) -> tuple[float, float]:
        known = row["accuracies"]
        values = np.array([known[str(seed)] for seed in part if str(seed) in known])
        return float(values.mean()), standard_error(values)

    best = max(compound, key=lambda row: mean_and_error(row, range(CHOOSING))[0])
    mean, error = mean_and_error(best, range(CHOOSING, seeds))
    return {
        "best_by_three_seeds": {
            "name": best["name"],
            "mean_of_the_others": round(mean, 3),
            "standard_error": round(error, 3),
        }
    }


def main() -> None:
    """Run the unfinished grids and write the results so far."""
    parser = experiment_arguments(__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--processes", type=int, default=2, help="trainings at once (default 2)")
    parser.add_argument("--work", type=Path, default=Path("runs") / NAME)
    parser.add_argument("--out", type=Path, default=RESULTS / f"{NAME}.json")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    records: dict[str, Any] = {}
    for base in BASES:
        records[base] = grid(base, args.work, args)
        write_json(
            args.out,
            {
                "partial": len(records) < len(BASES),
                "settings": {
                    name: {field: record["settings"][field] for field in SHOWN}
                    for name, record in records.items()
                },
                "processes": args.processes,
                **settings_of_machine(),
                "compared": {name: compared(record) for name, record in records.items()},
                "grids": {name: record["candidates"] for name, record in records.items()},
            },
        )
