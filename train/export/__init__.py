"""Export of trained networks to other tools: `python -m train.export RUN --to FORMAT`.

RUN is the folder of a run (its best.safetensors) or a weights file. The export is loaded back by
its target tool and must give the logits of the network on random and on real images, in batches of
1 and 3; otherwise it is removed. In each batch the logits may differ by `TOLERANCE` times the
largest absolute logit (times 1 if that is smaller): other kernels sum in another order, and the
rounding of float32 (6e-8 of the summands, in each layer) grows with the numbers.
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
