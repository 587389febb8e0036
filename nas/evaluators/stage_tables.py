"""Tables of the fitted surrogate: a prediction is 21 lookups of stage pairs and a polynomial."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CHUNK = 8192  # rows at a time, so that the working arrays fit in the processor's cache
MONOMIALS = tuple(  # powers of the four logs, total degree 1 to 3
    powers for powers in itertools.product(range(4), repeat=4) if 1 <= sum(powers) <= 3
)


def monomials(logs: np.ndarray) -> np.ndarray:
    """Return the products of powers of the columns of `logs` [n, 4] in `MONOMIALS`, [n, 34]."""
    raised = [[np.ones(len(logs)), x, x * x, x * x * x] for x in np.ascontiguousarray(logs.T)]
    out = np.empty((len(MONOMIALS), len(logs)))
    for row, (a, b, c, d) in zip(out, MONOMIALS, strict=True):
        np.multiply(raised[0][a], raised[1][b], out=row)
        for factor, power in ((raised[2], c), (raised[3], d)):
            if power:
                row *= factor[power]
    return out.T


def stage_columns(choices: Mapping[str, tuple]) -> list[list[int]]:
    """Return the columns of the decisions of each stage, from names such as block0_e."""
    stages: dict[str, list[int]] = {}
    for column, name in enumerate(choices):
        stages.setdefault(name.split("_")[0], []).append(column)
    return list(stages.values())


def stage_codes(choices: Mapping[str, tuple], genotypes: np.ndarray) -> list[np.ndarray]:
    """Return, for each stage, the index of its combination of options, int64 [n].

    The last decision of a stage varies fastest.
    """
    columns = genotypes.T.astype(np.intp, order="C")
    counts = [len(options) for options in choices.values()]
    codes = []
    for stage in stage_columns(choices):
        code = columns[stage[0]]
        for column in stage[1:]:
            code = code * counts[column] + columns[column]
        codes.append(code)
    return codes


def table_sums(tables: np.ndarray, codes: Sequence[np.ndarray]) -> np.ndarray:
    """Return the sums [n, ...] over the stages of the rows `codes` [n] of their tables."""
    total = tables[0].take(codes[0], axis=0)
    for table, code in zip(tables[1:], codes[1:], strict=True):
        total += table.take(code, axis=0)
    return total


@dataclass(frozen=True)
class Tables:
    """Tables of mean and log variance of a latent accuracy, for every genotype of a space.

    choices     decisions and options, stage by stage.
    totals      FLOPs, params, activations, layers of each stage combination, [stages, width, 4];
                sums over the stages give those of the network.
    log_center, log_scale  mean and deviation that standardise the logs of these sums, [4].
    pairs       [stage pairs, width, width, 2]: contributions to mean and log variance.
    gates       [stages, width, 4, 2]: sums over the stages are the factors of the four logs.
    polynomial  [1 + monomials, 2]: a constant, then the weight of each monomial of the logs.
    noise       latent variance of one training, given the architecture.
    ceiling, scale  accuracy = ceiling * (1 - exp(-latent / scale)).
    """

    choices: Mapping[str, tuple]
    totals: np.ndarray
    log_center: np.ndarray
    log_scale: np.ndarray
    pairs: np.ndarray
    gates: np.ndarray
    polynomial: np.ndarray
    noise: float
    ceiling: float
    scale: float

    def predict(self, genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return accuracy in percent and standard deviation of one training, float64 [n] each."""
        latent, variance = self.latent(genotypes)
        error = self.ceiling * np.exp(-latent / self.scale)
        return self.ceiling - error, np.sqrt(variance + self.noise) * error / self.scale

    def predict_own(self, genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean accuracy over many trainings in percent, and its deviation, [n] each."""
        latent, variance = self.latent(genotypes)
        error = self.ceiling * np.exp(-latent / self.scale)
        return self.ceiling - error, np.sqrt(variance) * error / self.scale

    def latent(self, genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the latent mean and its variance without noise, float64 [n] each."""
        out = np.empty((2, len(genotypes)))
        for start in range(0, len(genotypes), CHUNK):
            out[:, start : start + CHUNK] = self._chunk(genotypes[start : start + CHUNK])
        return out[0], np.exp(out[1])

    def logs(self, genotypes: np.ndarray) -> np.ndarray:
        """Return standardised logs of FLOPs, params, activations and layers, float64 [n, 4]."""
        out = np.empty((len(genotypes), 4))
        for start in range(0, len(genotypes), CHUNK):
            out[start : start + CHUNK] = self._logs(
                stage_codes(self.choices, genotypes[start : start + CHUNK])
            )
        return out

    def _logs(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        totals = table_sums(self.totals, codes)
        return (np.log(totals) - self.log_center) / self.log_scale

    def _chunk(self, genotypes: np.ndarray) -> np.ndarray:
        codes = stage_codes(self.choices, genotypes)
        width = self.pairs.shape[1]
        gates = table_sums(self.gates.reshape(len(codes), width, 8), codes)
        logs = self._logs(codes)
        out = monomials(logs) @ self.polynomial[1:] + self.polynomial[0]
        out += np.einsum("ni,nio->no", logs, gates.reshape(-1, 4, 2))
        flat = self.pairs.reshape(len(self.pairs), width * width, 2)
        for table, (i, j) in zip(flat, itertools.combinations(codes, 2), strict=True):
            out += table.take(i * width + j, axis=0)
        return out.T
