"""Why a search by measurement may have to stop early; what it has found is kept."""

from __future__ import annotations

from vbs.failures import Failure, InfrastructureError


class StudyLost(InfrastructureError):
    """The database of the study does not answer, or takes nothing any more."""


class LostCluster(InfrastructureError):
    """No worker is left, or the cluster does not answer any more."""


class TooManyFailures(Failure):
    """Most evaluations fail: going on would waste the rest of the budget."""


class BusyMachine(Failure):
    """Times that a decision depends on cannot be trusted: other programs use the processors."""
