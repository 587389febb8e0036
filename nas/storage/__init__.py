"""Storage of results of expensive evaluations: studies in databases, and a cache of files."""
