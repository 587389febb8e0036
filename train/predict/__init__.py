"""Classification of images with a trained network: `python -m train.predict RUN_OR_EXPORT IMAGES`.

torch and onnxruntime get the same prepared images, as in the evaluation of the training
(`train.preprocessing`).
"""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from train.predict.config import PredictConfig
    from train.predict.result import PredictResult
    from train.predict.run import predict_images

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "PredictConfig": "train.predict.config",
        "PredictResult": "train.predict.result",
        "predict_images": "train.predict.run",
    },
)
