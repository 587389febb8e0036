"""How good is a network? Data, recipes and the training loop."""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from train.export.config import ExportConfig
    from train.export.result import ExportResult
    from train.export.run import export_network
    from train.noisy_student.config import NoisyStudentConfig
    from train.noisy_student.result import NoisyStudentResult
    from train.noisy_student.run import run_noisy_student
    from train.parents import Parent, load_parent
    from train.ray_tune.config import TuneConfig
    from train.ray_tune.result import TuneResult
    from train.ray_tune.run import run_tune
    from train.run.config import TrainConfig
    from train.run.result import TrainResult
    from train.run.run import run_training

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ExportConfig": "train.export.config",
        "ExportResult": "train.export.result",
        "NoisyStudentConfig": "train.noisy_student.config",
        "NoisyStudentResult": "train.noisy_student.result",
        "Parent": "train.parents",
        "TrainConfig": "train.run.config",
        "TrainResult": "train.run.result",
        "TuneConfig": "train.ray_tune.config",
        "TuneResult": "train.ray_tune.result",
        "export_network": "train.export.run",
        "load_parent": "train.parents",
        "run_noisy_student": "train.noisy_student.run",
        "run_training": "train.run.run",
        "run_tune": "train.ray_tune.run",
    },
)
