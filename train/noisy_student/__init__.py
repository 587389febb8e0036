"""Self-training with unlabelled images, in rounds: `python -m train.noisy_student`.

Source: Xie et al. 2020, "Self-training with Noisy Student improves ImageNet classification"
(arXiv 1911.04252). In each round a teacher, without noise, gives unlabelled images soft labels.
Confident images are kept, and the classes balanced. A student, equal or larger, is trained with
noise on labelled and pseudo-labelled images, and is the teacher of the next round.
"""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from train.noisy_student.config import NoisyStudentConfig
    from train.noisy_student.result import NoisyStudentResult
    from train.noisy_student.run import run_noisy_student

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "NoisyStudentConfig": "train.noisy_student.config",
        "NoisyStudentResult": "train.noisy_student.result",
        "run_noisy_student": "train.noisy_student.run",
    },
)
