"""Timing of networks and of their blocks inside the running network.

In a forward pass, a time stamp is taken after each block. A training step is divided at the same
places: the output of each block is detached before the next block, and the backward pass runs block
by block from the loss to the stem, so that memory is allocated and freed as in an ordinary step.
The update is a single call for all parameters; `nas.block_times.measure.shares` divides its time
among the blocks.
"""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.block_times.options import RUNTIMES
from nas.block_times.runtimes import MAKERS, Function, inputs_of
from nas.block_times.table import block_name
from search_spaces.architecture import HEADS, Architecture
from search_spaces.network import Network, build
from search_spaces.norm_act import norm_act
from train import recipe as recipes
from train.distributed import pick_device
from train.evaluate import autocast
from train.memory_use import keep_freed_memory
from train.optimizer import MovingAverage, optimizer, set_learning_rate
from train.state import precision
from vbs.text import one_of


@dataclass(frozen=True)
class Setting:
    """Settings of a timing.

    kind       "latency" (forward pass in evaluation mode) or "step_time" (a training step).
    batch      images per batch.
    device     "cpu", "cuda" or "cuda:N"; "auto" is a GPU if there is one.
    threads    threads on a CPU.
    precision  "float32", "bfloat16" or "auto" (the trainer's choice for the device).
    recipe     name of the recipe whose optimizer, EMA, dropout and label smoothing a training step
               uses.
    runtime    runtime of a forward pass, from `nas.block_times.options.RUNTIMES`. All except
               "torch" compute on a CPU in float32.

    Raises ValueError for invalid values, and if the device or the runtime is missing.
    """

    kind: str
    batch: int = 1
    device: str = "cpu"
    threads: int = 1
    precision: str = "auto"
    recipe: str = "proxy"
    runtime: str = "torch"

    def __post_init__(self) -> None:
        if self.kind not in ("latency", "step_time"):
            raise ValueError(f"kind: {self.kind!r} is unknown; use latency or step_time")
        for name, most in (("batch", 2**16), ("threads", 1024)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(f"{name}: {value!r} is not allowed; use a number from 1 to {most}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(
                f"precision: {self.precision!r} is not allowed; use auto, float32 or bfloat16"
            )
        object.__setattr__(self, "device", str(pick_device(self.device)))
        if recipes.preset(self.recipe).train != "all":
            raise ValueError(f"recipe: {self.recipe!r} does not train the whole network")
        self._check_runtime()

    def _check_runtime(self) -> None:
        one_of("runtime", self.runtime, RUNTIMES)
        if self.runtime == "torch":
            return
        if self.kind == "step_time":
            raise ValueError(f"runtime: {self.runtime!r} does not train; use torch for step_time")
        if self.device != "cpu" or self.precision == "bfloat16":
            raise ValueError(f"runtime: {self.runtime!r} is timed on a cpu in float32 only")
        for package in RUNTIMES[self.runtime]:
            if importlib.util.find_spec(package) is None:
                extra = "openvino" if self.runtime == "openvino" else "onnx"
                raise ValueError(
                    f"runtime: {package} is not installed; "
                    f"pip install 'vision-baseline-search[{extra}]'"
                )

    @property
    def clock(self) -> str:
        """Clock of the measurement: "thread", "wall" or "events".

        The processor time of a single thread excludes other programs, and equals the time on an
        idle machine. Several threads require wall-clock time, and GPUs require CUDA events.
        """
        if self.device != "cpu":
            return "events"
        return "thread" if self.threads == 1 else "wall"


class Marks:
    """Time stamps of the clock of a setting; on a GPU they are events, read at the end."""

    def __init__(self, setting: Setting) -> None:
        self._cuda = setting.clock == "events"
        self._now = time.thread_time if setting.clock == "thread" else time.perf_counter
        self._marks: list[Any] = []

    def mark(self) -> None:
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append(event)
        else:
            self._marks.append(self._now())

    def spans(self) -> list[float]:
        """Return the seconds between consecutive marks."""
        pairs = zip(self._marks, self._marks[1:], strict=False)
        if not self._cuda:
            return [end - start for start, end in pairs]
        torch.cuda.synchronize()
        return [start.elapsed_time(end) / 1000 for start, end in pairs]


class Parts(NamedTuple):
    """Seconds of each block of a network in order, and of the update (0 for a forward pass)."""

    blocks: list[float]
    update: float


class Subject:
    """A network on the device, with everything for its forward pass or training step.

    images    batch of inputs, [batch, channels, side, side].
    compiled  cache of blocks compiled for the runtime, by name, to which new ones are added;
              compiling a block takes a second. None: an empty cache.
    """

    def __init__(
        self,
        architecture: Architecture,
        setting: Setting,
        images: Tensor,
        compiled: dict[str, Function] | None = None,
    ) -> None:
        self.architecture, self.setting, self.images = architecture, setting, images
        self._compiled = {} if compiled is None else compiled
        self.device = images.device
        recipe = recipes.preset(setting.recipe)
        self._training = setting.kind == "step_time"
        self._precision = _precision(setting, self.device)
        self._smoothing = recipe.label_smoothing
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            dropout, drop_path = recipe.dropout, recipe.drop_path
            network = build(architecture, dropout=dropout, drop_path=drop_path)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.network.train(self._training)
        self.targets = torch.arange(setting.batch, device=self.device) % architecture.classes
        self._segments = segments(self.network)
        self._inputs = inputs_of(setting.runtime, images)
        self._average = None
        if self._training:
            self._optimizer = optimizer(recipe, self.network)
            set_learning_rate(self._optimizer, 0.0)  # the same work, but the weights stay finite
            if recipe.ema_decay:
                self._average = MovingAverage(self.network, recipe.ema_decay)

    def whole(self) -> float:
        """Return the seconds of a pass or step that is not divided into blocks."""
        marks = Marks(self.setting)
        if not self._training:
            run = self._network_function
            with torch.inference_mode(), autocast(self.device, self._precision):
                marks.mark()
                run(self._inputs)
                marks.mark()
            return marks.spans()[0]
        marks.mark()
        with autocast(self.device, self._precision):
            logits = self.network(self.images)
        self._loss(logits).backward()
        self._update()
        marks.mark()
        return marks.spans()[0]

    def parts(self) -> Parts:
        """Return the seconds of a pass or step, block by block."""
        marks = Marks(self.setting)
        if self._training:
            return self._step_parts(marks)
        functions = self._block_functions
        with torch.inference_mode(), autocast(self.device, self._precision):
            x = self._inputs
            marks.mark()
            for function in functions:
                x = function(x)
                marks.mark()
        return Parts(marks.spans(), 0.0)

    @cached_property
    def _network_function(self) -> Function:
        """Whole network in its runtime."""
        make = MAKERS[self.setting.runtime]
        return make(self.network, self.images, self.setting.threads)

    @cached_property
    def _block_functions(self) -> list[Function]:
        """Each block in its runtime."""
        make, x = MAKERS[self.setting.runtime], self.images
        functions = []
        for block, segment in zip(self.architecture.blocks(), self._segments, strict=True):
            name = block_name(block, self.architecture)
            if self.setting.runtime == "torch":
                functions.append(segment)
                continue
            if name not in self._compiled:
                self._compiled[name] = make(segment, x, self.setting.threads)
            functions.append(self._compiled[name])
            with torch.no_grad():
                x = segment(x)
        return functions

    def _step_parts(self, marks: Marks) -> Parts:
        inputs: list[Tensor | None] = []
        outputs: list[Tensor | None] = []
        x = self.images
        marks.mark()
        with autocast(self.device, self._precision):
            for segment in self._segments[:-1]:
                inputs.append(x)
                x = segment(x)
                outputs.append(x)
                x = x.detach().requires_grad_()
                marks.mark()
            inputs.append(x)
            x = self._segments[-1](x)
        outputs.append(self._loss(x))
        del x
        marks.mark()
        grad = None
        for index in reversed(range(len(outputs))):
            torch.autograd.backward(outputs[index], grad)
            grad = inputs[index].grad  # type: ignore[union-attr]
            outputs[index] = inputs[index] = None  # because an uncut step frees them too
            marks.mark()
        self._update()
        marks.mark()
        spans, count = marks.spans(), len(outputs)
        forward, backward = spans[:count], spans[count : 2 * count][::-1]
        return Parts([a + b for a, b in zip(forward, backward, strict=True)], spans[-1])

    def _loss(self, logits: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), self.targets, label_smoothing=self._smoothing)

    def _update(self) -> None:
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average is not None:
            self._average.update(self.network, 0)


