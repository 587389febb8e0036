"""Experiments: each file answers one question, with its results in results/ (see README.md)."""
