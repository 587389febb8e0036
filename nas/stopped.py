"""Exceptions that stop a search with workers early; its results so far are kept."""

from __future__ import annotations

from vbs.failures import Failure, InfrastructureError


class StudyLost(InfrastructureError):
    """The database of the study does not respond, or refuses writes."""


class LostCluster(InfrastructureError):
    """No worker is left, or the cluster does not respond."""


class TooManyFailures(Failure):
    """Most evaluations fail, so the rest of the budget would be wasted."""


class BusyMachine(Failure):
    """Other programs use the processors, so measured times that decide a result are unreliable."""
