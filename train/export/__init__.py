"""Write a trained network for other tools: `python -m train.export RUN --to FORMAT`.

RUN is the folder of a run (its best.safetensors) or a weights file. What is written is loaded back
by the tool it is for, and has to give the logits of the network on random and on real images, at
batches of 1 and 3; otherwise nothing is left of it. In each batch they may differ by `TOLERANCE`
times the largest absolute logit (times 1 where that is smaller): other kernels add up in another
order, and the rounding of float32 (6e-8 of what is added, in each layer) grows with the numbers.
"""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from train.export.compare import TOLERANCE, Compared, Mismatch
    from train.export.config import ExportConfig
    from train.export.result import ExportResult
    from train.export.run import export_network

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Compared": "train.export.compare",
        "ExportConfig": "train.export.config",
        "ExportResult": "train.export.result",
        "Mismatch": "train.export.compare",
        "TOLERANCE": "train.export.compare",
        "export_network": "train.export.run",
    },
)
