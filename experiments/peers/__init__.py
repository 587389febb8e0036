"""Optimisers of other packages for `experiments.compare_strategies`: a worker, pinned versions."""
