"""Cheap scores of networks, such as zero-cost proxies, as features of the model in `bayes`.

The scores become features only if they raise the marginal likelihood of the evaluations by a
factor of more than e^3, which Kass and Raftery 1995, "Bayes Factors", call strong evidence. Scores
that do not help therefore change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from search_spaces.space import SearchSpace

Scores = Callable[[np.ndarray], np.ndarray]  # genotypes int8 [n, decisions] -> float64 [n, k]

EVIDENCE = 3.0  # smallest logarithm of the ratio of marginal likelihoods for scores to be used
SHARES = (0.03, 0.1, 0.3, 1.0)  # candidates for the share of variance that the scores explain
FAR = 3.0  # standard deviations; scores further from the mean are clipped


@dataclass(frozen=True)
class Memorised:
    """Scores with a cache: each network is scored once."""

    space: SearchSpace
    scores: Scores
    _known: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    def __call__(self, genotypes: np.ndarray) -> np.ndarray:
        """Return scores of genotypes [n, decisions], float64 [n, k]; NaN for missing scores.

        Raises ValueError if the function returns another shape.
        """
        keys = self.space.keys(genotypes).tolist()
        missing = list({key: row for row, key in enumerate(keys) if key not in self._known}.items())
        if missing:
            found = np.asarray(self.scores(genotypes[[row for _, row in missing]]), np.float64)
            if found.ndim != 2 or len(found) != len(missing):
                raise ValueError(
                    f"scores: an array of shape {found.shape} is not allowed for {len(missing)} "
                    f"genotypes; use ({len(missing)}, number of scores)"
                )
            self._known.update(zip((key for key, _ in missing), found, strict=True))
        return np.array([self._known[key] for key in keys])


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of the scores of evaluated networks, to standardise scores."""

    center: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray) -> Scale:
        """Return the scale of scores [n, k]; NaN is ignored."""
        finite = np.where(np.isfinite(scores), scores, np.nan)
        known = np.isfinite(finite)
        count = np.maximum(known.sum(0), 1)
        center = np.where(known, scores, 0.0).sum(0) / count
        spread = np.sqrt(np.where(known, (scores - center) ** 2, 0.0).sum(0) / count)
        return cls(center, np.where(spread > 0, spread, np.inf))

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return features [n, k] of mean 0 whose squares sum to about 1; NaN becomes 0."""
        known = np.where(np.isfinite(scores), scores, self.center)
        return np.clip((known - self.center) / self.spread, -FAR, FAR) / np.sqrt(scores.shape[1])


def explained_share(covariance: np.ndarray, targets: np.ndarray, features: np.ndarray) -> float:
    """Return the share of the variance of standardised targets that features explain.

    covariance  [n, n] of the targets under the model without the features, noise included.
    targets     [n], standardised.
    features    [n, k].

    Returns 0.0 unless the evidence exceeds `EVIDENCE`.
    """
    without = log_likelihood(covariance, targets)
    shared = features @ features.T
    gains = [log_likelihood(covariance + share * shared, targets) - without for share in SHARES]
    best = int(np.argmax(gains))
    return SHARES[best] if gains[best] > EVIDENCE else 0.0


def log_likelihood(covariance: np.ndarray, targets: np.ndarray) -> float:
    """Return the log-likelihood of normal targets [n] with mean 0, up to a constant."""
    lower = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(lower, targets)
    return float(-np.log(np.diag(lower)).sum() - 0.5 * whitened @ whitened)
