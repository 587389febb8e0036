"""Fidelity: find the short training that ranks networks as a long one, `python -m nas.fidelity`."""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from nas.fidelity.config import FidelityConfig
    from nas.fidelity.remembered import recommended
    from nas.fidelity.result import FidelityResult
    from nas.fidelity.run import run_fidelity

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "FidelityConfig": "nas.fidelity.config",
        "FidelityResult": "nas.fidelity.result",
        "recommended": "nas.fidelity.remembered",
        "run_fidelity": "nas.fidelity.run",
    },
)
