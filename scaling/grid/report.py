"""The record of a grid, and what is printed before and after it."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.storage.passwords import without_password
from scaling.certainty import certainty, scored_by
from scaling.compound import GREEK, Coefficients, Factors
from scaling.grid.config import FIGURE, RECORD, GridConfig
from scaling.grid.figure import draw
from scaling.grid.growth import AXES, Candidate, shares
from scaling.grid.verdict import FEWEST, SEEDS, verdict
from search_spaces.architecture import Architecture
from search_spaces.cost import cost
from vbs.command import FAILED, python_command
from vbs.console import print_err, print_out, print_results
from vbs.figure import draw_picture
from vbs.folder import circumstances, write_json
from vbs.json_text import parse_json
from vbs.text import shell_word
from vbs.units import minutes, short

if TYPE_CHECKING:
    from nas.search.setup import Measuring
    from scaling.surface import Surface
    from scaling.trainings import Result, Trainings


def print_preview(
    config: GridConfig, trainings: Trainings, base: Architecture, found: Sequence[Candidate]
) -> None:
    """Print what will be trained, how long that takes, and where results go, on stderr."""
    from nas.evaluators.proxy import used_images
    from nas.lengths import length_lines
    from scaling.trainings import expected_seconds

    measuring, places, folder = trainings.measuring, trainings.places, trainings.folder
    assert places is not None
    own, controls = cost(base), sum(each.is_control for each in found)
    images = used_images(measuring.fidelity, measuring.data.train)
    length, warning = length_lines(
        measuring.recipe, measuring.fidelity, images=measuring.data.train
    )  # fmt: skip
    total = len(found) * config.seeds
    lines = [
        f"base {config.base}, as a proxy of {short(own.flops)} FLOPs at {base.resolution} px",
        f"{len(found) - controls} candidates and {controls} controls, each about "
        f"{config.growth:g} times its {config.objective}; {config.seeds} seeds each",
        f"a training: {length}, of {images:,} images by recipe "
        f"{measuring.recipe.name}, scored on {measuring.data.minival:,} held out",
        *([warning] if warning else []),
    ]
    if config.address is None:
        each = expected_seconds(
            [one.architecture for one in found], measuring, device=config.device,
            threads=max(1, int(places.cpus)),
        )  # fmt: skip
        if not math.isnan(each):
            lines.append(f"about {each:.0f} s a training, {places.workers} at once: about "
                         f"{minutes(total * each / places.workers)} for all {total}")  # fmt: skip
    lines.append(f"results go to {shell_word(f'{folder}/')}, every training at once to its study")
    print_err(*lines)


class Record:
    """grid.json, written anew as trainings end."""

    def __init__(
        self, folder: Path, config: GridConfig, base: Architecture,
        found: Sequence[Candidate], measuring: Measuring, *, resumed: bool,
    ) -> None:  # fmt: skip
        self.scored = scored_by(measuring, larger="a larger proxy (--proxy-flops)")
        self.folder, self.config, self.base, self.found = folder, config, base, found
        self._known: Mapping[str, Result] = {}
        before = 0.0
        self._written = not resumed
        if resumed:
            outcome = json.loads((folder / RECORD).read_text()).get("outcome", {})
            before = float(outcome.get("wall_seconds", 0.0))
        else:
            self._began = time.monotonic()
            self.write({}, "running")
        self._began = time.monotonic() - before

    def end(self, status: str) -> None:
        """What was written last, with another status; where nothing was, the old one stays.

        A full disk is no error here: what ended the grid is reported, and may be just that.
        """
        if self._written:
            with contextlib.suppress(OSError):
                self.write(self._known, status)

    def write(
        self, known: Mapping[str, Result], status: str, surface: Surface | None = None
    ) -> None:
        """The record of what is known by now."""
        self._known, self._written = known, True
        values = [result for result in known.values() if result.accuracies]
        outcome: dict[str, Any] = {
            "trained": sum(len(result.accuracies) for result in values),
            "wanted": len(self.found) * self.config.seeds,
            "wall_seconds": round(time.monotonic() - self._began, 1),
            "training_seconds": round(
                sum(result.seconds * len(result.accuracies) for result in values), 1
            ),
        }  # fmt: skip
        if status == "finished":
            outcome |= chosen(self.config, self.found, known, surface)
            outcome["certainty"] = certainty(known, self.scored)
        base = {**cost(self.base)._asdict(), "architecture": json.loads(self.base.to_json())}
        write_json(self.folder / RECORD, {
            "status": status, "partial": status != "finished",
            "settings": without_password(self.config.settings()), "base": base,
            "candidates": [self._row(each) for each in self.found], "outcome": outcome,
            **circumstances(("numpy", "torch", "ray")),
        })  # fmt: skip

    def _row(self, each: Candidate) -> dict[str, Any]:
        known = self._known.get(each.name)
        return {
            "name": each.name, "factors": each.factors._asdict(), "growth": each.growth,
            "real_factors": each.real._asdict(),
            "shares": [round(share, 4) for share in shares(each)],
            **cost(each.architecture)._asdict(),
            "architecture": json.loads(each.architecture.to_json()),
            **({} if known is None else known.to_json()),
        }  # fmt: skip


def read(path: Path) -> tuple[Architecture, list[Candidate]]:
    """The proxy and the candidates of a grid's record; ValueError where it holds none."""
    try:
        content = parse_json(path.read_bytes())
        base = Architecture.from_dict(content["base"]["architecture"])
        found = [
            Candidate(
                str(row["name"]), Factors(**row["factors"]),
                Architecture.from_dict(row["architecture"]), float(row["growth"]),
                Factors(**row["real_factors"]),
            )
            for row in content["candidates"]
        ]  # fmt: skip
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"resume: {path} is damaged ({error})") from None
    return base, found


