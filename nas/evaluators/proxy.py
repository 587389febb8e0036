"""Proxy: evaluator that trains networks on the user's data for a few cheap epochs.

Each network is trained by a recipe at a reduced fidelity (fewer epochs, a share of the images, a
smaller input side) and scored on images that are held out of the training set (the minival). The
learning rate decreases to its final value within these few epochs, as in a long training. The
moving average of the weights is scored. While the learning rate is high, the accuracy of the
weights themselves predicts the final accuracy poorly, and a search would stop the wrong networks.
"""

from __future__ import annotations

import functools
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.evaluators.base import Answer, Evaluator, Point
from nas.storage.cache import Cache, key_of
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace
from train.execution import DEFAULT, Execution
from train.recipe import NORM_STATISTICS, Recipe
from vbs.console import print_err
from vbs.load import LoadWatch
from vbs.text import quoted

if TYPE_CHECKING:
    from search_spaces.network import Network
    from train.data import Data

# cost of scoring an image twice (with the weights and their average) relative to training on it
EVALUATION = 2 / 3
AVERAGE = 0.98  # decay of the moving average of the weights, if the recipe has none


@dataclass(frozen=True)
class Fidelity:
    """Reduced training, written as "epochs=9,share=0.2,resolution=24".

    epochs      epochs over the used images.
    share       share of the training images, above 0, up to 1; it must leave at least one batch.
    resolution  input side in pixels; 0: that of the architecture.
    """

    epochs: int
    share: float = 1.0
    resolution: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.epochs, bool) or not isinstance(self.epochs, int) or self.epochs < 1:
            raise ValueError(
                f"fidelity: {quoted(self.epochs)} epochs are not allowed; use 1 or more"
            )
        if not 0 < self.share <= 1:
            raise ValueError(
                f"fidelity: a share of {quoted(self.share)} is not allowed; use a number above 0, "
                "up to 1"
            )
        if self.resolution and not 8 <= self.resolution <= 4096:
            raise ValueError(
                f"fidelity: a resolution of {self.resolution!r} is not allowed; use 8 to 4096, or 0"
            )

    def __str__(self) -> str:
        short = f"{self.share:g}"
        share = short if float(short) == self.share else repr(self.share)
        text = f"epochs={self.epochs},share={share}"
        return f"{text},resolution={self.resolution}" if self.resolution else text

    @classmethod
    def parse(cls, text: str, *, epochs: int) -> Fidelity:
        """Parse a text such as "epochs=9,share=0.2"; `epochs` is the default number of epochs."""
        found: dict[str, Any] = {"epochs": epochs}
        kinds = {"epochs": int, "share": float, "resolution": int}
        for part in filter(None, text.split(",")):
            name, _, value = part.strip().partition("=")
            try:
                found[name] = kinds[name](value)
            except (KeyError, ValueError):
                raise ValueError(
                    f"fidelity: {part!r} is not understood; write epochs=9,share=0.2,resolution=24"
                ) from None
        return cls(**found)


@dataclass(frozen=True)
class DataIdentity:
    """Identity of a data set: its images, and the arguments of `train.data.load`.

    digests  split -> digest of its listing.
    """

    digests: Mapping[str, str]
    minival: float
    channels: int = 3
    seed: int = 0

    @classmethod
    def of(cls, data: Data) -> DataIdentity:
        """Return the identity of data; raises ValueError if `data.settings` does not contain it."""
        names = {field.name for field in fields(cls)}
        known = {name: value for name, value in data.settings.items() if name in names}
        if missing := names - {*known}:
            raise ValueError(
                f"data: {data.name} has no {min(missing)!r} in its settings, so results cannot be "
                "cached; load it with train.data.load, or use no cache"
            )
        return cls(**known)


