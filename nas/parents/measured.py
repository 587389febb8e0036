"""Measured finalists of a search with a limit on time, which predictions cannot guarantee.

A search uses predicted times. This module times the best networks on this machine. A network that
exceeds the limit by more than the noise of its measurement is replaced by the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nas.block_times.lookup import setting_of
from nas.block_times.options import TimingOptions
from nas.block_times.whole import measured
from nas.history import History
from nas.parents.references import ordered_references
from nas.search.aims import timing_of
from nas.search.config import SearchConfig
from nas.search.targets import measured_costs
from search_spaces.architecture import Architecture
from search_spaces.cost import cost_text
from vbs.console import print_err
from vbs.folder import write_json
from vbs.json_text import parse_json
from vbs.text import counted

FOUND = "found"
FILE = "measured.json"
ATTEMPTS = 4  # most rounds of measuring networks
Times = Mapping[str, Mapping[str, float]]  # key of a network -> cost -> seconds


@dataclass
class Clock:
    """Timer of networks that stores the measured times in the folder of a search.

    kinds  costs that are measured, such as "latency".
    path   file of the measured times.
    known  cost -> key of the network -> [seconds, spread in seconds].
    """

    config: SearchConfig
    kinds: Sequence[str]
    path: Path
    known: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    @classmethod
    def of(cls, config: SearchConfig, kinds: Sequence[str], folder: Path) -> Clock:
        """Return a clock with earlier measurements; a damaged file is ignored."""
        clock = cls(config, kinds, folder / FILE, {kind: {} for kind in kinds})
        try:
            content = parse_json(clock.path.read_bytes())
            for kind in kinds:
                pairs = content[kind].items()
                clock.known[kind] = {key: [float(a), float(b)] for key, (a, b) in pairs}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            clock.known = {kind: {} for kind in kinds}
        return clock

    def measure(self, networks: Sequence[Architecture]) -> None:
        """Measure the networks without a measurement, in rounds of all of them."""
        for kind in self.kinds:
            new = {each.key: each for each in networks if each.key not in self.known[kind]}
            if not new:
                continue
            setting = setting_of(TimingOptions(kind=kind, **timing_of(self.config, kind)))
            print_err(f"finalists: measuring the {kind} of {counted(len(new), 'network')}")
            times = measured(list(new.values()), setting, report=lambda line: None)
            for key, time in zip(new, times, strict=True):
                self.known[kind][key] = [time.seconds, time.spread]
                if time.doubt:
                    print_err(f"finalists: warning: the {kind} is unreliable ({time.doubt})")
            write_json(self.path, self.known)

    def times(self) -> dict[str, dict[str, float]]:
        """Return key of a network -> cost -> seconds."""
        found: dict[str, dict[str, float]] = {}
        for kind, pairs in self.known.items():
            for key, (seconds, _) in pairs.items():
                found.setdefault(key, {})[kind] = seconds
        return found


def chosen_finalists(
    history: History, config: SearchConfig, folder: Path
) -> tuple[dict[str, np.ndarray], Times]:
    """Return the networks to fine-tune, name -> genotype [decisions], and the measured times.

    The networks are the first `config.finalists` networks of `ranked`, named "found 1" and so on,
    and the references. A reference that the search also found has two names. If a time on this
    machine is limited, these networks and the parent are measured, and networks that are too slow
    are replaced.

    folder  folder of the search for one target, where measured times are stored.
    """
    lanes = {FOUND: ranked(history), **ordered_references(history.space, history.objective)}
    counts = {name: config.finalists if name == FOUND else 1 for name in lanes}
    kinds = measured_costs(history.objective)
    if not kinds:
        return _named({name: each[: counts[name]] for name, each in lanes.items()}), {}
    clock = Clock.of(config, kinds, folder)
    clock.measure([history.space.decode(np.zeros(len(history.space.choices), np.int8))])
    chooser = _Chooser(history, clock, {kind: [] for kind in kinds})
    kept: dict[str, list[np.ndarray]] = {name: [] for name in lanes}
    queues = {name: iter(each) for name, each in lanes.items()}
    for attempt in range(ATTEMPTS):
        batches = {
            name: chooser.next_of(queues[name], counts[name] - len(kept[name]), attempt)
            for name in lanes
        }
        every = [genotype for each in batches.values() for genotype in each]
        if not every:
            break
        clock.measure([history.space.decode(genotype) for genotype in every])
        for name, each in batches.items():
            kept[name] += [genotype for genotype in each if chooser.is_fast(name, genotype)]
    return _named({name: np.array(each) for name, each in kept.items()}), clock.times()


def ranked(history: History) -> np.ndarray:
    """Return evaluated genotypes int8 [n, decisions]: the best of each resolution, then the others.

    Both parts are in the order of their rewards. Scores before fine-tuning are comparable at one
    resolution only. Networks that keep the parent's layers at a lower resolution lose less accuracy
    before fine-tuning than smaller networks at a higher resolution, which gain more by fine-tuning.
    """
    full = np.flatnonzero(history.full)
    best = history.genotypes[full[np.argsort(-history.reward[full], kind="stable")]]
    sides = best[:, list(history.space.choices).index("resolution")]
    _, first = np.unique(sides, return_index=True)
    rest = np.setdiff1d(np.arange(len(best)), first)
    return best[np.concatenate([np.sort(first), rest])]


def distinct(genotypes: Sequence[np.ndarray]) -> np.ndarray:
    """Return genotypes int8 [n, decisions] without repetitions, in their order."""
    every = np.stack(genotypes)
    _, first = np.unique(every, axis=0, return_index=True)
    return every[np.sort(first)]


@dataclass(frozen=True)
class _Chooser:
    history: History
    clock: Clock
    pairs: dict[str, list[tuple[float, float]]]  # cost -> measured and predicted seconds

    @property
    def limits(self) -> dict[str, float]:
        """Limit in seconds of each measured cost that is limited."""
        every = dict(self.history.objective.all_limits)
        return {kind: every[kind] for kind in self.clock.kinds if kind in every}

    def next_of(self, queue: Iterator[np.ndarray], count: int, attempt: int) -> list[np.ndarray]:
        """Return the next networks of a queue.

        After the first attempt, only networks are returned whose predictions, corrected by the
        errors so far, are within the limits.
        """
        found: list[np.ndarray] = []
        while len(found) < count:
            genotype = next(queue, None)
            if genotype is None:
                break
            if attempt == 0 or self._seems_fast(genotype):
                found.append(genotype)
        return found

    def is_fast(self, name: str, genotype: np.ndarray) -> bool:
        """Return whether a measured network is within the limits plus noise; print if it is not."""
        key = self.history.space.decode(genotype).key
        for kind in self.limits:
            seconds = self.clock.known[kind][key][0]
            self.pairs[kind].append((seconds, self._predicted(kind, genotype)))
        for kind, limit in self.limits.items():
            seconds, spread = self.clock.known[kind][key]
            if seconds - spread / 2 > limit:
                print_err(
                    f"finalists: {name}: {cost_text(kind, seconds)} measured, "
                    f"{cost_text(kind, self._predicted(kind, genotype))} predicted: above the "
                    f"limit of {cost_text(kind, limit)}; trying the next network"
                )
                return False
        return True

    def _predicted(self, kind: str, genotype: np.ndarray) -> float:
        return float(self.history.space.costs(genotype[None]).get(kind)[0])

    def _seems_fast(self, genotype: np.ndarray) -> bool:
        return all(
            self._predicted(kind, genotype) * self._bias(kind) <= limit
            for kind, limit in self.limits.items()
        )

    def _bias(self, kind: str) -> float:
        """Return the median ratio of measured to predicted time over the measured networks."""
        ratios = [measured / predicted for measured, predicted in self.pairs[kind]]
        return float(np.median(ratios)) if ratios else 1.0


def _named(kept: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return name -> genotype; the names of the found networks are numbered."""
    found = {f"{FOUND} {place}": each for place, each in enumerate(kept[FOUND], 1)}
    others = {name: each[0] for name, each in kept.items() if name != FOUND and len(each)}
    return found | others
