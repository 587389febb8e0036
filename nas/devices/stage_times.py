"""Model of a network's time: a sum of stage times with a lower bound, the floor.

    log time = log((sum of stage times)^p + floor^p) / p + correction

The first layer and each further layer of a stage have a separate time for every combination of
expansion, kernel and squeeze-and-excitation. The time of small networks is bounded by a floor
(input pipeline, kernel launches), which depends on the depth, the activations and the
squeeze-and-excitation layers. The spread of measurements depends on the gap between sum and floor;
at the floor it is several times as large. This module needs only numpy.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from nas.evaluators.stage_tables import stage_codes, stage_columns, table_sums

CHUNK = 16384  # rows at a time, so that the working arrays fit in the processor's cache
ITERATIONS = 14
HEAVY_TAIL = 2.0  # robust standard deviations beyond which residuals have less weight (Cauchy)
KNOTS = 10  # knots of the correction and the spread along the gap
FOLDS = 5
NORMAL_68, NORMAL_95 = 0.994458, 1.959964  # half-widths of the central 68% and 95%


@dataclass(frozen=True)
class StageTimes:
    """Model of the log time of genotypes, for a space of stages with decisions e, k, l and se.

    tables     [stages, width, 3]: time, log floor and squeeze-and-excitation of each combination
               of a stage's decisions; sums over the stages give those of the network. The first
               stage includes the layers outside the stages.
    plain      offset of the log floor of networks without squeeze-and-excitation.
    sharpness  exponent p of the formula above.
    gaps       log(sum of stage times) - log(floor) at the knots, increasing, [knots].
    shift      correction of the log time at the knots, [knots].
    spread     standard deviation of one measurement of the log time at the knots, [knots].
    """

    tables: np.ndarray
    plain: float
    sharpness: float
    gaps: np.ndarray
    shift: np.ndarray
    spread: np.ndarray

    def predict(
        self, choices: Mapping[str, tuple], genotypes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return log time and standard deviation of one measurement, float64 [n] each."""
        out = np.empty((2, len(genotypes)))
        for start in range(0, len(genotypes), CHUNK):
            part = slice(start, start + CHUNK)
            work, floor = self.parts(choices, genotypes[part])
            gap = work - floor
            out[0, part] = _smooth_maximum(work, floor, self.sharpness)
            out[0, part] += np.interp(gap, self.gaps, self.shift)
            out[1, part] = np.interp(gap, self.gaps, self.spread)
        return out[0], out[1]

    def parts(
        self, choices: Mapping[str, tuple], genotypes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the log of the summed stage times and the log floor, float64 [n] each."""
        sums = table_sums(self.tables, stage_codes(choices, genotypes))
        return np.log(sums[:, 0]), sums[:, 1] + self.plain * (sums[:, 2] < 0.5)


def _smooth_maximum(left: np.ndarray, right: np.ndarray, power: float) -> np.ndarray:
    return np.logaddexp(power * left, power * right) / power


def fit_stage_times(
    choices: Mapping[str, tuple],
    genotypes: np.ndarray,
    activations: np.ndarray,
    times: np.ndarray,
) -> StageTimes:
    """Fit the model robustly to measured times.

    Correction and spread are estimated from the residuals of `FOLDS`-fold cross-validation.

    genotypes    measured networks, int8 [n, decisions].
    activations  activations of the networks, [n].
    times        measured times, above 0, [n].
    """
    design = _Design(choices, genotypes, activations)
    fold = np.random.default_rng(0).permutation(len(times)) % FOLDS
    residual = np.empty(len(times))
    for index in range(FOLDS):
        held = fold == index
        part = design.fit(np.flatnonzero(~held), times)
        work, floor = part.parts(choices, genotypes[held])
        residual[held] = np.log(times[held]) - _smooth_maximum(work, floor, part.sharpness)
    # one model for all gaps, because the floor of few small networks varies between folds
    whole = design.fit(np.arange(len(times)), times)
    work, floor = whole.parts(choices, genotypes)
    gap = work - floor
    gaps = np.quantile(gap, np.linspace(0, 1, KNOTS + 1))
    gaps = (gaps[1:] + gaps[:-1]) / 2
    nearest = np.abs(gap[:, None] - gaps).argmin(1)
    shift = np.array([np.median(residual[nearest == knot]) for knot in range(KNOTS)])
    left = np.abs(residual - np.interp(gap, gaps, shift))
    spread = np.array([_spread(left[nearest == knot]) for knot in range(KNOTS)])
    return replace(whole, gaps=gaps, shift=shift, spread=spread)


def _spread(missed: np.ndarray) -> float:
    """Return a standard deviation whose 68% and 95% intervals cover about 68% and 95%.

    Residuals have heavy tails, so that no deviation gives both shares exactly.
    """
    inner, outer = np.quantile(missed, [0.68, 0.95]) / (NORMAL_68, NORMAL_95)
    return float(inner**0.8 * outer**0.2)


class _Design:
    """Features of the regression: those of the stage times, and those of the log floor."""

    def __init__(
        self, choices: Mapping[str, tuple], genotypes: np.ndarray, activations: np.ndarray
    ) -> None:
        self.choices = choices
        self.stages = stage_columns(choices)
        self.options = [len(options) for options in choices.values()]
        self.times = self._times(genotypes)
        # activations are also sums over stages, so that these features express them exactly
        scaled = (activations - activations.mean()) / activations.std()
        self._activations = np.linalg.lstsq(self.times, scaled, rcond=None)[0]
        self._depth = genotypes[:, 2::4].sum(1).mean()
        plain = genotypes[:, 3::4].sum(1) == 0
        self.floor = np.concatenate([self._floor(genotypes), plain[:, None]], axis=1)

    def _times(self, genotypes: np.ndarray) -> np.ndarray:
        """Return 1, then for each stage: first layer, further layers, and nonlinear terms."""
        features = [np.ones((len(genotypes), 1), bool)]
        for columns in self.stages:
            e, k, layers, se = genotypes[:, columns].T.astype(np.int64)
            forms = np.arange(4 * self.options[columns[0]])
            first = ((e * 2 + k) * 2 + se)[:, None] == forms
            features += [first, first * layers[:, None]]
            for deeper in range(2, self.options[columns[2]]):
                at = layers == deeper
                features.append(np.stack([at, at & (e == 0)], axis=1))
        return np.concatenate(features, axis=1).astype(np.float64)

    def _floor(self, genotypes: np.ndarray) -> np.ndarray:
        """Return 1, the largest depth of the deepest stage, depth, SE stages, activations, [n, 5].

        Networks with a fourth layer have a different floor: on TPUv3 it is 20% higher.
        """
        layers, options = genotypes[:, 2::4], self.options[2::4]
        deepest = int(np.argmax(options))
        parts = [
            np.ones(len(layers)),
            layers[:, deepest] == options[deepest] - 1,
            (layers.sum(1) - self._depth) / 2,
            genotypes[:, 3::4].sum(1),
            self._times(genotypes) @ self._activations,
        ]
        return np.stack(parts, axis=1).astype(np.float64)

    def fit(self, rows: np.ndarray, times: np.ndarray) -> StageTimes:
        """Fit the log times of some rows by Gauss-Newton; correction and spread remain 0."""
        scale = times[rows].mean()
        features, floor, log_times = self.times[rows], self.floor[rows], np.log(times[rows] / scale)
        count, mains = features.shape
        weighted = features / np.exp(log_times)[:, None]
        ridge = np.full(mains + floor.shape[1] + 1, count * 1e-5)
        ridge[-1] = count * 1e-4
        start = weighted.T @ weighted + np.diag(ridge[:mains])
        weights = np.concatenate(
            [np.linalg.solve(start, weighted.sum(0)), np.zeros(floor.shape[1]), [np.log(6.0)]]
        )
        weights[mains] = np.quantile(log_times, 0.03) - 0.1
        for _ in range(ITERATIONS):
            value, jacobian = _linearised(weights, features, floor)
            missed = log_times - value
            spread = 1.4826 * np.median(np.abs(missed))
            trust = 1 / np.sqrt(1 + (missed / spread / HEAVY_TAIL) ** 2)
            jacobian *= trust[:, None]
            gradient = jacobian.T @ (missed * trust)
            gradient[:mains] -= 0.1 * ridge[:mains] * weights[:mains]
            step = np.linalg.solve(jacobian.T @ jacobian + np.diag(ridge), gradient)
            step[mains:] = np.clip(step[mains:], -0.3, 0.3)
            weights += step
            weights[-1] = np.clip(weights[-1], 0.0, 3.5)
        return self._tabulated(weights, scale)

    def _tabulated(self, weights: np.ndarray, scale: float) -> StageTimes:
        """Return the weights as tables over the combinations of each stage."""
        sizes = [int(np.prod([self.options[c] for c in columns])) for columns in self.stages]
        tables = np.zeros((len(self.stages), max(sizes), 3))
        mains = self.times.shape[1]

        def linear(genotypes: np.ndarray) -> np.ndarray:
            time = self._times(genotypes) @ weights[:mains] * scale
            floor = self._floor(genotypes) @ weights[mains:-2] + np.log(scale)
            return np.stack([time, floor, genotypes[:, 3::4].sum(1)], axis=1)

        start = linear(np.zeros((1, len(self.options)), np.int8))
        for index, columns in enumerate(self.stages):
            grid = np.zeros((sizes[index], len(self.options)), np.int8)
            grid[:, columns] = list(itertools.product(*(range(self.options[c]) for c in columns)))
            tables[index, : sizes[index]] = linear(grid) - start
        tables[0] += start
        none = np.zeros(KNOTS)
        plain, sharpness = float(weights[-2]), float(np.exp(weights[-1]))
        return StageTimes(tables, plain, sharpness, np.arange(KNOTS, dtype=float), none, none)


def _linearised(
    weights: np.ndarray, features: np.ndarray, floor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return log times at `weights` [n] and their derivatives [n, weights]."""
    mains = features.shape[1]
    work = np.maximum(features @ weights[:mains], 1e-2)
    low, power = floor @ weights[mains:-1], np.exp(weights[-1])
    share = 1 / (1 + np.exp(np.clip(power * (low - np.log(work)), -50, 50)))
    rest = 1 - share
    entropy = -(share * np.log(np.maximum(share, 1e-12)) + rest * np.log(np.maximum(rest, 1e-12)))
    value = _smooth_maximum(np.log(work), low, float(power))
    parts = [features * (share / work)[:, None], floor * rest[:, None], -entropy[:, None] / power]
    return value, np.concatenate(parts, axis=1)