class Proxy(Evaluator):
    """Evaluator that trains every network on `data.train` and scores it on `data.minival`.

    recipe     recipe of the training; `fidelity` replaces its epochs and resolution.
    execution  device and other settings; its checkpoint is ignored.
    cache      results by network, data, recipe, fidelity, seed, clock and kind of device; None: no
               cache.
    clock      function that returns seconds; use `time.process_time` on a machine with other load.
    quantised  whether the accuracy of a full training is that of the network in int8 in
               onnxruntime; earlier points are in float.
    """

    name = "proxy"
    trains = True
    unit = "minival accuracy in percent after a short training"
    axis = "minival accuracy (%)"

    def __init__(
        self,
        data: Data,
        recipe: Recipe,
        fidelity: Fidelity,
        execution: Execution = DEFAULT,
        *,
        cache: Cache | None = None,
        clock: Callable[[], float] = time.perf_counter,
        quantised: bool = False,
    ) -> None:
        if data.minival is None:
            raise ValueError(
                "data: there are no held-out images; use a recipe with minival above 0"
            )
        if len(data.classes) < 2:
            raise ValueError(f"data: {data.name} has one class; there is nothing to learn")
        self.data, self.fidelity, self._cache = data, fidelity, cache
        self._execution, self._clock, self.quantised = execution, clock, quantised
        self.recipe = fitted(recipe, fidelity, images=len(data.train))
        self.steps = fidelity.epochs
        self.scored_on = len(data.minival)

    def check(self, space: SearchSpace) -> None:
        """Raise ValueError unless the space decodes to networks for these classes."""
        network = space.decode(space.sample(1, np.random.default_rng(0))[0])
        if not isinstance(network, Architecture):
            raise ValueError(
                f"proxy: space {space.name!r} decodes to {type(network).__name__}, "
                "which cannot be trained here; use your own evaluator"
            )
        if network.classes != len(self.data.classes):
            raise ValueError(
                f"classes: the space has {network.classes}, but {self.data.name} has "
                f"{len(self.data.classes)}"
            )

    def get_ready(self, space: SearchSpace) -> None:
        """Read an image of each split, so that a worker without access to them fails at once."""
        self.check(space)
        assert self.data.minival is not None  # see __init__
        for split in (self.data.train, self.data.minival):
            split.picture(0)

    def curve(
        self,
        space: SearchSpace,
        genotype: np.ndarray,
        *,
        seed: int = 0,
        folder: Path | None = None,
    ) -> Iterator[Point]:
        """Yield the minival accuracy after every epoch; resumes the checkpoint in `folder`."""
        architecture = space.decode(genotype)
        key = "" if self._cache is None else key_of(self.identity(architecture, seed))
        known = None if self._cache is None else self._cache.get(key)
        if known is not None:
            yield from known.curve
            return
        points: list[Point] = []
        for point in self._trained(architecture, seed, folder):
            points.append(point)
            if self._cache is not None and point.step == self.steps:
                self._cache.put(key, Answer.of_curve(points, images=self.scored_on))
            yield point

    def _trained(
        self, architecture: Architecture, seed: int, folder: Path | None
    ) -> Iterator[Point]:
        """Yield the points of a training, which restarts if its checkpoint is damaged."""
        from train.checkpoint import BrokenCheckpoint

        try:
            yield from self._resumed(architecture, seed, folder)
        except BrokenCheckpoint:  # before the first point
            assert folder is not None
            shutil.rmtree(folder, ignore_errors=True)
            yield from self._resumed(architecture, seed, folder)

    def _resumed(
        self, architecture: Architecture, seed: int, folder: Path | None
    ) -> Iterator[Point]:
        from train.loop import Report, train_by_epochs

        class Watch(Report):
            begun = False

            def start(self, steps: int, history: Sequence[dict[str, Any]]) -> None:
                self.begun = True

        recipe = replace(self.recipe, seed=self.recipe.seed + seed)
        data = replace(self.data, train=self._share(), test=None)
        clock = self._clock
        watch, spent, began = Watch(), 0.0, clock()
        row: dict[str, Any] = {}
        epochs = train_by_epochs(
            architecture,
            data,
            recipe,
            execution=replace(self._execution, checkpoint=folder),
            report=watch,
        )
        while True:
            try:
                row = next(epochs)
            except StopIteration as end:
                if end.value.failed:
                    raise RuntimeError(end.value.failed) from None
                if self.quantised:
                    accuracy = self._int8_accuracy(end.value.network, architecture)
                    yield Point(self.steps, accuracy, spent + clock() - began)
                return
            if not watch.begun:  # resumed: the row contains the seconds before the interruption
                spent, began = row["seconds"], clock()
            if not self.quantised or row["epoch"] < self.steps:
                yield Point(row["epoch"], row["ema_top1"], spent + clock() - began)

    def _int8_accuracy(self, network: Network | None, architecture: Architecture) -> float:
        """Return the top-1 in percent on the minival of a trained network in int8."""
        from nas.evaluators.quantised import Quantiser
        from train.state import preparation, resolved

        assert network is not None
        assert self.data.minival is not None
        recipe = resolved(self.recipe, architecture)
        (top1,) = Quantiser(self.data.train, preparation(recipe)).top1(network, self.data.minival)
        return top1

    def _share(self) -> Any:
        """Return the training images, the same for all networks and seeds."""
        count = used_images(self.fidelity, len(self.data.train))
        if count == len(self.data.train):
            return self.data.train
        order = np.random.default_rng(0).permutation(len(self.data.train))
        return self.data.train.select(np.sort(order[:count]))

    def identity(self, architecture: Architecture, seed: int) -> dict[str, Any]:
        """Return the result of `identity`; raises ValueError if the data have no identity."""
        return identity(
            architecture,
            self.recipe,
            self.fidelity,
            DataIdentity.of(self.data),
            seed=seed,
            clock=clock_name(self._clock, self._execution.device),
        ) | ({"quantised": "int8"} if self.quantised else {})


