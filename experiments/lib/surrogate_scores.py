"""Scores of surrogates: grouped cross-validation, coverage, slices and extrapolation; numpy only.

Every score is a plain number, so that a result file can hold it.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from experiments.lib.surrogate_families import Family
from search_spaces.space import SearchSpace

FOLDS = 5
EXTRAPOLATION_LIMIT = 64.5  # percent; about a tenth of the measured networks lie above
NORMAL_68, NORMAL_95 = 0.994458, 1.959964  # half-widths of the central 68% and 95%


class Measurements(NamedTuple):
    """Measured networks: genotypes int8 [n, decisions], top-1 in percent [n], params [n]."""

    genotypes: np.ndarray
    accuracy: np.ndarray
    params: np.ndarray


class Predicted(NamedTuple):
    """Out-of-fold predictions, percent, [n] each."""

    mean: np.ndarray
    std: np.ndarray


def fold_of(genotypes: np.ndarray, seed: int, folds: int = FOLDS) -> np.ndarray:
    """Return the shuffled fold index of every row, int [n]; repeats of one network share a fold."""
    _, network = np.unique(genotypes, axis=0, return_inverse=True)
    network = network.reshape(-1)
    count = network.max() + 1
    fold = np.empty(count, np.int64)
    fold[np.random.default_rng(seed).permutation(count)] = np.arange(count) % folds
    return fold[network]


def cross_validate(
    family: Family, space: SearchSpace, data: Measurements, seed: int
) -> tuple[Predicted, float]:
    """Return out-of-fold predictions of all rows, and seconds per fit."""
    fold = fold_of(data.genotypes, seed)
    mean, std, seconds = np.empty(len(fold)), np.empty(len(fold)), 0.0
    for index in range(FOLDS):
        held = fold == index
        start = time.perf_counter()
        predict = family(space, data.genotypes[~held], data.accuracy[~held])
        seconds += time.perf_counter() - start
        mean[held], std[held] = predict(data.genotypes[held])
    return Predicted(mean, std), seconds / FOLDS


def extrapolate(family: Family, space: SearchSpace, data: Measurements) -> Predicted:
    """Return predictions for the networks above the limit by a model fitted to those below."""
    low = data.accuracy <= EXTRAPOLATION_LIMIT
    return Predicted(*family(space, data.genotypes[low], data.accuracy[low])(data.genotypes[~low]))


def scores(accuracy: np.ndarray, predicted: Predicted) -> dict[str, float]:
    """Return Kendall's tau, errors in points (bias: predicted minus measured), and coverage."""
    error = predicted.mean - accuracy
    return {
        "kendall_tau": round(kendall_tau(accuracy, predicted.mean), 4),
        "mae": round(float(np.abs(error).mean()), 4),
        "rmse": round(float(np.sqrt((error**2).mean())), 4),
        "bias": round(float(error.mean()), 4),
        **coverage(accuracy, predicted),
    }


def coverage(accuracy: np.ndarray, predicted: Predicted) -> dict[str, float]:
    """Return the shares of measurements inside the nominal 68% and 95% intervals."""
    sigmas = np.abs(predicted.mean - accuracy) / predicted.std
    return {
        "coverage_68": round(float((sigmas <= NORMAL_68).mean()), 4),
        "coverage_95": round(float((sigmas <= NORMAL_95).mean()), 4),
    }


def kendall_tau(left: np.ndarray, right: np.ndarray) -> float:
    """Return Kendall's tau-b of two lists of numbers [n]."""
    agree = ties_left = ties_right = 0
    for index in range(len(left) - 1):
        a = np.sign(left[index + 1 :] - left[index])
        b = np.sign(right[index + 1 :] - right[index])
        agree += a @ b
        ties_left += (a != 0).sum()
        ties_right += (b != 0).sum()
    return float(agree / np.sqrt(float(ties_left) * float(ties_right)))


def distances(genotypes: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return the number of differing decisions to the nearest network of other folds, int [n]."""
    out = np.empty(len(genotypes), np.int64)
    for index, row in enumerate(genotypes):
        others = genotypes[fold != fold[index]]
        out[index] = (others != row).sum(1).min()
    return out


def slices(data: Measurements, predicted: Predicted, fold: np.ndarray) -> dict[str, list[dict]]:
    """Return coverage and bias by measured and predicted accuracy, deviation, and distance."""
    away = np.clip(distances(data.genotypes, fold), 4, 9)
    parts = {
        "measured accuracy, fifths": _fifths(data.accuracy),
        "predicted accuracy, fifths": _fifths(predicted.mean),
        "predicted deviation, fifths": _fifths(predicted.std),
        "differing decisions to nearest training network": [
            (f"{d}{'+' if d == 9 else ' or fewer' if d == 4 else ''}", away == d)
            for d in np.unique(away)
        ],
        "the 50 with the highest prediction": [
            ("top 50", np.argsort(np.argsort(-predicted.mean)) < 50)
        ],
    }
    return {
        title: [
            {"slice": name, "networks": int(rows.sum())}
            | scores(data.accuracy[rows], Predicted(predicted.mean[rows], predicted.std[rows]))
            for name, rows in part
            if rows.sum() > 1
        ]
        for title, part in parts.items()
    }


def _fifths(values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    edges = np.quantile(values, np.linspace(0, 1, 6))
    index = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, 4)
    return [(f"{edges[i]:.3f} to {edges[i + 1]:.3f}", index == i) for i in range(5)]
