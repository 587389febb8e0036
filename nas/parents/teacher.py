"""The parent, fine-tuned on the user's images: once, whatever is searched for afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from vbs.text import counted, shell_word

WEIGHTS, PARENT = "best.safetensors", "parent"  # the teacher's, and the name of the parent's files
SAMPLED = 2  # random sub-networks in each step of an elastic training
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

    def elastic_run(self, epochs: int) -> Path:
        """The folder of its training together with its sub-networks."""
        return self.folder / f"elastic-{epochs}"

    def source(self, elastic: int) -> Path:
        """The file of the weights that sub-networks inherit.

        elastic  epochs that they were trained together; 0: none.
        """
        return self.elastic_run(elastic) / WEIGHTS if elastic else self.weights

    @property
    def is_ready(self) -> bool:
        """Whether it has been fine-tuned to the end."""
        return _is_finished(self.run)

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
) -> Teacher:
    """The teacher for these images; nothing is trained.

    digests  of the images.

    Its folder lies beside the cache of results, and is found again by the parent's weights, the
    images and the recipe.
    """
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

    def config() -> TrainConfig:
        parent, recipe = teacher.parent, teacher.recipe
        names = parent.classes or tuple(map(str, range(parent.architecture.classes)))
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
        return _config(teacher, data, device, init=teacher.folder / f"{PARENT}.safetensors")

    _train(
        teacher.run,
        config,
        data,
        device,
        what=f"teacher: {teacher.parent.source} is fine-tuned on the images first",
    )


def make_elastic(teacher: Teacher, data: DataOptions, *, epochs: int, device: str) -> None:
    """Train the teacher and its sub-networks together for so many epochs; see
    `train.inherit.elastic`. As `fine_tune` otherwise."""
    changes = (f"epochs={epochs}", f"elastic={SAMPLED}", "warmup_epochs=0")
    _train(
        teacher.elastic_run(epochs),
        lambda: _config(teacher, data, device, init=teacher.weights, changes=changes),
        data,
        device,
        what="elastic: the teacher and its sub-networks are trained for "
        f"{counted(epochs, 'epoch')}",
    )


def _config(
    teacher: Teacher,
    data: DataOptions,
    device: str,
    *,
    init: Path,
    changes: tuple[str, ...] = (),
) -> TrainConfig:
    """A training of the teacher's network, whose file is written."""
    path = teacher.folder / f"{PARENT}.json"
    text = teacher.network.to_json()
    write_whole(path, lambda unfinished: unfinished.write_text(text))
    return TrainConfig(
        network=str(path),
        init=str(init),
        data=data.data,
        data_root=data.data_root,
        recipe=teacher.recipe.name,
        changes=(*teacher.changes, *changes),
        device=device,
    )


def _train(
    run: Path, config: Callable[[], TrainConfig], data: DataOptions, device: str, *, what: str
) -> None:
    """A training in a folder, unless it has been finished there; see `fine_tune`.

    config  makes its config, when it begins.
    what    it is, in words for a line.
    """
    name = what.partition(":")[0]
    if _is_finished(run):
        print_err(f"{name}: trained before, in {shell_word(f'{run}/')}")
        return
    run.parent.mkdir(parents=True, exist_ok=True)
    waiting = False
    while True:
        try:
            with owned(run.parent, "nas.search"):
                if not _is_finished(run):
                    print_err(f"{what}, in {shell_word(f'{run}/')}")
                    _run(run, config, data, device, name)
                return
        except ValueError as error:
            if " is in use by " not in str(error):
                raise
            if not waiting:
                print_err(f"{name}: another process trains it in {shell_word(str(run))}")
            waiting = True
        time.sleep(LOOK)


def _run(
    run: Path, config: Callable[[], TrainConfig], data: DataOptions, device: str, name: str
) -> None:
    if (run / RECORD).is_file():
        result = run_training(out=run, resume=True, changes={"data": data.data, "device": device})
    else:
        result = run_training(config(), out=run)
    assert isinstance(result, TrainResult)  # a number only under torchrun
    if result.status == "interrupted":
        raise KeyboardInterrupt
    if result.status != "finished":
        raise InfrastructureError(f"{name}: its training failed ({result.reason})")


def _is_finished(run: Path) -> bool:
    return _record(run).get("status") == "finished" and (run / WEIGHTS).is_file()


def _record(run: Path) -> Mapping[str, Mapping]:
    """run.json of a training; empty where there is none."""
    try:
        content = parse_json((run / RECORD).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