def identity(
    architecture: Architecture,
    recipe: Recipe,
    fidelity: Fidelity,
    data: DataIdentity,
    *,
    seed: int,
    clock: str,
) -> dict[str, Any]:
    """Return everything that a result depends on, as plain data.

    recipe  recipe fitted to the fidelity.
    clock   see `clock_name`; seconds of different clocks or devices are not comparable.
    """
    return {
        "network": json.loads(architecture.to_json()),
        "recipe": recipe.to_dict(),
        "data": asdict(data),
        "fidelity": asdict(fidelity),
        "seed": seed,
        "clock": clock,
        "norm_statistics": NORM_STATISTICS,
    }


def clock_name(clock: Callable[[], float], device: str) -> str:
    """Return the kind of clock, "processor" or "wall", and the kind of device."""
    from train.distributed import pick_device

    kind = "processor" if clock is time.process_time else "wall"
    return f"{kind} {pick_device(device).type}"


def used_images(fidelity: Fidelity, images: int) -> int:
    """Return how many of `images` training images a fidelity uses."""
    return max(1, round(fidelity.share * images))


def fitted(recipe: Recipe, fidelity: Fidelity, *, images: int) -> Recipe:
    """Return the recipe for a fidelity: epochs, warm-up and EMA fit it; progressive stages are off.

    The moving average of the weights covers about a tenth of the steps, at most about 50 steps.
    Raises ValueError if the share leaves less than a batch.
    """
    count = used_images(fidelity, images)
    if count < recipe.batch:
        raise ValueError(
            f"fidelity: a share of {fidelity.share:g} leaves {count:,} of {images:,} training "
            f"images, less than the batch of {recipe.batch:,}; use "
            f"{'a larger share, or ' * (fidelity.share < 1)}a smaller batch, e.g. --set "
            f"batch={max(1, count // 8)}"
        )
    warmup = recipe.warmup_epochs_of(fidelity.epochs)
    changed: dict[str, Any] = {"epochs": fidelity.epochs, "warmup_epochs": warmup}
    if not recipe.ema_decay:
        changed["ema_decay"] = AVERAGE
    if recipe.stages > 1:
        changed |= {"stages": 1, "min_resolution": 0}
    if fidelity.resolution:
        changed |= {"resolution": fidelity.resolution, "eval_resolution": 0}
    return replace(recipe, **changed)


def image_seconds(
    architecture: Architecture, recipe: Recipe, *, device: str = "auto", threads: int = 0
) -> float:
    """Measure the seconds per training image on this machine, with a few steps on random images.

    The estimate is for an idle machine; a busy one causes a line on stderr. NaN if the network
    cannot be trained.
    """
    import torch

    from train.data import Data
    from train.data.in_memory import MemorySplit
    from train.distributed import pick_device
    from train.loop import Report, train

    times: list[float] = []

    class Watch(Report):
        def step(self, step: int, steps: int, loss: float | None) -> None:
            if where.type == "cuda":
                torch.cuda.synchronize(where)
            times.append(clock())

    where, before = pick_device(device), torch.get_num_threads()
    # on a CPU, the time per image hardly depends on the batch
    batch = min(recipe.batch, 32) if where.type == "cpu" else recipe.batch
    generator = torch.Generator().manual_seed(0)
    size = (8 * batch, architecture.in_channels, *[architecture.resolution] * 2)
    images = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
    split = MemorySplit(images, torch.arange(len(images)) % architecture.classes)
    names = tuple(map(str, range(architecture.classes)))
    data = Data("noise", names, split, None, None, {}, ())
    short = replace(recipe, epochs=1, warmup_epochs=0.0, minival=0.0, batch=batch, device_batch=0)
    torch.set_num_threads(threads or before)
    # the processor time of a single thread excludes other programs
    alone = where.type == "cpu" and torch.get_num_threads() == 1
    clock, watch = time.thread_time if alone else time.perf_counter, LoadWatch()
    try:
        train(architecture, data, short, execution=Execution(device=device), report=Watch())
    finally:
        torch.set_num_threads(before)
    if (load := watch.load()).crowds(torch.get_num_threads()) and str(load):
        _once(f"times: {load} while a training was timed; trainings may take longer than estimated")
    gaps = np.diff(times[2:])
    return float(np.quantile(gaps, 0.25)) / batch if len(gaps) else float("nan")


@functools.cache
def _once(line: str) -> None:
    print_err(line)


@functools.cache
def shared_data(text: str, minival: float, root: str | None = None) -> Data:
    """Return the data of `train.data.load`, loaded once per process."""
    from train.data import load

    return load(text, minival=minival, root=root, test=False)
