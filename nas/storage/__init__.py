"""Storage of the results of expensive evaluations: studies in databases, and a cache of files."""
