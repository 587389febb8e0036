"""Searches in which all networks share the weights of a supernet."""