def _precision(setting: Setting, device: torch.device) -> torch.dtype:
    recipe = replace(recipes.preset(setting.recipe), precision=setting.precision)
    return precision(recipe, device)


def images_for(architecture: Architecture, setting: Setting) -> Tensor:
    """Return a batch of random images in the memory format of the trainer."""
    side = architecture.resolution
    shape = (setting.batch, architecture.in_channels, side, side)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return images.to(setting.device).contiguous(memory_format=torch.channels_last)


class _Stem(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.conv, self.norm, self.act = network.conv_stem, network.bn1, network.act

    def forward(self, x: Tensor) -> Tensor:
        return norm_act(self.norm, self.act, self.conv(x))


class _Head(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.conv, self.act, self.pools_first = network.conv_head, network.act2, network.pools_first
        self.norm = network.norm_head if self.pools_first else network.bn2

    def forward(self, x: Tensor) -> Tensor:
        if self.pools_first:
            x = x.mean((2, 3), keepdim=True)
            return norm_act(self.norm, self.act, self.conv(x)).flatten(1)
        return norm_act(self.norm, self.act, self.conv(x)).mean((2, 3))


class _Classifier(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.dropout, self.classifier = network.dropout, network.classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.dropout(x.mean((2, 3)) if x.ndim == 4 else x))


def segments(network: Network) -> list[nn.Module]:
    """Return modules that compute the network when called in sequence.

    There is one for each of `Architecture.blocks`, in that order. The mean over the image belongs
    to the head, or to the classifier of a network without a head.
    """
    named: dict[str, Callable[[], nn.Module]] = {
        "stem": lambda: _Stem(network),
        "max_pool": lambda: network.pool,
        **dict.fromkeys(HEADS, lambda: _Head(network)),
        "classifier": lambda: _Classifier(network),
    }
    staged: Iterator[nn.Module] = (block for stage in network.blocks for block in stage)
    return [
        next(staged) if block.stage >= 0 else named[block.op]()
        for block in network.architecture.blocks()
    ]


@contextlib.contextmanager
def ready(setting: Setting) -> Iterator[None]:
    """Make torch compute on the device of a setting, with its threads, within the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(setting.threads)
    if setting.device == "cpu":
        keep_freed_memory()  # the trainer does the same
    index = torch.device(setting.device).index
    try:
        with torch.cuda.device(-1 if index is None else index):  # -1: none
            yield
    finally:
        torch.set_num_threads(before)
