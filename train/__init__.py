"""Training and evaluation of networks: data, recipes, the training loop, export, prediction."""

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
    from train.predict.config import PredictConfig
    from train.predict.result import PredictResult
    from train.predict.run import predict_images
    from train.preprocessing import Preprocessing, preprocess
    from train.ray_tune.config import TuneConfig
    from train.ray_tune.result import TuneResult
    from train.ray_tune.run import run_tune
    from train.run.config import TrainConfig
    from train.run.result import TrainResult
    from train.run.run import run_training
    from train.trained_network import TrainedNetwork, load_network

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ExportConfig": "train.export.config",
        "ExportResult": "train.export.result",
        "NoisyStudentConfig": "train.noisy_student.config",
        "NoisyStudentResult": "train.noisy_student.result",
        "Parent": "train.parents",
        "PredictConfig": "train.predict.config",
        "PredictResult": "train.predict.result",
        "Preprocessing": "train.preprocessing",
        "TrainConfig": "train.run.config",
        "TrainResult": "train.run.result",
        "TrainedNetwork": "train.trained_network",
        "TuneConfig": "train.ray_tune.config",
        "TuneResult": "train.ray_tune.result",
        "export_network": "train.export.run",
        "load_network": "train.trained_network",
        "load_parent": "train.parents",
        "predict_images": "train.predict.run",
        "preprocess": "train.preprocessing",
        "run_noisy_student": "train.noisy_student.run",
        "run_training": "train.run.run",
        "run_tune": "train.ray_tune.run",
    },
)
