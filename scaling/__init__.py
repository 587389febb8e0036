"""Scaling of networks: families, scaling coefficients, training-aware search, whole baselines."""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from scaling.baseline.config import BaselineConfig
    from scaling.baseline.report import BaselineResult
    from scaling.baseline.run import run_baseline
    from scaling.compound import PUBLISHED, Coefficients, Factors, Rules, grown
    from scaling.family.config import FamilyConfig
    from scaling.family.members import Member
    from scaling.family.report import FamilyResult
    from scaling.family.run import grow_family
    from scaling.grid.config import GridConfig
    from scaling.grid.report import GridResult
    from scaling.grid.run import run_grid
    from scaling.training_aware.config import TrainingAwareConfig
    from scaling.training_aware.report import TrainingAwareResult
    from scaling.training_aware.run import run_training_aware

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "BaselineConfig": "scaling.baseline.config",
        "BaselineResult": "scaling.baseline.report",
        "Coefficients": "scaling.compound",
        "Factors": "scaling.compound",
        "FamilyConfig": "scaling.family.config",
        "FamilyResult": "scaling.family.report",
        "GridConfig": "scaling.grid.config",
        "GridResult": "scaling.grid.report",
        "Member": "scaling.family.members",
        "PUBLISHED": "scaling.compound",
        "Rules": "scaling.compound",
        "TrainingAwareConfig": "scaling.training_aware.config",
        "TrainingAwareResult": "scaling.training_aware.report",
        "grow_family": "scaling.family.run",
        "grown": "scaling.compound",
        "run_baseline": "scaling.baseline.run",
        "run_grid": "scaling.grid.run",
        "run_training_aware": "scaling.training_aware.run",
    },
)
