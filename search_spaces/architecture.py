"""Networks as plain data: `Architecture`, its `Stage`s, and the `Block`s that they unroll to.

An `Architecture` is frozen and hashable. `Architecture.from_json` reads the text of `to_json` as an
equal object. All other modules derive costs, torch modules and scaled networks from
`Architecture.blocks`, the only place where stages are unrolled into blocks.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from search_spaces.fields import LATER, fields_of, number, odd, odd_or_0, one_of, stored, whole
from vbs.json_text import parse_json
from vbs.text import quoted, shortened

MOST_BLOCKS = 5_000  # limit for all stages together; the largest published networks have hundreds
OPS = ("conv", "dwsep", "mbconv", "fused", "bottleneck", "identity", "uib")
SKIPS = ("identity", "none", "pool", "project")
ACTIVATIONS = ("silu", "relu", "relu6", "hard_swish")
PADDINGS = ("symmetric", "same")
GATES = ("sigmoid", "hard_sigmoid")
HEADS = ("head", "pooled_head", "pooled_norm_head")  # ops of the block before the classifier
HEAD_FORMS = ("spatial", "pooled", "pooled_norm")
EXPANDING = ("mbconv", "fused", "uib")  # ops whose expansion may be a fraction


@dataclass(frozen=True)
class Stage:
    """A sequence of equal blocks; only the first has the stride and changes the channels.

    op        "conv" (k x k convolution), "dwsep" (MobileNetV1: depthwise and pointwise, each with
              activation), "mbconv" (inverted residual; with expand 1 the depthwise-separable
              block of MnasNet and EfficientNet), "fused" (Fused-MBConv; with expand 1 a single
              k x k convolution), "bottleneck" (ResNet; inner width channels / expand),
              "identity" (returns its input), "uib" (MobileNetV4's universal inverted bottleneck:
              optional depthwise convolution, pointwise expansion, optional depthwise convolution,
              pointwise projection).
    layers    number of blocks.
    kernel    size of the spatial convolution, odd; for "uib", size of the depthwise convolution
              after the expansion (0: no such convolution).
    stride    stride of the first block, 1 or 2; in a "uib", that of its last depthwise convolution.
    expand    width inside the block divided by its input width; for "bottleneck" output width
              divided by inner width. "mbconv", "fused" and "uib" allow fractions: the width is
              rounded to a multiple of 8, at least 90% of the exact one.
    channels  output channels.
    se        squeeze-and-excitation channels divided by block input channels; 0: none.
    skip      "identity" (if the shapes are equal), "none", "pool" (3x3 average pool, channels cut
              or zero-padded: a shortcut for every block), or "project" (1x1 convolution if the
              shapes differ, as in ResNet).
    start_kernel  for "uib": size of the depthwise convolution before the expansion, odd; no
              activation follows it. 0: no such convolution.
    activation  activation of this stage; "": that of the network.
    gate      "sigmoid", or "hard_sigmoid" for the squeeze-and-excitation of MobileNetV3: then `se`
              is a share of the channels inside the block, rounded to a multiple of 8, and its
              inner activation is a ReLU.
    joined    whether the modules of the stage belong to the same group `blocks.<group>` as those of
              the previous stage, as in timm's stages with several kinds of blocks. Affects only the
              names of modules.

    Raises ValueError with the name of the field, its value and the allowed values.
    """

    op: str
    layers: int
    kernel: int
    stride: int
    expand: float
    channels: int
    se: float = 0.25
    skip: str = "identity"
    start_kernel: int = field(default=0, metadata=LATER)
    activation: str = field(default="", metadata=LATER)
    gate: str = field(default="sigmoid", metadata=LATER)
    joined: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        one_of("op", self.op, OPS)
        whole("layers", self.layers, least=1, most=1000)
        (odd_or_0 if self.op == "uib" else odd)("kernel", self.kernel)
        odd_or_0("start_kernel", self.start_kernel)
        if whole("stride", self.stride, least=1) > 2:
            raise ValueError(f"stride: {quoted(self.stride)} is not allowed; use 1 or 2")
        self._check_expand()
        whole("channels", self.channels, least=1)
        object.__setattr__(self, "se", number("se", self.se, low=0.0, high=1.0))
        one_of("skip", self.skip, SKIPS)
        if self.activation != "":
            one_of("activation", self.activation, ACTIVATIONS)
        one_of("gate", self.gate, GATES)
        if not isinstance(self.joined, bool):
            raise ValueError(f"joined: {quoted(self.joined)} is not true or false")
        self._check_op()

    def _check_expand(self) -> None:
        if self.op in EXPANDING and isinstance(self.expand, float):
            exact = number("expand", self.expand, low=1.0, high=1e6)
            # 6.0 and 6 must give the same architecture and the same key
            object.__setattr__(self, "expand", int(exact) if exact == int(exact) else exact)
        else:
            whole("expand", self.expand, least=1)

    def _check_op(self) -> None:
        if self.start_kernel and self.op != "uib":
            raise ValueError(
                f"start_kernel: {self.start_kernel} is not allowed with op {quoted(self.op)}; use 0"
            )
        if self.stride == 2 and not (self.kernel or self.start_kernel):
            raise ValueError(
                "stride: 2 is not allowed in a uib without a depthwise convolution; use 1, or a "
                "kernel or start_kernel of 3 or 5"
            )
        if self.op in ("conv", "dwsep", "identity") and self.expand != 1:
            raise ValueError(
                f"expand: {self.expand} is not allowed with op {quoted(self.op)}; use 1"
            )
        if self.op == "bottleneck" and self.channels % int(self.expand):
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
    """One block with all numbers resolved; costs and torch modules are computed from it.

    op is "stem", "max_pool", "head", "classifier" or an op of `Stage` ("fused" with expand 1
    becomes "conv"); "pooled_head" and "pooled_norm_head" are heads after the global average
    pooling. Sizes are sides of square feature maps in pixels. `stage` counts from 0 and is -1
    outside the stages. `mid_channels` are the channels inside the block. `se_channels` 0 means no
    squeeze-and-excitation. `skip` is "none" if the stage has identity skips but the shapes differ,
    and "identity" if a projection is not needed. `activation` "" is that of the network.
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
    start_kernel: int = 0
    activation: str = ""
    gate: str = "sigmoid"


