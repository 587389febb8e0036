"""Named data sets, read by torchvision's classes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.data.listing import Found, Listing
from train.data.stores import FileStore
from vbs.paths import cache_folder

# name -> torchvision's class, and the content of its folder under the root with its origin
SETS = {
    "cifar10": ("CIFAR10", "cifar-10-python.tar.gz of www.cs.toronto.edu/~kriz/cifar.html"),
    "cifar100": ("CIFAR100", "cifar-100-python.tar.gz of www.cs.toronto.edu/~kriz/cifar.html"),
    "fashion-mnist": (
        "FashionMNIST",
        "FashionMNIST/raw with the four ubyte.gz files of github.com/zalandoresearch/fashion-mnist",
    ),
    "imagenet": (
        "ImageNet",
        "imagenet/ with ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and "
        "ILSVRC2012_img_val.tar of image-net.org, or use imagefolder:DIR where DIR holds train/ "
        "and val/ with a folder for each class",
    ),
}


def data_root(root: str | Path | None) -> Path:
    """Return the folder of named sets."""
    return Path(root or os.environ.get("VBS_DATA") or cache_folder() / "data")


def find(name: str, *, root: str | Path | None, download: bool) -> Found:
    """Return a named set, downloaded if allowed; raise ValueError with the files to provide."""
    kind, content = SETS[name]
    folder = data_root(root)
    if name == "imagenet":
        splits = [
            _made(kind, folder, content, root=folder / "imagenet", split=split)
            for split in ("train", "val")
        ]
        classes = tuple(names[0] for names in splits[0].classes)
        train, test = (_files(split) for split in splits)
        return Found(classes, train, None, test, "train as given; test: val as given")
    try:
        splits = [_made(kind, folder, content, root=folder, train=train) for train in (True, False)]
    except ValueError:
        if not download:
            raise
        _made(kind, folder, content, root=folder, train=True, download=True)
        splits = [_made(kind, folder, content, root=folder, train=train) for train in (True, False)]
    train, test = (_pixels(split) for split in splits)
    return Found(tuple(splits[0].classes), train, None, test, "train and test as given")


def _made(kind: str, folder: Path, content: str, **options: Any) -> Any:
    import torchvision.datasets

    try:
        if options.get("download"):
            folder.mkdir(parents=True, exist_ok=True)
        return getattr(torchvision.datasets, kind)(**options)
    except Exception as error:  # errors of the network, of archives or of the disk
        reason = " ".join(str(error).split())[:120]
        raise ValueError(
            f"data: {kind} is not in {folder}; put there {content} ({reason})"
        ) from None


def _files(dataset: Any) -> Listing:
    paths, labels = zip(*dataset.samples, strict=True)
    return Listing(FileStore(paths), np.array(labels, np.int64), np.arange(len(paths)))


def _pixels(dataset: Any) -> Listing:
    images = torch.as_tensor(dataset.data)
    labels = np.array(dataset.targets, np.int64)
    return Listing(images, labels, np.arange(len(labels)))
