"""Families of models that were tried as ImageNet surrogate.

All have the same signature:

    fit(space, genotypes, accuracy) -> predict;  predict(genotypes) -> (mean, std), percent

The standard deviation is that of a new measurement. `shipped` is the model in the package; the
others are for comparison.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from nas.evaluators.fit import WARP_SCALE, SurrogateBasis, fit, warp
from search_spaces.space import SearchSpace

Predict = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
Family = Callable[[SearchSpace, np.ndarray, np.ndarray], Predict]
CEILING = 78.0  # percent; 72 to 84 cross-validate alike, higher ones give wider intervals
GP_SUBSET = 1200  # networks on which the hyperparameters of the Gaussian process are fitted
GP_STEPS = 100


@functools.cache
def basis_of(space: SearchSpace) -> SurrogateBasis:
    """Return the features of a space."""
    return SurrogateBasis(space)


def evidence_model(labels: tuple[str, ...] | None, ceiling: float | None) -> Family:
    """Return Bayesian regression on feature groups `labels` (None: all), warped below `ceiling`."""

    def fit_family(space: SearchSpace, genotypes: np.ndarray, accuracy: np.ndarray) -> Predict:
        basis = basis_of(space)
        wanted = [labels is None or label[0] in labels for label in basis.labels]
        _, groups = np.unique(basis.groups[wanted], return_inverse=True)
        latent = accuracy if ceiling is None else warp(accuracy, ceiling)
        posterior = fit(basis.features(genotypes)[:, wanted], latent, groups)

        def predict(genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            features = basis.features(genotypes)[:, wanted]
            deviation = np.sqrt(posterior.variance(features) + posterior.noise)
            return unwarp(posterior.mean(features), deviation, ceiling)

        return predict

    return fit_family


def unwarp(
    latent: np.ndarray, deviation: np.ndarray, ceiling: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Convert latent mean and deviation to percent (first order); unchanged without a ceiling."""
    if ceiling is None:
        return latent, deviation
    error = ceiling * np.exp(-latent / WARP_SCALE)
    return ceiling - error, deviation * error / WARP_SCALE


def gaussian_process(space: SearchSpace, genotypes: np.ndarray, accuracy: np.ndarray) -> Predict:
    """Fit an exact GP on warped accuracy: linear + quadratic + squared-exponential, grouped ARD.

    Hyperparameters by random hill climbing on the marginal likelihood of 1,200 networks.
    """
    basis = basis_of(space)
    inputs, latent = _gp_inputs(basis, genotypes), warp(accuracy, CEILING)
    offset = latent.mean()
    rng = np.random.default_rng(0)
    subset = rng.permutation(len(inputs))[:GP_SUBSET]
    hyper = np.log([0.1, 0.3, 0.3, 0.5, 0.1, 0.1, 1.0, 0.2])
    best = -np.inf
    for step in range(GP_STEPS):
        trial = hyper + (step > 0) * 0.4 * rng.standard_normal(8) * (rng.random(8) < 0.4)
        evidence = _gp_evidence(inputs[subset], latent[subset] - offset, trial)
        if evidence > best:
            best, hyper = evidence, trial
    noise = np.exp(2 * hyper[-1])
    kernel = _gp_kernel(inputs, inputs, hyper) + noise * np.eye(len(inputs))
    inverse = np.linalg.inv(kernel)
    weights = inverse @ (latent - offset)

    def predict(genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        new = _gp_inputs(basis, genotypes)
        cross = _gp_kernel(new, inputs, hyper)
        prior = np.concatenate([_gp_kernel(row[None], row[None], hyper)[0] for row in new])
        variance = prior - np.einsum("nm,nm->n", cross @ inverse, cross) + noise
        return unwarp(offset + cross @ weights, np.sqrt(np.maximum(variance, noise)), CEILING)

    return predict


def _gp_inputs(basis: SurrogateBasis, genotypes: np.ndarray) -> np.ndarray:
    """Return the logs of the totals (4 columns), then the single decisions."""
    logs = (np.log(basis.totals(genotypes)) - basis.log_center) / basis.log_scale
    return np.concatenate([logs, basis.mains(genotypes)], axis=1)


def _gp_kernel(left: np.ndarray, right: np.ndarray, hyper: np.ndarray) -> np.ndarray:
    """Return the kernel matrix.

    hyper  logs of the weights of decisions and totals in three kernels, of amplitude and noise.
    """
    decisions, totals = np.exp(hyper[:3]), np.exp(hyper[3:6])
    out = np.zeros((len(left), len(right)))
    for order, (decision, total) in enumerate(zip(decisions, totals, strict=True)):
        scale = np.where(np.arange(left.shape[1]) < 4, total, decision)
        a, b = left * scale, right * scale
        inner = a @ b.T
        if order == 0:
            distance = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * inner
            out += np.exp(2 * hyper[6] - distance / 2)
        else:
            out += inner**order
    return out


def _gp_evidence(inputs: np.ndarray, latent: np.ndarray, hyper: np.ndarray) -> float:
    kernel = _gp_kernel(inputs, inputs, hyper)
    kernel[np.diag_indices_from(kernel)] += np.exp(2 * hyper[-1])
    root = np.linalg.cholesky(kernel)
    white = np.linalg.solve(root, latent)
    return float(-0.5 * white @ white - np.log(np.diag(root)).sum())


def boosted_trees(space: SearchSpace, genotypes: np.ndarray, accuracy: np.ndarray) -> Predict:
    """Fit LightGBM on decisions and log totals, one deviation for all; ImportError without it."""
    import lightgbm

    basis = basis_of(space)

    def inputs(genotypes: np.ndarray) -> np.ndarray:
        return np.concatenate([genotypes, np.log(basis.totals(genotypes))], axis=1)

    def boost(rows: np.ndarray) -> Any:
        model = lightgbm.LGBMRegressor(
            n_estimators=1500,
            learning_rate=0.03,
            num_leaves=12,
            min_child_samples=15,
            subsample=0.8,
            subsample_freq=1,
            colsample_bytree=0.4,
            n_jobs=2,
            random_state=0,
            verbose=-1,
        )
        return model.fit(inputs(genotypes[rows]), accuracy[rows])

    order = np.random.default_rng(0).permutation(len(genotypes))
    held, rest = np.array_split(order, [len(order) // 5])
    missed = accuracy[held] - boost(rest).predict(inputs(genotypes[held]))
    model, deviation = boost(order), missed.std()

    def predict(genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return model.predict(inputs(genotypes)), np.full(len(genotypes), deviation)

    return predict


PAIRS = ("main", "pair", "total")
SHIPPED = "+ whole stages, sums, gates, warped (shipped)"
shipped = evidence_model(None, CEILING)
FAMILIES: dict[str, Family] = {
    "pairs and totals, plain accuracy": evidence_model(PAIRS, None),
    "pairs and totals, warped": evidence_model(PAIRS, CEILING),
    "+ whole stages, sums, gates, plain accuracy": evidence_model(None, None),
    SHIPPED: shipped,
    "Gaussian process": gaussian_process,
    "boosted trees": boosted_trees,
}
ENSEMBLE = ("pairs and totals, warped", "Gaussian process", "boosted trees")


def mixture(
    predictions: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of the equal mixture of several predictions."""
    means, deviations = np.stack(predictions, axis=1)
    return means.mean(0), np.sqrt((deviations**2).mean(0) + means.var(0))
