"""Family: grow networks from one baseline, as B1 to B7 grew from B0, `python -m scaling.family`.

A member is the base scaled by factors of depth, width and resolution: those published for
EfficientNet, or those of the formula alpha^phi, beta^phi, gamma^phi. If a growth of the real cost
is given, a member is the network with this cost that is nearest to the factors (`scaling.budget`).
"""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from scaling.budget import Growth
    from scaling.family.config import FamilyConfig
    from scaling.family.members import Member, factors_of, family, published_top1
    from scaling.family.report import FamilyResult
    from scaling.family.run import grow_family

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "FamilyConfig": "scaling.family.config",
        "FamilyResult": "scaling.family.report",
        "Growth": "scaling.budget",
        "Member": "scaling.family.members",
        "factors_of": "scaling.family.members",
        "family": "scaling.family.members",
        "grow_family": "scaling.family.run",
        "published_top1": "scaling.family.members",
    },
)
