"""Search strategies: each a function from the history of a search to the next proposals."""
