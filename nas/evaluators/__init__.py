"""Evaluators: each answers how accurate networks are, and how sure it is."""
