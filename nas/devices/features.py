"""Features for the difference between a new device and the measured devices.

The time of a network on a new device is close to the geometric mean of its times on the measured
devices (the *sources*). A new device may differ in the weight of each source, the time per unit of
each kind of operation (its *price*), the price of each stage, and, by small amounts, in single
decisions. An additional price adds to the time; its effect on the log time is therefore divided by
the mean time. On a space without measured devices, the sources are FLOPs, activations and the
number of layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from nas.devices.stage_times import StageTimes
from search_spaces.architecture import Block
from search_spaces.cost import layers_of
from search_spaces.space import SearchSpace
from search_spaces.staged import StagedSpace, StageTable, Tables
from vbs.text import quoted

CHUNK = 16384  # rows at a time, so that the working arrays fit in the processor's cache
LARGE_MAP = 56  # px; on smaller maps, weights move more bytes than activations
OPERATIONS = (  # sums over the blocks of a network
    "small depthwise FLOPs",
    "large depthwise FLOPs",
    "depthwise activations",
    "dense FLOPs",
    "dense activations",
    "squeeze layers",
    "squeeze weights",
    "weights",
    "layers",
    "squeezed activations",
    "blocks on large maps",
    "activations without expansion",
)
COUNTS = ("blocks", "squeezing blocks", "FLOPs", "params", "activations")
BY_STAGE = ("FLOPs", "activations", "squeezed activations", "depthwise FLOPs", "layers")
GROUPS = ("mean", "sources", "operations", *BY_STAGE, "totals", "decisions", "constant")
PROXIES = ("FLOPs", "activations", "layers")
ONE = len(OPERATIONS) + len(COUNTS)  # column with 1 for every network


def weigh(blocks: Sequence[Block]) -> list[float]:
    """Return the sums of `OPERATIONS` and `COUNTS` over blocks."""
    out = dict.fromkeys((*OPERATIONS, *COUNTS), 0.0)
    for block in blocks:
        for layer in layers_of(block):
            weights = layer.in_channels // layer.groups * layer.out_channels * layer.kernel**2
            flops, outputs = weights * layer.size**2, layer.out_channels * layer.size**2
            if layer.groups > 1:
                name = "small" if layer.kernel <= 3 else "large"
                out[f"{name} depthwise FLOPs"] += flops
                out["depthwise activations"] += outputs
            elif layer.size > 1:
                out["dense FLOPs"] += flops
                out["dense activations"] += outputs
            else:
                out["squeeze layers"] += 1
                out["squeeze weights"] += weights
            out["weights"] += weights
            out["layers"] += 1
            out["FLOPs"] += flops
            out["params"] += weights + layer.out_channels * (layer.bias + 2 * layer.norm)
            out["activations"] += outputs
        maps = block.mid_channels * block.out_size**2
        out["squeezed activations"] += maps if block.se_channels else 0
        out["blocks on large maps"] += block.out_size >= LARGE_MAP
        out["activations without expansion"] += (
            maps if block.op == "mbconv" and block.mid_channels == block.in_channels else 0
        )
        out["blocks"] += 1
        out["squeezing blocks"] += bool(block.se_channels)
    return list(out.values())


def column(name: str) -> int:
    """Return the index of a sum in the result of `weigh`."""
    return (*OPERATIONS, *COUNTS).index(name)


class Features:
    """Features of the genotypes of a space of stages, given models of measured devices.

    sources  models of the measured devices of that space; (): the sums in `PROXIES` are used.

    Centres and scales are computed on 2,000 genotypes with a fixed seed.
    """

    def __init__(self, space: SearchSpace, sources: Sequence[StageTimes] = ()) -> None:
        if not isinstance(space, StagedSpace):
            raise ValueError(
                f"devices: the space {quoted(space.name)} is not made of stages "
                "(search_spaces.staged.StagedSpace), whose costs a device is fitted to"
            )
        self.space, self.measured = space, bool(sources)
        self._tables = self._tabulate(space, sources)
        self._scale()

    def _tabulate(self, space: StagedSpace, sources: Sequence[StageTimes]) -> Tables:
        """Return tables of all sums: `weigh`, 1, sums by stage, sources, single decisions."""
        tables = space.tabulated(weigh)
        count = len(tables.stages)
        self._stages = slice(ONE + 1, ONE + 1 + len(BY_STAGE) * count)
        width = self._stages.stop + len(sources)
        self._mains = slice(width, width + int((space.option_counts - 1).sum()))
        self._sources = (
            np.arange(self._stages.stop, width)
            if sources
            else np.array([column(name) for name in PROXIES])
        )
        stages, first = [], width
        for index, table in enumerate(tables.stages):
            values = np.zeros((len(table.values), self._mains.stop))
            values[:, :ONE] = table.values
            for place, weighed in enumerate(_by_stage(table.values).T):
                values[:, self._stages.start + place * count + index] = weighed
            for place, source in enumerate(sources):
                values[:, self._stages.stop + place] = source.tables[index, : len(values), 0]
            mains = self._decisions(table, space.option_counts)
            states = len(values) // table.combinations
            values[:, first : first + mains.shape[1]] = np.tile(mains, (states, 1))
            first += mains.shape[1]
            stages.append(table._replace(values=values))
        around = np.zeros((len(tables.around), self._mains.stop))
        around[:, :ONE], around[:, ONE] = tables.around, 1.0
        return Tables(stages, around)

    def _decisions(self, table: StageTable, option_counts: np.ndarray) -> np.ndarray:
        """Return orthogonal polynomials of a stage's decisions.

        Shape [combinations, options - decisions].
        """
        counts = [int(option_counts[place]) for place in table.columns]
        grid = np.array(list(itertools.product(*map(range, counts)))).reshape(-1, len(counts))
        parts = [_contrasts(n)[grid[:, place]] for place, n in enumerate(counts)]
        return np.concatenate(parts, axis=1)

    def _scale(self) -> None:
        """Compute centres and scales on a reference sample."""
        sums = self.sums(self.space.sample(2_000, np.random.default_rng(99)))
        logs = np.log(sums[:, self._sources])
        self._log_center = logs.mean(0)
        mean = (logs - self._log_center).mean(1)
        self._unit = np.exp(mean).mean()
        self._prices = self._price_matrix(sums)
        self._price_center = (sums @ self._prices / self._time(mean)[:, None]).mean(0)
        totals = self._totals(sums)
        self._total_center = totals.mean(0)
        self._total_scale = np.where(totals.std(0) > 1e-9, totals.std(0), np.inf)

    def _price_matrix(self, sums: np.ndarray) -> np.ndarray:
        """Return the matrix that converts sums to time relative to the mean, [sums, prices].

        All stages of a group in `BY_STAGE` have the same unit.
        """
        count = (self._stages.stop - self._stages.start) // len(BY_STAGE)
        places = [*range(len(OPERATIONS)), ONE, *range(self._stages.start, self._stages.stop)]
        units = sums[:, places].mean(0)
        split = len(OPERATIONS) + 1
        units[split:] = np.repeat(units[split:].reshape(-1, count).sum(1), count)
        matrix = np.zeros((sums.shape[1], len(places)))
        matrix[places, np.arange(len(places))] = np.where(
            units > 0, 1 / np.where(units > 0, units, 1), 0
        )
        return matrix

    def _time(self, mean: np.ndarray) -> np.ndarray:
        return np.exp(mean) / self._unit

    def _totals(self, sums: np.ndarray) -> np.ndarray:
        logs = np.log(sums[:, [column("FLOPs"), column("params"), column("activations")]])
        counted = sums[:, [column("blocks"), column("squeezing blocks")]]
        return np.concatenate([logs, counted], axis=1)

    @cached_property
    def groups(self) -> np.ndarray:
        """Index in `GROUPS` of the group of each feature, int64 [features]."""
        count = (self._stages.stop - self._stages.start) // len(BY_STAGE)
        sizes = [1, len(self._sources), len(OPERATIONS) + 1, *[count] * len(BY_STAGE), len(COUNTS)]
        sizes += [self._mains.stop - self._mains.start, 1]
        return np.repeat(np.arange(len(GROUPS)), sizes)

    def sums(self, genotypes: np.ndarray) -> np.ndarray:
        """Return all sums over the blocks of each genotype, float64 [n, sums]."""
        return self._tables.sums(genotypes)

    def of(self, genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the centred mean log time of the sources [n] and the features [n, features]."""
        sums = self.sums(genotypes)
        logs = np.log(sums[:, self._sources]) - self._log_center
        mean = logs.mean(1)
        prices = sums @ self._prices / self._time(mean)[:, None] - self._price_center
        totals = (self._totals(sums) - self._total_center) / self._total_scale
        parts = [mean[:, None], logs - mean[:, None], prices, totals, sums[:, self._mains]]
        return mean, np.concatenate([*parts, np.ones((len(mean), 1))], axis=1)

    def compiled(self, weights: np.ndarray) -> CompiledFeatures:
        """Return fast tables of weighted sums of the features, weights [features, outputs]."""
        return CompiledFeatures(self, weights)