def fitted_surface(
    config: GridConfig, found: Sequence[Candidate], known: Mapping[str, Result]
) -> Surface | None:
    """The surface through what was trained; None where that is too little."""
    from scaling.surface import fit

    rows = [each for each in found if each.name in known and known[each.name].accuracies]
    if len(rows) < FEWEST:
        return None
    places = np.array([shares(each) for each in rows])
    excess = np.log([each.growth / config.growth for each in rows])
    values = [list(known[each.name].accuracies.values()) for each in rows]
    images = min(known[each.name].images for each in rows)
    return fit(places, excess, values, np.random.default_rng(0), images=images)


def coefficients_at(growth: float, places: np.ndarray) -> np.ndarray:
    """alpha, beta, gamma [..., 3] of shares [..., 3]: their formula gives the growth exactly."""
    return growth ** (np.asarray(places) * np.array([1.0, 0.5, 0.5]))


def chosen(
    config: GridConfig,
    found: Sequence[Candidate],
    known: Mapping[str, Result],
    surface: Surface | None,
) -> dict[str, Any]:
    """The choice as plain data: the surface's optimum, and the plain best beside it."""
    trained = [each for each in found if each.name in known and known[each.name].accuracies]
    if not trained:
        return {}
    best = max(
        (each for each in trained if not each.is_control), key=lambda each: known[each.name].mean,
        default=None,
    )  # fmt: skip
    outcome: dict[str, Any] = {}
    if best is not None:
        outcome["best_candidate"] = {
            "name": best.name, "accuracy": round(known[best.name].mean, 3),
            **dict(zip(GREEK, best.factors, strict=True)),
        }  # fmt: skip
        outcome["chosen"] = {name: outcome["best_candidate"][name] for name in GREEK}
    if surface is None:
        return outcome
    values = coefficients_at(config.growth, surface.shares)
    outcome["chosen"] = {
        name: round(float(value), 4) for name, value in zip(GREEK, values, strict=True)
    }
    return outcome | {"surface": _described(surface, config.growth)}


def _described(surface: Surface, growth: float) -> dict[str, Any]:
    """The surface as plain data."""
    ranges = coefficients_at(growth, surface.intervals.T).T
    return {
        "accuracy": round(surface.accuracy, 3), "standard_error": round(surface.error, 3),
        "shares": [round(float(share), 3) for share in surface.shares],
        "at_rim": [name for name, share in zip(AXES, surface.shares, strict=True) if share == 0],
        "intervals_95": {
            name: [round(float(end), 4) for end in ends]
            for name, ends in zip(GREEK, ranges, strict=True)
        },
        "seed_noise": None if math.isnan(surface.noise) else round(surface.noise, 3),
        "between_over_noise": None if math.isnan(surface.f_ratio) else round(surface.f_ratio, 2),
        "hidden_by_noise": surface.hidden, "more_seeds": surface.more_seeds,
    }  # fmt: skip


