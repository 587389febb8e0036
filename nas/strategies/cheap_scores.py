"""Cheap scores of networks (zero-cost proxies, say) as further features of a model, on probation.

Whether they help is a question to the evaluations known so far: scores join the model where the
marginal likelihood of these with the scores is far above that without (Kass and Raftery 1995,
"Bayes Factors", call e^3 strong evidence), so that useless ones change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from search_spaces.space import SearchSpace

Scores = Callable[[np.ndarray], np.ndarray]  # genotypes int8 [n, decisions] -> float64 [n, k]

EVIDENCE = 3.0  # logarithm of the ratio of marginal likelihoods from which scores join the model
SHARES = (0.03, 0.1, 0.3, 1.0)  # of a standardised accuracy's variance that they may explain
FAR = 3.0  # deviations; a score further from the mean counts as one at this distance


@dataclass(frozen=True)
class Memorised:
    """Scores that are computed once for each network."""

    space: SearchSpace
    scores: Scores
    _known: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    def __call__(self, genotypes: np.ndarray) -> np.ndarray:
        """Scores of genotypes [n, decisions], float64 [n, k]; NaN where there is none."""
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
    """Puts scores on the scale of those of known networks."""

    center: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray) -> Scale:
        """From scores [n, k]; NaN counts as the mean."""
        finite = np.where(np.isfinite(scores), scores, np.nan)
        known = np.isfinite(finite)
        count = np.maximum(known.sum(0), 1)
        center = np.where(known, scores, 0.0).sum(0) / count
        spread = np.sqrt(np.where(known, (scores - center) ** 2, 0.0).sum(0) / count)
        return cls(center, np.where(spread > 0, spread, np.inf))

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Features [n, k] of mean 0 whose squares sum to about 1."""
        known = np.where(np.isfinite(scores), scores, self.center)
        return np.clip((known - self.center) / self.spread, -FAR, FAR) / np.sqrt(scores.shape[1])


def explained_share(covariance: np.ndarray, targets: np.ndarray, features: np.ndarray) -> float:
    """The share of variance that features [n, k] explain of standardised targets [n]; often 0.

    covariance  [n, n] of the targets under the model without the features, noise included.
    """
    without = log_likelihood(covariance, targets)
    shared = features @ features.T
    gains = [log_likelihood(covariance + share * shared, targets) - without for share in SHARES]
    best = int(np.argmax(gains))
    return SHARES[best] if gains[best] > EVIDENCE else 0.0


def log_likelihood(covariance: np.ndarray, targets: np.ndarray) -> float:
    """Of targets [n] that are normal with mean 0, but for a constant."""
    lower = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(lower, targets)
    return float(-np.log(np.diag(lower)).sum() - 0.5 * whitened @ whitened)
