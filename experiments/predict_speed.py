"""Is `vbs predict` as fast as a handwritten loop over onnxruntime?

What: one network with random weights, exported to ONNX, classifies the photographs of an archive.
By hand: a loop that reads, prepares (`train.preprocessing.preprocess`) and classifies batch after
batch, as a user of the ONNX file would write it. Ours: `train.predict.predict_images` on the same
file, with its progress display and its loader processes. Both are timed from the first image to the
last prediction, alternating in one process; reported is the ratio of the medians. Expected: at
least .95 of the images/s of the handwritten loop.
Time: about 2 minutes. Command:

    python -m experiments.predict_speed --data ../shared/data/sign_digits.zip
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below, which take a while
    from experiments.lib.common import run_experiment

    run_experiment("experiments.predict_speed")

import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib.arguments import experiment_arguments
from experiments.lib.common import RESULTS, settings_of_machine
from vbs.console import print_out
from vbs.folder import write_json


def exported(folder: Path, name: str, side: int, classes: int) -> Path:
    """Export a published network with random weights; return its ONNX file."""
    import torch

    from search_spaces.catalog import zoo
    from search_spaces.network import build
    from train import ExportConfig, export_network
    from train.checkpoint import Weights, write_weights

    architecture = replace(zoo(name), resolution=side, classes=classes)
    torch.manual_seed(0)
    names = tuple(map(str, range(classes)))
    halves = (0.5, 0.5, 0.5)
    tensors = build(architecture).state_dict()
    weights = Weights(tensors, architecture, names, halves, halves, side, 0.875, {})
    write_weights(folder / "best.safetensors", weights)
    return export_network(ExportConfig(run=str(folder), to="onnx")).path


def by_hand(path: Path, data: str, batch: int) -> tuple[list[int], float]:
    """Return the classes of all images and the images/s of a plain loop."""
    import onnxruntime

    from train.data.image_sources import open_images
    from train.preprocessing import Preprocessing, preprocess

    session = onnxruntime.InferenceSession(str(path))
    metadata = session.get_modelmeta().custom_metadata_map
    how = Preprocessing.from_dict(json.loads(metadata["preprocessing"]))
    images = open_images([data]).store
    found: list[int] = []
    began = time.perf_counter()
    for start in range(0, len(images), batch):
        rows = range(start, min(start + batch, len(images)))
        prepared = np.stack([preprocess(images.read(row), how) for row in rows])
        (logits,) = session.run(["logits"], {"images": prepared})
        found += logits.argmax(1).tolist()
    return found, len(found) / (time.perf_counter() - began)


def ours(path: Path, data: str, batch: int, loaders: int | None) -> tuple[list[int], float]:
    """Return the classes of all images and the images/s of `predict_images`."""
    from train import PredictConfig, predict_images

    result = predict_images(
        PredictConfig(
            network=str(path), images=(data,), top_k=1, batch=batch, loaders=loaders, device="cpu"
        )
    )
    return result.labels[:, 0].tolist(), len(result) / result.seconds


def compare(args: Any, path: Path) -> dict[str, Any]:
    """Return the images/s of both in each turn, and the ratio of their medians."""
    speeds: dict[str, list[float]] = {"by hand": [], "predict": []}
    for turn in range(args.turns + 1):
        expected, hand = by_hand(path, args.data, args.batch)
        found, own = ours(path, args.data, args.batch, args.loaders)
        if found != expected:
            raise ValueError("predict and the handwritten loop give different classes")
        if turn:  # the first turn is a warm-up
            speeds["by hand"].append(round(hand, 1))
            speeds["predict"].append(round(own, 1))
    hand, own = (statistics.median(values) for values in speeds.values())
    return {"images": len(found), "images_per_second": speeds, "ratio": round(own / hand, 3)}


def main() -> None:
    """Measure and print both."""
    parser = experiment_arguments(__doc__)
    parser.add_argument("--data", required=True, help="images, as for train.predict")
    parser.add_argument("--network", default="tf_efficientnet_lite0")
    parser.add_argument(
        "--side", type=int, default=96, help="side of the network's images, in pixels"
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--loaders", type=int, default=None)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "predict_speed.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = exported(Path(folder), args.network, args.side, 10)
        found = compare(args, path)
    names = ("network", "side", "batch", "loaders", "turns")
    settings = {name: getattr(args, name) for name in names}
    write_json(args.out, {"settings": settings, **settings_of_machine(), **found})
    for name, values in found["images_per_second"].items():
        print_out(f"{statistics.median(values):>8,.0f} images/s  {name}")
    print_out(f"ratio {found['ratio']:.3f}")