def table(
    found: Sequence[Candidate], known: Mapping[str, Result], *, marked: Collection[str] = ()
) -> None:
    """The candidates on stdout, the best first where they were trained; marked ones with a *."""
    from vbs.tables import Console, Table

    console = Console(piped_width=150)
    shown = Table(box=None, pad_edge=False, padding=(0, 1))
    for name in ("(alpha, beta, gamma)", "growth", "depth", "width", "resolution", "layers", "px",
                 "FLOPs", "params"):  # fmt: skip
        left = name.startswith("(")
        shown.add_column(name, justify="left" if left else "right", no_wrap=True)
    if known:
        shown.add_column("minival top-1", justify="right", no_wrap=True)
        shown.add_column("seeds", justify="right")

    def place(each: Candidate) -> float:
        mean = known[each.name].mean if each.name in known else math.nan
        return math.inf if math.isnan(mean) else -mean

    for each in sorted(found, key=place) if known else found:
        network, spent = each.architecture, cost(each.architecture)
        name = f"{each.name} alone" if each.is_control else each.name
        cells = [
            name + " *" * (each.name in marked), f"{each.growth:.3f}",
            *(f"{factor:.3f}" for factor in each.real),
            str(sum(stage.layers for stage in network.stages)), str(network.resolution),
            f"{spent.flops:,}", f"{spent.params:,}",
        ]  # fmt: skip
        if known:
            cells += _accuracy(known.get(each.name))
        shown.add_row(*cells)
    console.print(shown)


def _accuracy(result: Result | None) -> list[str]:
    if result is None or not result.accuracies:
        return ["failed" if result is not None and result.errors else "-", "0"]
    error = "" if math.isnan(result.error) else f" ± {result.error:.2f}"
    return [f"{result.mean:.2f}%{error}", str(len(result.accuracies))]


@dataclass(frozen=True)
class GridResult:
    """What a grid has found.

    known    what is known of each candidate, by name.
    outcome  the choice as plain data: "chosen" holds alpha, beta and gamma, and is absent where no
             candidate could be trained.
    """

    folder: Path
    config: GridConfig
    candidates: Sequence[Candidate]
    known: Mapping[str, Result]
    outcome: Mapping[str, Any]
    certainty: Sequence[str]

    @property
    def coefficients(self) -> Coefficients:
        """alpha, beta and gamma of the choice; ValueError where there is none."""
        if "chosen" not in self.outcome:
            raise ValueError("grid: no candidate could be trained")
        return Coefficients(*(self.outcome["chosen"][name] for name in GREEK))

    @property
    def exit_code(self) -> int:
        """That of the command line."""
        return 0 if "chosen" in self.outcome else FAILED


def finished(record: Record, known: Mapping[str, Result]) -> GridResult:
    """Choose, and write the record and the figure."""
    folder, config, found = record.folder, record.config, record.found
    surface = fitted_surface(config, found, known)
    outcome = chosen(config, found, known, surface)
    if "chosen" in outcome:
        record.write(known, "finished", surface)
        draw_picture(folder / FIGURE, lambda path: draw(path, config, found, known, surface))
    else:
        record.write(known, "failed")
    return GridResult(folder, config, found, known, outcome, certainty(known, record.scored))


def show_result(result: GridResult | int) -> None:
    """Print the table, the choice in words, and what to do next; nothing after a dry run."""
    if isinstance(result, int):
        return
    folder, found, known = result.folder, result.candidates, result.known
    table(found, known)
    if "chosen" not in result.outcome:
        for line in ("no candidate could be trained", *_failures(folder, known)):
            print_err(f"scaling.grid: {line}")
        return
    lines = [*verdict(found, known, result.outcome), *result.certainty]
    print_out("", *lines, *_failures(folder, known))
    print_results(
        folder, (RECORD, FIGURE, "study.db"), _next(folder, result.config, result.outcome)
    )


def _failures(folder: Path, known: Mapping[str, Result]) -> list[str]:
    """What failed, and how to train it again."""
    errors = [f"{name}: {why}" for name, one in known.items() for why in one.errors.values()]
    if not errors:
        return []
    return [
        f"{len(errors)} trainings failed, such as {errors[-1]}; --resume --out "
        f"{shell_word(str(folder))} --retry-failed trains them again"
    ]


def _next(folder: Path, config: GridConfig, outcome: Mapping[str, Any]) -> list[str]:
    """What to do next, as commands."""
    python, base = python_command(), shell_word(config.base)
    where = shell_word(str(folder / RECORD))
    growth = f" --growth {config.growth:g}"
    if config.rules != "compound":
        growth += f" --rules {config.rules}"
    if config.round_to is not None:
        growth += f" --round-to {config.round_to}"
    if config.objective != "flops":
        growth += (
            f" --objective {config.objective} --measure-batch {config.measure_batch}"
            f" --device {config.device}"
        )
    commands = [f"{python} -m scaling.family --base {base} --coefficients {where}{growth}"]
    surface, seeds = outcome.get("surface"), config.seeds
    if surface is not None and surface["hidden_by_noise"]:
        seeds = SEEDS if surface["seed_noise"] is None else seeds + (surface["more_seeds"] or 0)
    if seeds > config.seeds:
        again = f"--resume --out {shell_word(str(folder))} --seeds {seeds}"
        commands.append(f"{python} -m scaling.grid {again}")
    return commands
