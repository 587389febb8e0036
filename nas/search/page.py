"""The page report.html of a search: interactive charts, the table of networks, and the settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from nas.evaluators.base import Evaluator
from nas.history import History
from nas.objective import PART, pareto_front
from nas.search import report
from nas.search.config import SearchConfig
from nas.search.front_figure import UNITS, axis_of, lower_end, sample
from nas.search.front_figure import Axis as CostAxis
from nas.search.rows import Row, reference_rows, rows
from nas.storage.cache import network_key, plain
from search_spaces.architecture import Architecture
from search_spaces.cost import cost_text, is_measured, split_cost
from search_spaces.space import SearchSpace
from search_spaces.stage_bars import stage_bars
from vbs.folder import circumstances
from vbs.page.charts import COLOURS, GREY, Axis, Chart, Limit, Listed, Point, Series, chart, scripts
from vbs.page.parts import cards, document, note, section, settings_section, table
from vbs.text import counted
from vbs.units import short

SAMPLE = 1_500  # largest number of points of evaluated networks
LISTED = 60  # largest number of networks of the front that can be selected
ALL = 300  # largest number of evaluations for which every network can be selected
TITLES = {"flops": "FLOPs"}  # titles of costs that differ from their names
PACKAGES = ("numpy", "pyarrow", "optuna", "torch")  # packages whose versions the page shows


def page(
    config: SearchConfig,
    history: History,
    evaluator: Evaluator,
    *,
    ending: str,
    certainty: Sequence[str],
) -> str:
    """Return the page of a search that has a result, as HTML.

    ending     sentence that describes how the search ended.
    certainty  lines about the certainty of the choice.
    """
    networks = _Networks.of(config, history, evaluator)
    sections = [
        section("Result", cards(networks.figures_of_best()), note(ending)),
        section("Networks", chart(networks.chart())),
        _table(history, evaluator, certainty),
        section("Progress", chart(_progress(history))) if len(history) > 1 else "",
        settings_section(config.settings(), circumstances(PACKAGES)),
    ]
    title = f"Search of space {history.space.name} within {_target(history)}"
    return document(title, sections, scripts())


def _target(history: History) -> str:
    objective = history.objective
    name = TITLES.get(objective.of, report.cost_header(objective.of))
    return f"{cost_text(objective.of, objective.target)} {name}"


class _Networks:
    """The networks of a search, and those that can be selected on the page."""

    def __init__(
        self, config: SearchConfig, history: History, evaluator: Evaluator, axis: CostAxis
    ) -> None:
        self.config, self.history, self.evaluator, self.axis = config, history, evaluator, axis
        self.full = history.full
        self.listed: list[Listed] = []
        self.places: dict[int, int] = {}  # row of the history -> place in `listed`
        self.references: list[tuple[Row, int]] = []

    @classmethod
    def of(cls, config: SearchConfig, history: History, evaluator: Evaluator) -> _Networks:
        self = cls(config, history, evaluator, axis_of(history))
        best, front = history.best(), history.front()
        self._add(best, "best reward")
        for row in reference_rows(history, evaluator):
            self.references.append((row, len(self.listed)))
            self.listed.append(self._reference(row))
        spread = front[np.unique(np.linspace(0, len(front) - 1, LISTED).astype(int))]
        for row in spread.tolist():
            self._add(row, "on the front")
        if len(history) <= ALL:
            for row in np.flatnonzero(np.isfinite(history.accuracy)).tolist():
                self._add(row, "evaluated")
        return self

    def _add(self, row: int, what: str) -> None:
        if row in self.places:
            return
        self.places[row] = len(self.listed)
        history = self.history
        summary = history.summary(row) if self.full[row] else None
        accuracy = history.accuracy[row] if summary is None else summary.accuracy
        std = history.std[row] if summary is None else summary.std
        costs = {name: history.costs.get(name)[row].item() for name in history.space.cost_names}
        key = network_key(history.space, history.genotypes[row])
        title = (
            f"{key}: {accuracy:.2f}%, {cost_text(self.axis.name, costs[self.axis.name])}, {what}"
        )
        self.listed.append(self._network(title, key, history.genotypes[row], accuracy, std, costs))

    def _reference(self, row: Row) -> Listed:
        key = network_key(self.history.space, row.genotype)
        title = f"{row.name}, published"
        return self._network(title, key, row.genotype, row.accuracy, row.std, row.costs)

    def _network(
        self,
        title: str,
        key: str,
        genotype: np.ndarray,
        accuracy: float,
        std: float,
        costs: dict[str, Any],
    ) -> Listed:
        space = self.history.space
        network = space.decode(genotype)
        known = isinstance(network, Architecture)
        choices = {name: plain(option) for name, option in space.choices_of(genotype).items()}
        return Listed(
            title=title,
            figures=_figures(accuracy, std, costs, space),
            numbers={**costs, "accuracy": accuracy},
            stages=stage_bars(network) if known else (),
            json=network.to_json() if known else json.dumps(choices, indent=1),
            file=f"{key}.json",
            commands=_commands(self.config, self.evaluator, f"{key}.json") if known else (),
        )

    def figures_of_best(self) -> Sequence[tuple[str, str]]:
        return self.listed[0].figures

    def chart(self) -> Chart:
        history, axis = self.history, self.axis
        limits = [_limit(name) for name in history.space.cost_names if name != "activations"]
        finite = np.isfinite(history.accuracy)
        valid = history.accuracy if finite.all() else history.accuracy[finite]
        front = min(history.summary(row).accuracy for row in history.front().tolist())
        return Chart(
            x=Axis(axis.label),
            y=Axis(self.evaluator.axis, least=lower_end(valid, front) - 0.5),
            series=self._series(),
            alt=f"Accuracy against {axis.label} of {counted(history.networks, 'network')}.",
            networks=self.listed,
            chosen=0,
            limits=[*limits, Limit("accuracy", "accuracy", "%", most=False)],
            marks=[history.objective.target * axis.scale],
        )

    def _series(self) -> list[Series]:
        history, axis = self.history, self.axis
        shown, of = sample(history, SAMPLE)
        shown.sort()
        full, early = (shown[self.full[shown] == whole] for whole in (True, False))

        def spent(rows: np.ndarray) -> np.ndarray:
            return axis.of(history.costs[rows])

        def points(chosen: np.ndarray) -> list[Point]:
            return [
                Point(place, history.accuracy[row], history.std[row], self.places.get(row))
                for row, place in zip(chosen.tolist(), spent(chosen), strict=True)
            ]

        front = [
            Point(place, history.summary(row).accuracy, None, self.places.get(row))
            for row, place in zip(history.front().tolist(), spent(history.front()), strict=True)
        ]
        best = history.best()
        listed = [
            Series("best reward", [front_point(history, axis, best)], "diamond", COLOURS[6]),
            *self._published(),
            Series("Pareto front", front, "steps", COLOURS[0]),
            *self._measured(),
            Series("evaluated" + " (a sample)" * (of > SAMPLE), points(full), "dots", GREY),
            Series("stopped early", points(early), "crosses", GREY),
        ]
        return [series for series in listed if series.points]

    def _published(self) -> list[Series]:
        """Return a series for each published network."""
        return [
            Series(
                row.name,
                [Point(row.costs[self.axis.name] * self.axis.scale, row.accuracy, None, place)],
                "stars",
                COLOURS[1],
            )
            for row, place in self.references
        ]

    def _measured(self) -> list[Series]:
        """Return a series of the best networks that the evaluator was fitted to."""
        measured = self.evaluator.measured
        if measured is None or self.evaluator.pooled:
            return []
        spent = self.axis.of(self.history.space.costs(measured.genotypes))
        front = pareto_front(measured.accuracy, spent)
        points = [Point(spent[row], measured.accuracy[row]) for row in front]
        return [Series("best measured networks", points, "circles", COLOURS[2])]


def front_point(history: History, axis: CostAxis, row: int) -> Point:
    """Return the point of the best network, the first of those that can be selected."""
    spent = axis.of(history.costs[row : row + 1])[0]
    return Point(spent, history.summary(row).accuracy, history.summary(row).std, 0)


def _figures(
    accuracy: float, std: float, costs: dict[str, Any], space: SearchSpace
) -> list[tuple[str, str]]:
    """Return (value, label) pairs of a network."""
    spread = "" if np.isnan(std) else f" ± {std:.2f}"
    texts = [(f"{accuracy:.2f}{spread}" if np.isfinite(accuracy) else "-", "top-1 %")]
    for name in space.cost_names:
        what = report.cost_header(name) if is_measured(name) else name
        what = TITLES.get(what, what)
        text = cost_text(name, costs[name]) if is_measured(name) else short(costs[name])
        texts.append((text.removesuffix(" images/s"), what))
    return texts


def _limit(name: str) -> Limit:
    """Return the page's input field for the limit of a cost, in a unit that is easy to type."""
    kind, _ = split_cost(name)
    if is_measured(name):
        unit, scale = UNITS.get(kind, ("milliseconds", 1e3))
        return Limit(name, report.cost_header(name), unit, scale)
    return Limit(name, TITLES.get(name, name), "millions", 1e-6)


