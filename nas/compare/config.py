"""Options of `python -m nas.compare`."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nas import catalog
from nas.options import SpaceOptions
from nas.search.config import (
    INHERITED,
    MOST,
    EvaluationOptions,
    MeasuringOptions,
    SearchConfig,
    whole_quantity,
)
from nas.search.targets import ObjectiveOptions
from nas.supernet.options import EVALUATOR as SUPERNET
from train.options import DataOptions, TrainingOptions, WorkerOptions, absolute_path
from vbs.config import ConfigError, given_values, option, options
from vbs.options import Command
from vbs.text import quoted, shortened

RECORD, TABLE, FIGURE = "comparison.json", "comparison.csv", "comparison.png"
FEWEST = 10  # smallest budget with which strategies can be compared
SEEDS, MOST_SEEDS = 5, 1000
UNSUPPORTED = (INHERITED, SUPERNET)  # evaluators
EXAMPLE = "random=runs/search-1,runs/search-2"


def group_text(text: str, *, what: str = "searches") -> str:
    """Return a group of searches, "NAME=DIR,DIR", with absolute paths."""
    name, _, rest = text.partition("=")
    folders = [each.strip() for each in rest.split(",")]
    if "=" not in text and (text in catalog.STRATEGIES or re.search(r"\.py(:|$)", text)):
        raise ValueError(
            f"{what}: {quoted(text, 60)} is a strategy; separate strategies by commas, e.g. "
            "--strategies random,evolution"
        )
    if not name.strip() or not all(folders):
        raise ValueError(
            f"{what}: {quoted(text, 60)} is not understood; write NAME=DIR,DIR, e.g. {EXAMPLE}"
        )
    paths = [absolute_path(each, what=what) for each in folders]
    for path in paths:
        if "," in path:
            raise ValueError(
                f"{what}: {shortened(path, 80)} contains a comma, which separates folders; rename "
                "the folder, or use compare_searches in Python"
            )
    return f"{name.strip()}={','.join(paths)}"


def strategy_text(text: str, *, what: str = "strategies") -> str:
    """Return the name of a strategy; raises ValueError for a text such as NAME=FILE.py:Class."""
    name, mark, rest = text.partition("=")
    if mark and name.isidentifier() and not Path(text.rpartition(":")[0]).exists():
        raise ValueError(f"{what}: strategies cannot be renamed; use {shortened(rest)}")
    return text


class Planned(NamedTuple):
    """A search of a comparison: strategy, its short name, seed, and name of the folder."""

    strategy: str
    name: str
    seed: int
    folder: str


@dataclass(frozen=True, kw_only=True)
class CompareConfig(
    EvaluationOptions,
    ObjectiveOptions,
    SpaceOptions,
    DataOptions,
    TrainingOptions,
    MeasuringOptions,
    WorkerOptions,
):
    """Options of a comparison: strategies and seeds, and the options that all searches share.

    Alternatively, `searches` names groups of folders of finished searches.

    Raises ValueError for invalid values, and for options that contradict each other.
    """

    title = "comparison"

    searches: tuple[str, ...] = option(
        (),
        metavar="NAME=DIR,DIR",
        parse=group_text,
        help="groups of finished searches to compare; no search is run then",
    )
    strategies: tuple[str, ...] = option(
        (),
        metavar="NAMES",
        parse=strategy_text,
        catalog=catalog.STRATEGIES,
        commas=True,
        later=True,
        help="strategies to compare, e.g. random,evolution,my.py:Mutants; the names are those of "
        "nas.search --strategy",
    )
    seeds: int | None = option(
        None,
        limits=(1, MOST_SEEDS),
        metavar="N",
        later=True,
        help="searches of each strategy, with the seeds 0 to N-1 (default 5)",
    )
    evaluator: str = option(
        "surrogate",
        catalog=catalog.EVALUATORS,
        metavar="|".join(name for name in catalog.EVALUATORS if name not in UNSUPPORTED),
        help="source of the accuracies (default surrogate: predicted ImageNet top-1)",
    )
    budget: int | None = option(
        None,
        limits=(1, MOST),
        parse=whole_quantity,
        metavar="N",
        later=True,
        help=f"networks that each search evaluates, at least {FEWEST} (required)",
    )
    finalists: int = option(
        0,
        limits=(0, 10**9),
        metavar="N",
        help="best networks of each search to train again (default 0)",
    )

    def check(self) -> None:
        if self.searches:
            given = [name for name in given_values(self) if name != "searches"]
            if given:
                raise ConfigError(given[0], "leave it out if finished searches are compared")
            _ = self.groups  # reports mistakes early
            return
        if not self.strategies:
            raise ValueError(
                "--strategies is missing; use e.g. --strategies random,evolution, or groups of "
                f"finished searches, e.g. {EXAMPLE}"
            )
        if self.budget is None:
            raise ValueError("--budget is missing; all searches need the same, e.g. --budget 200")
        if self.budget < FEWEST:
            raise ConfigError("budget", f"{self.budget} is too small; use {FEWEST} or more")
        if self.evaluator in UNSUPPORTED:
            raise ConfigError(
                "evaluator",
                f"{self.evaluator} is not supported by nas.compare; use another evaluator",
            )
        if self.seeds is None:
            object.__setattr__(self, "seeds", SEEDS)
        for each in self.strategies:
            if "," in each:
                raise ConfigError(
                    "strategies",
                    f"{shortened(each)} contains a comma, which separates strategies; rename its "
                    "folder",
                )
        for planned in self.planned()[: len(self.strategies)]:
            self.search(planned)

    @property
    def groups(self) -> dict[str, tuple[Path, ...]]:
        """Folders of finished searches by the name of their group."""
        named = [text.partition("=") for text in self.searches]
        _check_distinct("searches", [name for name, _, _ in named])
        _check_distinct("searches", [each for _, _, rest in named for each in rest.split(",")])
        return {name: tuple(map(Path, rest.split(","))) for name, _, rest in named}

    def planned(self) -> list[Planned]:
        """Return the searches in the order in which they run: all strategies with seed 0 first.

        Raises ConfigError if a strategy is given twice, or if the names of two files are equal.
        """
        _check_distinct("strategies", self.strategies)
        names = {each: _short_name(each) for each in self.strategies}
        stems = {each: re.sub(r"[^\w.]+", "-", name) for each, name in names.items()}
        first: dict[str, str] = {}
        for each, stem in stems.items():
            if first.setdefault(stem, each) != each:
                raise ConfigError(
                    "strategies",
                    f"{shortened(first[stem])} and {shortened(each)} have equal names in the "
                    "results; rename one",
                )
        return [
            Planned(each, names[each], seed, f"{stems[each]}-{seed}")
            for seed in range(self.seeds or SEEDS)
            for each in self.strategies
        ]

    def search(self, planned: Planned) -> SearchConfig:
        """Return the config of a search; raises ValueError for options that contradict."""
        known = options(SearchConfig)
        values = {name: value for name, value in given_values(self).items() if name in known}
        if catalog.evaluator_entry(self.evaluator).trains:
            values["finalists"] = self.finalists
        return SearchConfig(**values, strategy=planned.strategy, seed=planned.seed)


def _short_name(strategy: str) -> str:
    """Return the name of a strategy without the folder of its file."""
    place, colon, name = strategy.rpartition(":")
    return f"{Path(place).name}:{name}" if colon and place.endswith(".py") else strategy


def _check_distinct(name: str, values: tuple[str, ...] | list[str]) -> None:
    """Raise ConfigError if a value is given twice."""
    for value, count in Counter(values).items():
        if count > 1:
            raise ConfigError(name, f"{shortened(value)} is given twice")


COMMAND = Command(
    program="nas.compare",
    config=CompareConfig,
    run="nas.compare.run:run_compare",
    report="nas.compare.report:show_result",
    kind="comparison",
    noun="comparison",
    record=RECORD,
    positional=("searches",),
    description="Compare search strategies by the best networks of several searches.",
    epilog="""\
Each strategy runs with the seeds 0 to N-1 of --seeds; all other options are those of nas.search and
the same for all searches. The folder gets comparison.csv (mean best reward after some numbers of
evaluations, with 95% intervals), comparison.png, comparison.json (settings), report.html, and the
folder of each search, such as random-0. Without --strategies, finished searches are compared:
python -m nas.compare random=runs/search-1,runs/search-2 mine=runs/search-3,runs/search-4""",
)
