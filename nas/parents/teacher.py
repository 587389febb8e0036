"""The parent, fine-tuned on the user's images: once, whatever is searched for afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nas.storage.cache import default_folder, key_of
from search_spaces.architecture import Architecture
from train.checkpoint import Weights, write_weights
from train.options import DataOptions
from train.parents import Parent
from train.recipe import NORM_STATISTICS, Recipe
from train.run import TrainConfig, TrainResult, run_training
from train.run.config import RECORD
from vbs.console import print_err
from vbs.failures import InfrastructureError
from vbs.folder import write_whole
from vbs.json_text import parse_json
from vbs.lock import owned
from vbs.text import shell_word

WEIGHTS, PARENT = "best.safetensors", "parent"  # the teacher's, and the name of the parent's files
LOOK = 2.0  # seconds between two looks at a teacher that another process trains


@dataclass(frozen=True)
class Teacher:
    """A parent to be fine-tuned, or fine-tuned already, in its folder.

    parent   the pretrained network.
    network  its architecture with the classes and the side of the images.
    recipe   of the training.
    changes  of the recipe by name, as the user gave them.
    """

    folder: Path
    parent: Parent
    network: Architecture
    recipe: Recipe
    changes: tuple[str, ...]

    @property
    def run(self) -> Path:
        """The folder of the training."""
        return self.folder / "run"

    @property
    def weights(self) -> Path:
        """The file of the fine-tuned weights."""
        return self.run / WEIGHTS

    @property
    def is_ready(self) -> bool:
        """Whether it has been fine-tuned to the end."""
        record = _record(self.run)
        return record.get("status") == "finished" and self.weights.is_file()

    @property
    def test_top1(self) -> float | None:
        """Its accuracy on the test images in percent; None without such images."""
        test = _record(self.run).get("outcome", {}).get("test")
        return None if test is None else float(test["top1"])

    @property
    def minival_top1(self) -> float:
        """Its accuracy on the images that are held out, in percent."""
        return float(_record(self.run)["outcome"]["chosen"]["top1"])


def teacher_of(
    parent: Parent,
    network: Architecture,
    recipe: Recipe,
    *,
    changes: tuple[str, ...],
    digests: Mapping[str, str],
    folder: Path | None,
) -> Teacher:
    """The teacher for these images; nothing is trained.

    digests  of the images.
    folder   where it is kept; None: beside the cache of results, found again by the parent's
             weights, the images and the recipe.
    """
    if folder is None:
        content = {
            "parent": parent.digest,
            "network": json.loads(network.to_json()),
            "recipe": recipe.to_dict(),
            "data": dict(digests),
            "norm_statistics": NORM_STATISTICS,
        }
        folder = default_folder().parent / "teachers" / key_of(content)[:32]
    return Teacher(folder, parent, network, recipe, changes)


def fine_tune(teacher: Teacher, data: DataOptions, *, device: str) -> None:
    """Train the teacher, or resume its training, unless it is ready.

    Where another process trains it, that is waited for. Raises KeyboardInterrupt after an
    interruption, and InfrastructureError where the training failed.
    """
    if teacher.is_ready:
        print_err(f"teacher: fine-tuned before, in {shell_word(f'{teacher.run}/')}")
        return
    teacher.folder.mkdir(parents=True, exist_ok=True)
    waiting = False
    while True:
        try:
            with owned(teacher.folder, "nas.search"):
                if not teacher.is_ready:
                    _train(teacher, data, device)
                return
        except ValueError as error:
            if " is in use by " not in str(error):
                raise
            if not waiting:
                print_err(f"teacher: another process trains it in {shell_word(str(teacher.run))}")
            waiting = True
        time.sleep(LOOK)


def _train(teacher: Teacher, data: DataOptions, device: str) -> None:
    parent = teacher.parent
    print_err(
        f"teacher: {parent.source} is fine-tuned on the images first, in "
        f"{shell_word(f'{teacher.run}/')}"
    )
    if (teacher.run / RECORD).is_file():
        result = run_training(
            out=teacher.run, resume=True, changes={"data": data.data, "device": device}
        )
    else:
        names = parent.classes or tuple(map(str, range(parent.architecture.classes)))
        recipe = teacher.recipe
        weights = Weights(
            parent.tensors,
            parent.architecture,
            names,
            parent.mean or recipe.mean,
            parent.std or recipe.std,
            parent.architecture.resolution,
            1.0,
            {"source": parent.source},
        )
        write_weights(teacher.folder / f"{PARENT}.safetensors", weights)
        text = replace(teacher.network, classes=parent.architecture.classes).to_json()
        write_whole(teacher.folder / f"{PARENT}.json", lambda path: path.write_text(text))
        config = TrainConfig(
            network=str(teacher.folder / f"{PARENT}.json"),
            init=str(teacher.folder / f"{PARENT}.safetensors"),
            data=data.data,
            data_root=data.data_root,
            recipe=recipe.name,
            changes=teacher.changes,
            device=device,
        )
        result = run_training(config, out=teacher.run)
    assert isinstance(result, TrainResult)  # a number only under torchrun
    if result.status == "interrupted":
        raise KeyboardInterrupt
    if result.status != "finished":
        raise InfrastructureError(f"teacher: its training failed ({result.reason})")


def _record(run: Path) -> Mapping[str, Mapping]:
    """run.json of a training; empty where there is none."""
    try:
        content = parse_json((run / RECORD).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
