"""The optimisers that `experiments.compare_strategies` compares with: a worker, and versions."""
