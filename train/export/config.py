"""Options of `python -m train.export`."""

from __future__ import annotations

from dataclasses import dataclass

from vbs.config import Config, option
from vbs.options import Command

FORMAT_NAMES = ("timm", "onnx", "safetensors", "torchscript")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Config):
    """An export: a trained network and a format."""

    title = "export"

    run: str | None = option(None, help="folder or weights of a run")
    to: str | None = option(
        None, metavar="|".join(FORMAT_NAMES), choices=FORMAT_NAMES, help="the format"
    )
    out: str | None = option(None, metavar="PATH", help="default: beside the weights")
    images: str | None = option(None, metavar="DIR", help="pictures to compare on")

    def check(self) -> None:
        if self.run is None:
            raise ValueError("RUN is missing; e.g. python -m train.export runs/train-1 --to timm")
        if self.to is None:
            raise ValueError(f"--to is missing; use one of {', '.join(FORMAT_NAMES)}")


COMMAND = Command(
    program="train.export",
    config=ExportConfig,
    run="train.export.run:export_network",
    report="train.export.report:show_result",
    positional=("run",),
    description="Write a trained network for other tools.",
    interrupted="interrupted; nothing was written",
)
