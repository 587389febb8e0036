"""Supernets: one set of weights for all networks of a space, trained once from random weights."""
