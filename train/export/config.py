"""Options of `python -m train.export`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from train.options import DataOptions
from vbs.config import option
from vbs.options import Command
from vbs.text import quoted

FORMAT_NAMES = ("timm", "hub", "onnx", "openvino", "tflite", "safetensors", "torchscript")
PRECISIONS = ("float32", "fp16", "int8")
# formats that support an option
REDUCED = ("onnx", "openvino")  # --precision below float32, and --softmax
PIXELS = ("onnx",)  # --with-preprocessing


@dataclass(frozen=True, kw_only=True)
class ExportConfig(DataOptions):
    """The trained network and the format of an export."""

    title = "export"

    run: str | None = option(None, help="folder or weights of a run")
    to: str | None = option(
        None, metavar="|".join(FORMAT_NAMES), choices=FORMAT_NAMES, help="format of the export"
    )
    out: str | None = option(
        None, metavar="PATH", help="file or folder of the export (default: beside the weights)"
    )
    images: str | None = option(None, metavar="DIR", help="images to compare the export on")
    precision: str = option(
        "float32",
        metavar="|".join(PRECISIONS),
        choices=PRECISIONS,
        help="precision of weights and activations; int8 uses training images (default float32)",
    )
    with_preprocessing: bool = option(
        False, help="the file takes uint8 images [1, height, width, 3] of any size"
    )
    softmax: bool = option(False, help="the file gives probabilities, not logits")
    max_loss: float = option(
        1.0,
        metavar="POINTS",
        limits=(0, 100),
        help="largest allowed loss of top-1 accuracy, in points (default 1)",
    )
    float_layers: str | None = option(
        None,
        metavar="NAME,...|auto",
        help="layers that int8 leaves in float: stem, blocks.3, blocks.3.1, se, head, classifier; "
        "auto: the fewest that satisfy --max-loss",
    )
    calibration: int = option(
        128, metavar="N", limits=(1, 100_000), help="training images to calibrate on (default 128)"
    )
    verification: int = option(
        2000,
        metavar="N",
        limits=(1, 10_000_000),
        help="held-out images to measure the accuracy on (default 2000)",
    )
    license: str = option(
        "other",
        metavar="ID",
        help="licence of the weights for the card of --to hub, e.g. apache-2.0",
    )
    measured: tuple[str, ...] = option(
        (),
        metavar="TEXT",
        help='a latency for the card of --to hub, e.g. "Pixel 7, int8: 4.1 ms" (repeatable)',
    )
    push: str | None = option(
        None, metavar="USER/NAME", help="upload the folder of --to hub to the Hugging Face Hub"
    )

    def check(self) -> None:
        if self.run is None:
            raise ValueError("RUN is missing; e.g. python -m train.export runs/train-1 --to timm")
        if self.to is None:
            raise ValueError(f"--to is missing; use one of {', '.join(FORMAT_NAMES)}")
        requests = {
            f"--precision {self.precision}": (self.precision != "float32", REDUCED),
            "--softmax": (self.softmax, REDUCED),
            "--with-preprocessing": (self.with_preprocessing, PIXELS),
            "--push": (self.push is not None, ("hub",)),
            "--measured": (bool(self.measured), ("hub",)),
        }
        for name, (requested, formats) in requests.items():
            if requested and self.to not in formats:
                raise ValueError(f"{name} is for --to {' and '.join(formats)}, not {self.to}")
        if self.float_layers is not None and self.precision != "int8":
            raise ValueError("--float-layers is for --precision int8")
        if self.push is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.push, re.ASCII):
            raise ValueError(f"--push: {quoted(self.push)} is not allowed; use USER/NAME")
        if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", self.license):
            raise ValueError(
                f"--license: {quoted(self.license)} is not allowed; use an id of the Hub, such as "
                "apache-2.0, mit or other"
            )

    def check_files(self) -> None:
        assert self.run is not None  # see `check`
        if not os.path.lexists(self.run):
            raise ValueError(f"{self.run} does not exist; give a run or its weights")


COMMAND = Command(
    program="train.export",
    config=ExportConfig,
    run="train.export.run:export_network",
    report="train.export.report:show_result",
    positional=("run",),
    description="Export a trained network to the format of another tool, and measure it there.",
    interrupted="interrupted; nothing was written",
)
