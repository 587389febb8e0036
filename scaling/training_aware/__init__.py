"""Training-aware search and scaling of EfficientNetV2: `python -m scaling.training_aware`.

The reward is A * S^w * P^v (Tan & Le 2021, section 3.2): A is the accuracy of a short training, S
the seconds of a training step relative to V2-base, from this machine's table of block times, and P
the parameters relative to V2-base; w = -0.07, v = -0.05. V2-base is EfficientNetV2-base, from which
V2-S, M and L are grown. The found network is trained and timed together with
V2-base and EfficientNet-B0 at the same size. It is then grown by V2's rules as much as V2-S, M and
L are grown from V2-base.
"""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from scaling.training_aware.config import TrainingAwareConfig
    from scaling.training_aware.networks import (
        SPACE,
        b0_like,
        full_size,
        members,
        ops_of_stages,
        reference,
    )
    from scaling.training_aware.report import TrainingAwareResult
    from scaling.training_aware.run import run_training_aware

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "SPACE": "scaling.training_aware.networks",
        "TrainingAwareConfig": "scaling.training_aware.config",
        "TrainingAwareResult": "scaling.training_aware.report",
        "b0_like": "scaling.training_aware.networks",
        "full_size": "scaling.training_aware.networks",
        "members": "scaling.training_aware.networks",
        "ops_of_stages": "scaling.training_aware.networks",
        "reference": "scaling.training_aware.networks",
        "run_training_aware": "scaling.training_aware.run",
    },
)
