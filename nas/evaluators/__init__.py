"""Evaluators: estimates of the accuracy of networks, with their uncertainty."""
