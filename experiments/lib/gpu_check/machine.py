"""The device under test, and the versions that influence the results."""

from __future__ import annotations

import torch

from experiments.lib.common import device_name
from experiments.lib.gpu_check.step import Conditions, Finding, Keep, finding


def check(here: Conditions, keep: Keep) -> Finding:
    """Return name and memory of the device, and versions of torch, CUDA, cuDNN and NCCL.

    Raises ValueError if there is no GPU, except in a dry run.
    """
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda}
    if here.device == "cpu":
        return finding(device_name("cpu"), name=device_name("cpu"), versions=versions)
    if not torch.cuda.is_available():
        raise ValueError("device: torch finds no GPU; use --dry to try the steps on a CPU")
    known = torch.cuda.get_device_properties(0)
    versions["cudnn"] = str(torch.backends.cudnn.version())
    versions["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
    memory = known.total_memory / 2**30
    return finding(
        f"{known.name}, {memory:.0f} GiB, torch {torch.__version__}",
        name=known.name,
        memory_gib=memory,
        capability=list(torch.cuda.get_device_capability(0)),
        multiprocessors=known.multi_processor_count,
        bfloat16=torch.cuda.is_bf16_supported(including_emulation=False),
        versions=versions,
    )
