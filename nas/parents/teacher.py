"""Teacher: the parent, fine-tuned on the user's images once for all later searches."""

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
from vbs.failures import Failure
from vbs.folder import write_whole
from vbs.json_text import parse_json
from vbs.lock import owned
from vbs.text import counted, shell_word

WEIGHTS, PARENT = "best.safetensors", "parent"  # weights of the teacher; stem of parent files
SAMPLED = 2  # random sub-networks in each step of an elastic training
LOOK = 2.0  # seconds between two checks of a teacher that another process trains


@dataclass(frozen=True)
class Teacher:
    """A parent that is or will be fine-tuned, in its folder.

    parent   pretrained network.
    network  architecture of the parent with the classes and the side of the images.
    recipe   recipe of the training.
    changes  the user's changes of the recipe, as "name=value".
    """

    folder: Path
    parent: Parent
    network: Architecture
    recipe: Recipe
    changes: tuple[str, ...]

    @property
    def run(self) -> Path:
        """Folder of the training."""
        return self.folder / "run"

    @property
    def weights(self) -> Path:
        """File of the fine-tuned weights."""
        return self.run / WEIGHTS

    def elastic_run(self, epochs: int) -> Path:
        """Return the folder of the joint training of the teacher and its sub-networks."""
        return self.folder / f"elastic-{epochs}"

    def source(self, elastic: int) -> Path:
        """Return the file of the weights that sub-networks inherit.

        elastic  epochs of training teacher and sub-networks together; 0: none.
        """
        return self.elastic_run(elastic) / WEIGHTS if elastic else self.weights

    @property
    def is_ready(self) -> bool:
        """Whether its fine-tuning is finished."""
        return _is_finished(self.run)

    @property
    def test_top1(self) -> float | None:
        """Accuracy on the test images in percent; None without test images."""
        test = _record(self.run).get("outcome", {}).get("test")
        return None if test is None else float(test["top1"])

    @property
    def minival_top1(self) -> float:
        """Accuracy on the held-out images in percent."""
        return float(_record(self.run)["outcome"]["chosen"]["top1"])


def teacher_of(
    parent: Parent,
    network: Architecture,
    recipe: Recipe,
    *,
    changes: tuple[str, ...],
    digests: Mapping[str, str],
) -> Teacher:
    """Return the teacher for these images without training it.

    Its folder is next to the cache of results; parent, network, images and recipe determine its
    name.

    digests  split -> digest of its images.
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

    If another process trains it, wait for that process. Raises KeyboardInterrupt after an
    interruption, and Failure if the training fails.
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
    """Train the teacher together with its sub-networks; see `train.inherit.elastic`.

    Waits and raises as `fine_tune` does.
    """
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
    """Write the file of the teacher's network, and return the options of its training."""
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
    """Train in a folder, unless the training there is finished; see `fine_tune`.

    config  function that returns the options, called when the training starts.
    what    printed description, after the name and a colon.
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
    assert isinstance(result, TrainResult)  # it is an exit code only under torchrun
    if result.status == "interrupted":
        raise KeyboardInterrupt
    if result.status != "finished":
        raise Failure(
            f"{name}: the training failed ({result.reason}); start the search again with other "
            "values of --set"
        )


def _is_finished(run: Path) -> bool:
    return _record(run).get("status") == "finished" and (run / WEIGHTS).is_file()


def _record(run: Path) -> Mapping[str, Mapping]:
    """Return run.json of a training; {} if it does not exist or is damaged."""
    try:
        content = parse_json((run / RECORD).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
