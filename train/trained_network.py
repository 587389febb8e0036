"""Trained networks that are ready to classify images: `load_network`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from search_spaces.network import Network
from train.parents import parent_of, path_source
from train.preprocessing import Preprocessing
from vbs.text import printable, shortened


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network, its preprocessing and its classes.

    module         on the CPU in evaluation mode; it maps float32 images [n, channels, side, side],
                   as `train.preprocessing.preprocess` returns them, to logits [n, classes].
    preprocessing  preprocessing of its images.
    classes        names in the order of the logits; "0", "1", ... if the classes have no names.
    """

    module: Network
    preprocessing: Preprocessing
    classes: tuple[str, ...]


def load_network(source: str | Path) -> TrainedNetwork:
    """Load a trained network with its preprocessing and its class names.

    source  folder of a run (its best.safetensors), a weights file, or an export of `train.export`
            --to timm (the folder of timm.json) or --to safetensors.

        trained = load_network("runs/train-1")
        images = torch.from_numpy(preprocess(Image.open("cat.jpg"), trained.preprocessing))[None]
        print(trained.classes[trained.module(images).argmax()])

    Only safetensors and JSON are read; nothing is unpickled or executed. Raises ValueError, in one
    line, if the source does not exist, is truncated, or does not describe its preprocessing.
    """
    if not Path(source).exists():
        raise ValueError(
            f"network: {shortened(source)} does not exist; give a run, its weights, or an export"
        )
    try:
        found = path_source(Path(source))
        parent = parent_of(str(source), found)
        if found.preprocessing is None:
            raise ValueError(
                f"{source}: how its images are prepared is unknown (there is no JSON with "
                '"preprocessing" beside the tensors); give a run, or an export with its .json'
            )
        channels = parent.architecture.in_channels
        preprocessing = Preprocessing.from_dict(found.preprocessing, channels=channels)
        if preprocessing.channels != channels:
            raise ValueError(
                f"preprocessing: channels: {preprocessing.channels} is not allowed; the network "
                f"takes {channels}"
            )
    except ValueError as error:
        raise ValueError(f"network: {printable(error)}") from None
    classes = parent.classes or tuple(map(str, range(parent.architecture.classes)))
    return TrainedNetwork(parent.network(), preprocessing, classes)