class CompiledFeatures:
    """Weighted sums of `Features` as a few tables, for over 100,000 genotypes per second."""

    def __init__(self, features: Features, weights: np.ndarray) -> None:
        groups = features.groups
        outputs = weights.shape[1]
        self._of, self._outputs = features, outputs
        named = {name: weights[groups == place] for place, name in enumerate(GROUPS)}
        prices = np.concatenate([named[name] for name in ("operations", *BY_STAGE)])
        totals = named["totals"] / features._total_scale[:, None]
        self._by_log = np.concatenate([named["sources"], totals[:3]])
        self._by_mean = named["mean"] - named["sources"].sum(0)
        self._constant = (
            named["constant"][0]
            - features._price_center @ prices
            - features._total_center @ totals
            - features._log_center @ named["sources"]
        )
        counted = [column("FLOPs"), column("params"), column("activations")]
        self._logs = len(features._sources) + 3
        projection = np.zeros((features._mains.stop, self._logs + 2 * outputs))
        places = [*features._sources, *counted]
        projection[places, np.arange(self._logs)] = 1.0
        projection[:, self._logs : self._logs + outputs] = features._prices @ prices
        linear = projection[:, self._logs + outputs :]
        linear[features._mains] += named["decisions"]
        linear[[column("blocks"), column("squeezing blocks")]] += totals[3:]
        stages = [
            table._replace(values=table.values @ projection) for table in features._tables.stages
        ]
        self._tables = Tables(stages, features._tables.around @ projection)

    def of(self, genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the centred mean log time of the sources [n] and the weighted sums [n, outputs].

        genotypes  int8 [n, decisions].
        """
        mean, out = np.empty(len(genotypes)), np.empty((len(genotypes), self._outputs))
        for start in range(0, len(genotypes), CHUNK):
            part = slice(start, start + CHUNK)
            mean[part], out[part] = self._chunk(genotypes[part])
        return mean, out

    def _chunk(self, genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sums = self._tables.sums(genotypes)
        logs = np.log(sums[:, : self._logs])
        sources = self._logs - 3
        mean = (logs[:, :sources] - self._of._log_center).mean(1)
        split = self._logs + self._outputs
        out = sums[:, self._logs : split] / self._of._time(mean)[:, None] + sums[:, split:]
        return mean, out + logs @ self._by_log + mean[:, None] * self._by_mean + self._constant


def _by_stage(values: np.ndarray) -> np.ndarray:
    """Return the sums of `BY_STAGE` from those of `weigh`, [rows, 5]."""
    depthwise = (
        values[:, column("small depthwise FLOPs")] + values[:, column("large depthwise FLOPs")]
    )
    names = ("FLOPs", "activations", "squeezed activations")
    parts = [values[:, column(name)] for name in names]
    return np.stack([*parts, depthwise, values[:, column("layers")]], axis=1)


def _contrasts(options: int) -> np.ndarray:
    """Return an orthogonal polynomial coding, [options, options - 1], of mean 0 and variance 1."""
    basis, _ = np.linalg.qr(np.vander(np.arange(options, dtype=np.float64), increasing=True))
    return basis[:, 1:] * np.sqrt(options)