@dataclass(frozen=True)
class Architecture:
    """A network without weights: stem, stages, head, classifier, and conventions.

    stem        channels of the stem convolution (`stem_kernel`, `stem_stride`, followed by a 3x3
                max pool of stride 2 if `stem_pool`).
    stages      stages from the stem to the head, at least one.
    head        channels of the 1x1 convolution before the classifier; 0: none.
    resolution  input side in pixels; `cost` and published numbers refer to it.
    classes     number of classes.
    in_channels channels of the images.
    activation  "silu", "relu", "relu6" or "hard_swish".
    padding     "symmetric" (PyTorch) or "same" (TensorFlow); output sizes agree, borders differ.
    bn_eps      epsilon of batch norm.
    bn_momentum batch norm momentum in PyTorch's convention (TensorFlow's 0.99 is 0.01 here).
    head_form   "spatial" (1x1 convolution, batch norm, activation, global average pooling),
                "pooled" (MobileNetV3: pooling, 1x1 convolution with bias, activation) or
                "pooled_norm" (MobileNetV4: pooling, 1x1 convolution, batch norm, activation).

    Raises ValueError with the name of the field, its value and the allowed values.
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
    head_form: str = field(default="spatial", metadata=LATER)

    def __post_init__(self) -> None:
        for name in ("stem", "resolution", "classes", "in_channels"):
            whole(name, getattr(self, name), least=1)
        whole("head", self.head, least=0)
        odd("stem_kernel", self.stem_kernel)
        if whole("stem_stride", self.stem_stride, least=1) > 2:
            raise ValueError(f"stem_stride: {quoted(self.stem_stride)} is not allowed; use 1 or 2")
        if not isinstance(self.stem_pool, bool):
            raise ValueError(f"stem_pool: {quoted(self.stem_pool)} is not true or false")
        one_of("activation", self.activation, ACTIVATIONS)
        one_of("padding", self.padding, PADDINGS)
        one_of("head_form", self.head_form, HEAD_FORMS)
        if self.head_form != "spatial" and not self.head:
            raise ValueError(
                f"head_form: {quoted(self.head_form)} is not allowed without a head; use spatial"
            )
        object.__setattr__(self, "bn_eps", number("bn_eps", self.bn_eps, low=0.0, high=1.0))
        momentum = number("bn_momentum", self.bn_momentum, low=0.0, high=1.0)
        object.__setattr__(self, "bn_momentum", momentum)
        if not isinstance(self.stages, tuple | list) or not self.stages:
            raise ValueError(f"stages: {quoted(self.stages)} must be a list of at least one Stage")
        object.__setattr__(self, "stages", tuple(self.stages))
        for index, stage in enumerate(self.stages):
            if not isinstance(stage, Stage):
                raise ValueError(f"stages[{index}]: {quoted(stage)} is not a Stage")
        if self.stages[0].joined:
            raise ValueError("stages[0].joined: true is not allowed for the first stage")
        _check_layers(sum(stage.layers for stage in self.stages))
        for _ in self.blocks():  # raises if a size or a number of channels is impossible
            pass

    def blocks(self) -> Iterator[Block]:
        """Yield all blocks from the stem to the classifier, with all numbers resolved."""
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
            op = "head" if self.head_form == "spatial" else f"{self.head_form}_head"
            size = size if op == "head" else 1
            yield Block(op, -1, 1, 1, channels, channels, self.head, 0, "none", size, size)
            channels = self.head
        yield Block("classifier", -1, 1, 1, channels, channels, self.classes, 0, "none", 1, 1)

    def to_json(self) -> str:
        """Return the architecture as JSON text, which `from_json` reads as an equal object."""
        fields = self.to_dict()
        stages = ",\n    ".join(json.dumps(stage) for stage in fields.pop("stages"))
        lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
        return "{\n" + ",\n".join([f'  "stages": [\n    {stages}\n  ]', *lines]) + "\n}\n"

    def to_dict(self) -> dict[str, Any]:
        """Return the architecture as plain data, which `from_dict` reads as an equal object."""
        return {**stored(self), "stages": [stored(stage) for stage in self.stages]}

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Read the JSON of `to_json`; raises ValueError with the name of an invalid field."""
        try:
            fields = parse_json(text)
        except ValueError as error:
            raise ValueError(f"architecture: cannot be read as JSON ({error})") from None
        return cls.from_dict(fields)

    @classmethod
    def from_dict(cls, fields: object) -> Architecture:
        """Read a parsed JSON object, for example a part of another JSON file."""
        fields = fields_of(cls, fields, "architecture")
        rows = fields.get("stages")
        if not isinstance(rows, list):
            raise ValueError(f"stages: {shortened(repr(rows))} is not a list of stages")
        _check_layers(len(rows))  # before reading each of them
        stages = []
        for index, row in enumerate(rows):
            try:
                stages.append(Stage(**fields_of(Stage, row, "stage")))
            except ValueError as error:
                raise ValueError(f"stages[{index}].{error}") from None
        return cls(**{**fields, "stages": tuple(stages)})

    @property
    def key(self) -> str:
        """12 hex digits of a SHA-256 over all fields; equal for equal architectures."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def places(self) -> tuple[tuple[int, int], ...]:
        """Return (group, number) of each stage's first module, `blocks.<group>.<number>`.

        Joined stages continue the numbers of the previous stage.
        """
        found: list[tuple[int, int]] = []
        group, number = -1, 0
        for stage in self.stages:
            if not stage.joined:
                group, number = group + 1, 0
            found.append((group, number))
            number += stage.layers
        return tuple(found)


def kernels_text(part: Stage | Block) -> str:
    """Return the kernels as text: k3, or a5 k3 for a uib (start_kernel and kernel)."""
    return f"a{part.start_kernel} k{part.kernel}" if part.op == "uib" else f"k{part.kernel}"


def stage_blocks(stage: Stage, channels: int, size: int, *, index: int = 0) -> Iterator[Block]:
    """Yield the blocks of one stage, given its input: `channels` maps of `size` x `size` pixels."""
    if stage.op == "identity" and stage.channels != channels:
        raise ValueError(
            f"stages[{index}].channels: {stage.channels} is not allowed with op 'identity'; "
            f"its input has {channels}"
        )
    op = "conv" if stage.op == "fused" and stage.expand == 1 else stage.op
    for layer in range(stage.layers):
        stride = stage.stride if layer == 0 else 1
        inner = _inner(stage, channels)
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
            se_channels=_squeezed(stage, channels, inner),
            skip=_resolve_skip(stage.skip, same_shape),
            in_size=size,
            out_size=out_size,
            start_kernel=stage.start_kernel,
            activation=stage.activation,
            gate=stage.gate if stage.se else "sigmoid",
        )
        channels, size = stage.channels, out_size


def shrink(size: int, stride: int, field: str) -> int:
    """Return the output side ceil(size / stride), for odd kernels and both kinds of padding."""
    if stride > 1 and size < 2:
        raise ValueError(
            f"resolution: it is too small; before {field} {stride} the feature map has {size} px; "
            "use a larger resolution or a smaller stride"
        )
    return math.ceil(size / stride)


def _inner(stage: Stage, channels: int) -> int:
    """Return the channels inside a block with `channels` input channels."""
    if stage.op == "bottleneck":
        return stage.channels // int(stage.expand)
    if isinstance(stage.expand, int):
        return channels * stage.expand
    return multiple_of_8(channels * stage.expand)


def _squeezed(stage: Stage, channels: int, inner: int) -> int:
    """Return the squeeze-and-excitation channels of a block; 0 for none."""
    if not stage.se:
        return 0
    if stage.gate == "hard_sigmoid":
        return multiple_of_8(inner * stage.se)
    return max(1, round(channels * stage.se))


def multiple_of_8(exact: float) -> int:
    """Return the nearest multiple of 8, at least 8 and at least 90% of `exact` (as MobileNet)."""
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def _resolve_skip(skip: str, same_shape: bool) -> str:
    if skip == "project":
        return "identity" if same_shape else "project"
    return "none" if skip == "identity" and not same_shape else skip


def _check_layers(count: int) -> None:
    """Raise ValueError for too many layers, which could take hours to unroll and build."""
    if count > MOST_BLOCKS:
        raise ValueError(
            f"stages: {count:,} layers in all are not allowed; use at most {MOST_BLOCKS:,}"
        )
