"""The parent network of the experiments on inherited weights: EfficientNet-Lite0, fine-tuned."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.lib.arguments import Options, Parser
from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from search_spaces.network import Network, build
from search_spaces.parent import parent_space
from train.checkpoint import read_weights
from train.data import Data, load
from train.execution import Execution
from train.initial import initialise
from train.loop import train
from train.recipe import Recipe, change

NETWORK, SOURCE = "tf_efficientnet_lite0", "package:efficientnet_lite0"
SHARES = (0.08, 0.6)  # of the parent's FLOPs
NORMALISATION = ("mean=0.498,0.498,0.498", "std=0.502,0.502,0.502")  # as for the weights
CIFAR10_IMAGES = 200  # of each class, for training and for testing


@dataclass(frozen=True)
class Case:
    """A data set: the input side of the parent in pixels, and the changes of the recipe."""

    resolution: int
    changes: tuple[str, ...]


SIGNS = "signs"
CASES = {
    SIGNS: Case(96, ("batch=32", "warmup_epochs=0.5", "flip=false")),  # a flip changes the sign
    "cifar10": Case(64, ("batch=32", "warmup_epochs=0.5")),
}


def add_case(parser: Parser) -> None:
    """Add the options that choose the images."""
    parser.add_argument("--data", required=True, help="sign_digits.zip, or a folder of CIFAR-10")
    parser.add_argument("--case", choices=CASES, default=SIGNS, help="data set (default signs)")


def chosen_case(args: Options) -> Case:
    """Return the chosen case; for CIFAR-10, write the images and change the names of the files."""
    if args.case != SIGNS:
        args.out = args.out.with_stem(f"{args.out.stem}_{args.case}")
        args.work = args.work.with_name(f"{args.work.name}_{args.case}")
        args.data = some_of_cifar10(
            Path(args.data.removeprefix("parquet:")), args.work / "images", CIFAR10_IMAGES
        )
    return CASES[args.case]


def parent_architecture(classes: int, case: Case = CASES[SIGNS]) -> Architecture:
    """Return Lite0 with the resolution of a case."""
    return replace(zoo(NETWORK), classes=classes, resolution=case.resolution)


def fine_tuned_parent(
    folder: Path,
    source: str = "",
    recipe: Recipe | None = None,
    *,
    case: Case = CASES[SIGNS],
    device: str = "cpu",
) -> tuple[Network, Mapping[str, Tensor]]:
    """Return the fine-tuned parent of a folder, in evaluation mode, and its tensors.

    source, recipe, case  for training it if the folder has no weights.
    """
    done = folder / "done"
    if not done.exists():
        assert recipe is not None
        data = load(source, minival=0.1)
        torch.manual_seed(recipe.seed)
        initial = build(parent_architecture(len(data.classes), case))
        initialise(initial, SOURCE)
        _train(folder, data, recipe, initial, device)
    weights = read_weights(folder / "best.safetensors")
    network = build(weights.architecture)
    network.load_state_dict(weights.tensors)
    return network.eval(), weights.tensors


def elastic_parent(
    folder: Path, parent: Path, source: str, recipe: Recipe, device: str = "cpu"
) -> None:
    """Train the fine-tuned parent of a folder together with its sub-networks, unless done."""
    if not (folder / "done").exists():
        data = load(source, minival=0.1)
        network, _ = fine_tuned_parent(parent)
        changed = change(recipe, ["elastic=2", "warmup_epochs=0"])
        _train(folder, data, changed, network, device)


def some_of_cifar10(source: Path, folder: Path, count: int) -> str:
    """Write `count` training and `count` test images of each class into an image folder.

    Returns the folder as text for --data. An existing folder is kept.

    Raises ValueError unless `source` contains train.parquet and test.parquet.
    """
    import pyarrow.parquet

    if not (folder / "done").exists():
        for split in ("train", "test"):
            if not (source / f"{split}.parquet").is_file():
                raise ValueError(
                    f"--data: {source} has no {split}.parquet; use the folder of CIFAR-10 as "
                    "parquet files (experiments/README.md)"
                )
        for split, name in (("train", "train"), ("test", "val")):
            rows = pyarrow.parquet.read_table(source / f"{split}.parquet").to_pylist()
            for label in range(10):
                place = folder / name / str(label)
                place.mkdir(parents=True, exist_ok=True)
                chosen = (row["img"]["bytes"] for row in rows if row["label"] == label)
                for number, content in enumerate(itertools.islice(chosen, count)):
                    (place / f"{number}.png").write_bytes(content)
        (folder / "done").touch()
    return f"imagefolder:{folder}"


def _train(folder: Path, data: Data, recipe: Recipe, initial: Network, device: str) -> None:
    execution = Execution(checkpoint=folder, device=device)
    result = train(initial.architecture, data, recipe, execution=execution, initial=initial)
    assert result.test is not None, result.failed
    (folder / "done").write_text(f"{result.test.top1:.3f}\n")


def spread_children(parent: Architecture, count: int) -> list[Architecture]:
    """Draw random sub-networks, one in each of `count` equal parts of the log of FLOPs."""
    space, rng = parent_space(parent), np.random.default_rng(0)
    draws = space.sample(20_000, rng)
    shares = space.costs(draws).flops / cost(parent).flops
    edges = np.geomspace(*SHARES, count + 1)
    return [
        space.decode(draws[rng.choice(np.flatnonzero((shares >= low) & (shares < high)))])
        for low, high in itertools.pairwise(edges)
    ]
