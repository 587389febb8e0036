"""Grid without trainings: the gain of every candidate is predicted from published trainings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scaling.compound import GREEK, Coefficients
from scaling.grid.config import FIGURE, RECORD, GridConfig
from scaling.grid.growth import Candidate, shares
from scaling.grid.page import page
from scaling.grid.published_figure import draw
from scaling.published import (
    Optimum,
    best_split,
    check_range,
    factors_between,
    load_published,
    predicted_gain,
)
from scaling.published.known import KnownTop1, known_top1
from scaling.published.optimum import TIE
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from vbs.command import python_command
from vbs.console import print_out, print_results
from vbs.figure import draw_picture
from vbs.folder import circumstances, results_folder, write_json
from vbs.page.parts import REPORT, write_page
from vbs.tables import Console, Table
from vbs.text import counted, shell_word

SHOWN = 12  # candidates in the printed table, in addition to the controls
DEVIATIONS = 1.96  # half-width of a 95% interval in standard deviations


@dataclass(frozen=True)
class PublishedGrid:
    """Result of a grid whose gains are predicted from published trainings.

    base_top1  ImageNet top-1 of the base, and its source.
    gains, errors  gain of each candidate over the base in points, and its standard deviation, [n].
    optimum    optimum over all splits of the growth.
    chosen     candidate with the highest predicted gain.
    """

    folder: Path
    config: GridConfig
    base: Architecture
    base_top1: KnownTop1
    candidates: Sequence[Candidate]
    gains: np.ndarray
    errors: np.ndarray
    optimum: Optimum
    chosen: Candidate

    @property
    def coefficients(self) -> Coefficients:
        """alpha, beta and gamma of the choice."""
        return self.chosen.coefficients

    @property
    def ties(self) -> np.ndarray:
        """Candidates with a predicted gain within `TIE` points of the best, bool [n]."""
        return self.gains >= self.gains.max() - TIE

    @property
    def exit_code(self) -> int:
        """Exit code of the command."""
        return 0


def base_accuracy(config: GridConfig) -> KnownTop1:
    """Return the top-1 of the base; raises ValueError if it is unknown or out of range."""
    top1 = known_top1(config.base, config.base_top1)
    check_range(np.ones((1, 3)), base_top1=top1.percent)
    return top1


def predicted_grid(
    config: GridConfig,
    base: Architecture,
    top1: KnownTop1,
    found: Sequence[Candidate],
    out: str | None,
) -> PublishedGrid:
    """Predict the gain of every candidate, and write the record, the figure and the page.

    top1  top-1 of the base, see `base_accuracy`.

    Raises ValueError if a candidate is outside the range of the published trainings.
    """
    factors = np.array([factors_between(base, each.architecture) for each in found])
    check_range(factors, base_top1=top1.percent)
    gains, errors = predicted_gain(factors, base_top1=top1.percent)
    optimum = best_split(config.growth, base_top1=top1.percent)
    free = [index for index, each in enumerate(found) if not each.is_control]
    chosen = found[max(free, key=lambda index: gains[index])]
    with results_folder(
        out, kind="grid", files=(RECORD, FIGURE, REPORT), command="scaling.grid", resume=None
    ) as folder:
        result = PublishedGrid(folder, config, base, top1, found, gains, errors, optimum, chosen)
        write_json(folder / RECORD, _record(result))
        places = np.array([shares(each) for each in found])
        draw_picture(
            folder / FIGURE, lambda path: draw(path, config, optimum, places, found, gains)
        )
        write_page(folder, lambda: page(folder))
    return result


def _record(result: PublishedGrid) -> dict[str, Any]:
    """Return the content of grid.json, in the form of a trained grid."""
    optimum, published = result.optimum, load_published()
    base = {**cost(result.base)._asdict(), "architecture": json.loads(result.base.to_json())}
    rows = [
        {
            "name": each.name,
            "factors": each.factors._asdict(),
            "growth": each.growth,
            "real_factors": each.real._asdict(),
            "shares": [round(share, 4) for share in shares(each)],
            **cost(each.architecture)._asdict(),
            "architecture": json.loads(each.architecture.to_json()),
            "predicted_gain": round(float(gain), 4),
            "predicted_gain_std": round(float(error), 4),
            "tie": bool(tie),
        }
        for each, gain, error, tie in zip(
            result.candidates, result.gains, result.errors, result.ties, strict=True
        )
    ]
    return {
        "status": "finished",
        "partial": False,
        "settings": result.config.settings(),
        "base": {**base, "top1": result.base_top1.percent, "source": result.base_top1.source},
        "candidates": rows,
        "outcome": {
            "chosen": dict(zip(GREEK, result.chosen.factors, strict=True)),
            "predicted_from": f"{published.trainings} published trainings",
            "optimum": {
                "coefficients": dict(zip(GREEK, optimum.coefficients.tolist(), strict=True)),
                "intervals": dict(zip(GREEK, optimum.intervals.tolist(), strict=True)),
                "gain": optimum.gain,
                "std": optimum.std,
                "tied_share": float(optimum.ties.mean()),
                "losses": dict(optimum.losses),
            },
        },
        **circumstances(("numpy",)),
    }


def show_published(result: PublishedGrid) -> None:
    """Print the candidates with the highest predicted gain, ties, and the commands to run next."""
    config, optimum, top1 = result.config, result.optimum, result.base_top1
    published = load_published()
    print_out(
        f"{config.base}: {top1.percent:.1f}% top-1 ({top1.source}), "
        f"candidates cost {config.growth:g} times its FLOPs",
        "",
    )
    _table(result)
    ends = [
        f"{name} {value:.2f} ({low:.2f} to {high:.2f})"
        for name, value, (low, high) in zip(
            GREEK, optimum.coefficients, optimum.intervals, strict=True
        )
    ]
    tied = int(result.ties.sum())
    losses: Mapping[str, float] = optimum.losses
    said = ", ".join(f"{name} {-loss:+.2f}" for name, loss in losses.items())
    print_out(
        "",
        f"optimum: {', '.join(ends)}; 95% intervals for a new recipe",
        f"ties (=): {tied} of {counted(len(result.candidates), 'candidate')}, and "
        f"{optimum.ties.mean():.0%} of all possible splits, have a predicted gain within {TIE} "
        "points of the best; published trainings cannot distinguish them",
        f"against the optimum, points: {said}",
        f"This is a regression over {published.trainings} published ImageNet trainings of "
        f"{published.groups} networks and recipes, not a measurement; --data DATA trains the "
        "candidates on your images.",
    )
    python, base = python_command(), shell_word(config.base)
    where = shell_word(str(result.folder / RECORD))
    growth = f" --growth {config.growth:g}"
    if config.rules != "compound":
        growth += f" --rules {config.rules}"
    print_results(
        result.folder,
        (RECORD, FIGURE, REPORT),
        [
            f"{python} -m scaling.family --base {base} --coefficients {where}{growth} --phi 0..3",
            f"{python} -m scaling.grid --base {base} --data imagefolder:DIR{growth}",
        ],
    )


def _table(result: PublishedGrid) -> None:
    console = Console(piped_width=130)
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("(alpha, beta, gamma)", no_wrap=True)
    headers = ("growth", "depth", "width", "resolution", "px", "FLOPs", "params")
    for name in (*headers, "predicted gain", "95%", ""):
        table.add_column(name, justify="right", no_wrap=True)
    order = np.argsort(-result.gains, kind="stable")
    free = [index for index in order if not result.candidates[index].is_control][:SHOWN]
    controls = [index for index in order if result.candidates[index].is_control]
    for index in (*free, *controls):
        each, network = result.candidates[index], result.candidates[index].architecture
        gain, reach = result.gains[index], DEVIATIONS * result.errors[index]
        spent = cost(network)
        table.add_row(
            f"{each.name} alone" if each.is_control else each.name,
            f"{each.growth:.3f}",
            *(f"{factor:.3f}" for factor in each.real),
            str(network.resolution),
            f"{spent.flops:,}",
            f"{spent.params:,}",
            f"{gain:+.2f}",
            f"{gain - reach:+.1f} to {gain + reach:+.1f}",
            "=" if result.ties[index] else "",
        )
    console.print(table)
    hidden = len(result.candidates) - len(free) - len(controls)
    if hidden:
        print_out(f"{hidden} more candidates are in {RECORD}")