def _commands(config: SearchConfig, evaluator: Evaluator, file: str) -> list[str]:
    """Return commands that use the saved network."""
    return [
        f"python -m search_spaces.show {file}",
        f"python -m train.run {file} {report.training_words(config, evaluator)}",
    ]


def _table(history: History, evaluator: Evaluator, lines: Sequence[str]) -> str:
    """Return the section with the table that the search prints."""
    listed = rows(history, evaluator)
    cells = [report.cells(row, history.space, evaluator, narrow=False) for row in listed]
    heads = ["network", *cells[0]]
    body = [[row.name, *each.values()] for row, each in zip(listed, cells, strict=True)]
    notes = [*report.column_notes(history, evaluator), *lines]
    return section("Found and published networks", table(heads, body), *map(note, notes))


def _progress(history: History) -> Chart:
    """Return a chart of the best reward so far against the number of evaluations."""
    points, best = [], -np.inf
    for start in range(0, len(history), PART):
        part = history.reward[start : start + PART]
        reached = np.maximum.accumulate(np.where(np.isfinite(part), part, -np.inf))
        rises = np.flatnonzero(np.diff(np.maximum(reached, best), prepend=best) > 0)
        points += [Point(start + row + 1, reached[row]) for row in rises.tolist()]
        best = max(best, float(reached[-1]))
    points.append(Point(len(history), best))
    return Chart(
        x=Axis("evaluations"),
        y=Axis("best reward so far"),
        series=[Series("best reward so far", points, "stairs")],
        alt="The best reward so far against the number of evaluations.",
    )
