"""Options of `python -m train.predict`."""

from __future__ import annotations

import os
from dataclasses import dataclass

from train.data.source import image_source
from train.options import DeviceOptions
from vbs.config import option
from vbs.options import Command
from vbs.text import shortened

TABLES = (".csv", ".jsonl", ".parquet")  # allowed suffixes of --out


@dataclass(frozen=True, kw_only=True)
class PredictConfig(DeviceOptions):
    """The trained network and the images of a classification."""

    title = "prediction"

    network: str | None = option(
        None,
        metavar="RUN_OR_EXPORT",
        help="folder or weights of a run, a timm folder, a safetensors or an ONNX file of "
        "train.export",
    )
    images: tuple[str, ...] = option(
        (),
        metavar="IMAGES",
        help="image files, folders, FILE.zip, FILE.parquet, parquet:DIR",
    )
    top_k: int = option(
        3,
        metavar="K",
        limits=(1, 1_000_000),
        help="most probable classes of each image to report (default 3)",
    )
    out: str | None = option(
        None, metavar="FILE", help="also write all predictions: .csv, .jsonl or .parquet"
    )
    contact_sheet: str | None = option(
        None, metavar="FILE", help="also draw the first 40 images with their classes: .png"
    )
    batch: int = option(32, metavar="N", help="images per forward pass (default 32)")

    def check(self) -> None:
        if self.network is None or not self.images:
            missing = "RUN_OR_EXPORT is" if self.network is None else "IMAGES are"
            raise ValueError(
                f"{missing} missing; e.g. python -m train.predict runs/train-1 photos/ cat.jpg"
            )
        if self.out is not None and not self.out.lower().endswith(TABLES):
            raise ValueError(f"--out: {self.out} must end in {', '.join(TABLES)}")
        if self.contact_sheet is not None and not self.contact_sheet.lower().endswith(".png"):
            raise ValueError(f"--contact-sheet: {self.contact_sheet} must end in .png")

    def check_files(self) -> None:
        assert self.network is not None  # see `check`
        if not os.path.lexists(self.network):
            raise ValueError(
                f"network: {shortened(self.network)} does not exist; give a run, its weights, or "
                "an export"
            )
        for text in self.images:
            place = image_source(text).place
            if not os.path.lexists(place):
                raise ValueError(f"images: {shortened(place)} does not exist")


COMMAND = Command(
    program="train.predict",
    config=PredictConfig,
    run="train.predict.run:predict_images",
    report="train.predict.report:show_result",
    positional=("network", "images"),
    description="Classify images with a trained network.",
    epilog="""\
For every kind of RUN_OR_EXPORT, images are prepared as in the evaluation of the training. ONNX
files run in onnxruntime, all others in torch. Images that cannot be read are reported and skipped;
the exit code is then 1.""",
    interrupted="interrupted; nothing was written",
)
