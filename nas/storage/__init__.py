"""Where results of dear evaluations are kept: studies in databases, and a cache of files."""
