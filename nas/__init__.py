"""Which network is best? Objectives, strategies, evaluators and the search loop."""
