"""A network as plain data: `Architecture`, its `Stage`s, and the `Block`s they unroll to.

An architecture is frozen, hashable and equal to what its JSON says; every other module derives
what it needs (cost, torch modules, bigger siblings) from `Architecture.blocks`, the only place
where stages are unrolled into layers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

from vbs.json_text import parse_json
from vbs.text import quoted, shortened

MOST_BLOCKS = 5_000  # of all stages together; the largest published networks have some hundreds
OPS = ("conv", "dwsep", "mbconv", "fused", "bottleneck", "identity")
SKIPS = ("identity", "none", "pool", "project")
ACTIVATIONS = ("silu", "relu", "relu6", "hard_swish")
PADDINGS = ("symmetric", "same")


@dataclass(frozen=True)
class Stage:
    """`layers` equal blocks; only the first of them strides and changes the channels.

    op        "conv" (k x k convolution), "dwsep" (MobileNetV1: depthwise and pointwise, each with
              activation), "mbconv" (inverted residual; with expand 1 the depthwise-separable
              block of MnasNet and EfficientNet), "fused" (Fused-MBConv; with expand 1 a single
              k x k convolution), "bottleneck" (ResNet; inner width channels / expand),
              "identity" (passes its input on).
    kernel    odd side of the spatial convolution.
    stride    of the first layer, 1 or 2.
    expand    width inside the block over its input width; for "bottleneck" output over inner.
    channels  output channels.
    se        squeeze-and-excitation channels over block input channels; 0 for none.
    skip      "identity" where shapes allow, "none", "pool" (3x3 average pool, channels cut or
              zero-padded: a shortcut for every layer), or "project" (1x1 convolution where
              shapes differ, as in ResNet).
    """

    op: str
    layers: int
    kernel: int
    stride: int
    expand: int
    channels: int
    se: float = 0.25
    skip: str = "identity"

    def __post_init__(self) -> None:
        _one_of("op", self.op, OPS)
        _whole("layers", self.layers, least=1, most=1000)
        _odd("kernel", self.kernel)
        if _whole("stride", self.stride, least=1) > 2:
            raise ValueError(f"stride: {quoted(self.stride)} is not allowed; use 1 or 2")
        _whole("expand", self.expand, least=1)
        _whole("channels", self.channels, least=1)
        object.__setattr__(self, "se", _number("se", self.se, low=0.0, high=1.0))
        _one_of("skip", self.skip, SKIPS)
        self._check_op()

    def _check_op(self) -> None:
        if self.op in ("conv", "dwsep", "identity") and self.expand != 1:
            raise ValueError(
                f"expand: {self.expand} is not allowed with op {quoted(self.op)}; use 1"
            )
        if self.op == "bottleneck" and self.channels % self.expand:
            raise ValueError(
                f"channels: {self.channels} of a bottleneck must be a multiple of its "
                f"expand {self.expand}"
            )
        if self.op in ("bottleneck", "identity") and self.se:
            raise ValueError(f"se: {self.se} is not allowed with op {quoted(self.op)}; use 0")
        if self.op == "identity" and self.stride != 1:
            raise ValueError(f"stride: {self.stride} is not allowed with op 'identity'; use 1")


@dataclass(frozen=True)
class Block:
    """One layer with every number resolved; what cost and network are computed from.

    op is "stem", "max_pool", "head", "classifier" or an op of `Stage` ("fused" with expand 1 is
    resolved to "conv"). Sizes are sides of square feature maps in pixels. `stage` counts from 0
    and is -1 outside the stages. `se_channels` 0 means no squeeze-and-excitation. `skip` is
    "none" where the stage asks for an identity that the shapes do not allow, and "identity"
    where a projection is not needed.
    """

    op: str
    stage: int
    kernel: int
    stride: int
    in_channels: int
    mid_channels: int
    out_channels: int
    se_channels: int
    skip: str
    in_size: int
    out_size: int


@dataclass(frozen=True)
class Architecture:
    """A whole network: stem, stages, head, classifier, and the conventions it was defined with.

    stem        channels of the stem convolution (`stem_kernel`, `stem_stride`, and a 3x3 max
                pool of stride 2 behind it if `stem_pool`).
    head        channels of the 1x1 convolution before the classifier; 0 for none.
    resolution  input side in pixels; `cost` and published numbers refer to it.
    padding     "symmetric" (PyTorch) or "same" (TensorFlow); sizes agree, borders do not.
    bn_momentum PyTorch's convention (TensorFlow's 0.99 is 0.01 here).

    Raises ValueError that names the field, the value and what is allowed.
    """

    stem: int
    stages: tuple[Stage, ...]
    head: int
    resolution: int = 224
    classes: int = 1000
    in_channels: int = 3
    stem_kernel: int = 3
    stem_stride: int = 2
    stem_pool: bool = False
    activation: str = "silu"
    padding: str = "symmetric"
    bn_eps: float = 1e-5
    bn_momentum: float = 0.1

    def __post_init__(self) -> None:
        for name in ("stem", "resolution", "classes", "in_channels"):
            _whole(name, getattr(self, name), least=1)
        _whole("head", self.head, least=0)
        _odd("stem_kernel", self.stem_kernel)
        if _whole("stem_stride", self.stem_stride, least=1) > 2:
            raise ValueError(f"stem_stride: {quoted(self.stem_stride)} is not allowed; use 1 or 2")
        if not isinstance(self.stem_pool, bool):
            raise ValueError(f"stem_pool: {quoted(self.stem_pool)} is not true or false")
        _one_of("activation", self.activation, ACTIVATIONS)
        _one_of("padding", self.padding, PADDINGS)
        object.__setattr__(self, "bn_eps", _number("bn_eps", self.bn_eps, low=0.0, high=1.0))
        momentum = _number("bn_momentum", self.bn_momentum, low=0.0, high=1.0)
        object.__setattr__(self, "bn_momentum", momentum)
        if not isinstance(self.stages, tuple | list) or not self.stages:
            raise ValueError(f"stages: {quoted(self.stages)} must be a list of at least one Stage")
        object.__setattr__(self, "stages", tuple(self.stages))
        for index, stage in enumerate(self.stages):
            if not isinstance(stage, Stage):
                raise ValueError(f"stages[{index}]: {quoted(stage)} is not a Stage")
        _check_layers(sum(stage.layers for stage in self.stages))
        for _ in self.blocks():  # walks every size and channel once: impossible ones raise
            pass

    def blocks(self) -> Iterator[Block]:
        """Every layer from the stem to the classifier, in order, with all numbers resolved."""
        size = shrink(self.resolution, self.stem_stride, "stem_stride")
        yield Block(
            "stem",
            -1,
            self.stem_kernel,
            self.stem_stride,
            self.in_channels,
            self.in_channels,
            self.stem,
            0,
            "none",
            self.resolution,
            size,
        )
        channels = self.stem
        if self.stem_pool:
            pooled = shrink(size, 2, "stem_pool")
            yield Block("max_pool", -1, 3, 2, channels, channels, channels, 0, "none", size, pooled)
            size = pooled
        for index, stage in enumerate(self.stages):
            for block in stage_blocks(stage, channels, size, index=index):
                yield block
                channels, size = block.out_channels, block.out_size
        if self.head:
            yield Block("head", -1, 1, 1, channels, channels, self.head, 0, "none", size, size)
            channels = self.head
        yield Block("classifier", -1, 1, 1, channels, channels, self.classes, 0, "none", 1, 1)

    def to_json(self) -> str:
        """The whole architecture as JSON text; `from_json` gives back an equal object."""
        fields = dataclasses.asdict(self)
        stages = ",\n    ".join(json.dumps(stage) for stage in fields.pop("stages"))
        lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
        return "{\n" + ",\n".join([f'  "stages": [\n    {stages}\n  ]', *lines]) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Read what `to_json` wrote; ValueError names an unknown, missing or impossible field."""
        try:
            fields = parse_json(text)
        except ValueError as error:
            raise ValueError(f"architecture: cannot be read as JSON ({error})") from None
        return cls.from_dict(fields)

    @classmethod
    def from_dict(cls, fields: object) -> Architecture:
        """The same from the parsed JSON object, as it stands inside other JSON files."""
        fields = _fields_of(cls, fields, "architecture")
        rows = fields.get("stages")
        if not isinstance(rows, list):
            raise ValueError(f"stages: {shortened(repr(rows))} is not a list of stages")
        _check_layers(len(rows))  # before each is looked at
        stages = []
        for index, row in enumerate(rows):
            try:
                stages.append(Stage(**_fields_of(Stage, row, "stage")))
            except ValueError as error:
                raise ValueError(f"stages[{index}].{error}") from None
        return cls(**{**fields, "stages": tuple(stages)})

    @property
    def key(self) -> str:
        """12 hex digits of a SHA-256 over all fields: equal architectures, equal keys."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def stage_blocks(stage: Stage, channels: int, size: int, *, index: int = 0) -> Iterator[Block]:
    """The blocks of one stage that is fed `channels` feature maps of `size` x `size` pixels."""
    if stage.op == "identity" and stage.channels != channels:
        raise ValueError(
            f"stages[{index}].channels: {stage.channels} is not allowed with op 'identity'; "
            f"its input has {channels}"
        )
    op = "conv" if stage.op == "fused" and stage.expand == 1 else stage.op
    for layer in range(stage.layers):
        stride = stage.stride if layer == 0 else 1
        inner = stage.channels // stage.expand if op == "bottleneck" else channels * stage.expand
        out_size = shrink(size, stride, f"stages[{index}].stride")
        same_shape = stride == 1 and channels == stage.channels
        yield Block(
            op=op,
            stage=index,
            kernel=stage.kernel,
            stride=stride,
            in_channels=channels,
            mid_channels=inner,
            out_channels=stage.channels,
            se_channels=max(1, round(channels * stage.se)) if stage.se else 0,
            skip=_resolve_skip(stage.skip, same_shape),
            in_size=size,
            out_size=out_size,
        )
        channels, size = stage.channels, out_size


def shrink(size: int, stride: int, field: str) -> int:
    """Side of the output: ceil(size / stride) for every odd kernel, in both padding styles."""
    if stride > 1 and size < 2:
        raise ValueError(
            f"resolution: vanishes at {field} {stride}, where the feature map is {size} px; "
            "raise the resolution or lower a stride"
        )
    return math.ceil(size / stride)


def _resolve_skip(skip: str, same_shape: bool) -> str:
    if skip == "project":
        return "identity" if same_shape else "project"
    return "none" if skip == "identity" and not same_shape else skip


def _check_layers(count: int) -> None:
    """The bound keeps a hostile file from being unrolled, and built, for hours."""
    if count > MOST_BLOCKS:
        raise ValueError(
            f"stages: {count:,} layers in all are not allowed; use at most {MOST_BLOCKS:,}"
        )


def _fields_of(kind: type, fields: object, what: str) -> dict:
    """`fields` if it is a dict with just the fields of dataclass `kind`, else ValueError."""
    if not isinstance(fields, dict):
        raise ValueError(f"{what}: {shortened(repr(fields))} is not a JSON object")
    known = {field.name: field for field in dataclasses.fields(kind)}
    for name in fields:
        if name not in known:
            raise ValueError(f"{shortened(name)}: unknown field; allowed are {', '.join(known)}")
    for name, field in known.items():
        if field.default is dataclasses.MISSING and name not in fields:
            raise ValueError(f"{name}: this field is missing from the {what}")
    return fields


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(
            f"{name}: {shortened(repr(value))} is not allowed; use one of {', '.join(allowed)}"
        )


def _whole(name: str, value: object, *, least: int, most: int = 10**6) -> int:
    # bool is an int to Python, but `"layers": true` in a file is a mistake; the upper bound keeps
    # a hostile file from unrolling for hours
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(
            f"{name}: {shortened(repr(value))} is not allowed; "
            f"use a whole number from {least} to {most}"
        )
    return value


def _odd(name: str, value: object) -> None:
    if _whole(name, value, least=1) % 2 == 0:
        raise ValueError(
            f"{name}: {shortened(repr(value))} is not allowed; use an odd number (1, 3, 5, 7, ...)"
        )


def _number(name: str, value: object, *, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(
            f"{name}: {shortened(repr(value))} is not allowed; use a number from {low} to {high}"
        )
    return float(value)
