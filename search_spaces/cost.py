"""Exact costs of networks, computed without building them.

FLOPs are multiply-adds of convolutions and linear layers for one image at the architecture's own
resolution; params are the elements of all trainable tensors (without buffers); activations are the
output elements of convolutions and linear layers. FLOPs and activations equal the counts of
fvcore, params equal the sum of `numel()` over the parameters. A space may also have measured costs
in seconds (`MEASURED`). The name of a measured cost without a device, such as "latency", is a cost
on this machine; "latency@zcu102" is a cost on the device zcu102.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from search_spaces.architecture import Architecture, Block
from vbs.units import short, short_seconds

if TYPE_CHECKING:
    import numpy as np

# costs that a space may have in addition to the exact ones, see `SearchSpace.measured_by`
MEASURED: dict[str, str] = {
    "latency": "seconds of one forward pass of a batch",
    "step_time": "seconds of one training step: forward, backward and update",
    "image_time": "seconds for each image at the highest throughput",
    "train_time": "seconds of one training",
}


class Cost(NamedTuple):
    """Exact costs as integers: FLOPs (multiply-adds), params, activations (output elements)."""

    flops: int
    params: int = 0
    activations: int = 0


@dataclass(frozen=True)
class Costs:
    """Exact costs of n networks: three int64 arrays of shape [n].

    extra  measured costs by name, float64 [n] each.
    """

    flops: np.ndarray
    params: np.ndarray
    activations: np.ndarray
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.flops)

    def __getitem__(self, rows: np.ndarray | slice) -> Costs:
        extra = {name: values[rows] for name, values in self.extra.items()}
        return Costs(self.flops[rows], self.params[rows], self.activations[rows], extra)

    def get(self, name: str) -> np.ndarray:
        """Return the cost with this name, [n]; raises ValueError for an unknown name."""
        if name in Cost._fields:
            return getattr(self, name)
        if name not in self.extra:
            known = ", ".join((*Cost._fields, *self.extra))
            raise ValueError(f"cost: {name!r} is unknown here; use one of {known}{_how(name)}")
        return self.extra[name]


def _how(name: str) -> str:
    """Return a hint on how to add a measured cost; "" for other costs."""
    if not is_measured(name):
        return ""
    return f" (to add {name}, use space.measured_by(**{{{name!r}: function}}))"


def cost_on(kind: str, device: str) -> str:
    """Return the name of a measured cost on a device: latency@zcu102."""
    return f"{kind}@{device}"


def split_cost(name: str) -> tuple[str, str]:
    """Return the kind of a cost and its device ("" for none)."""
    kind, _, device = name.partition("@")
    return kind, device


def is_measured(name: str) -> bool:
    """Return whether a cost is measured: one of `MEASURED`, with or without a device."""
    kind, at, device = name.partition("@")
    return kind in MEASURED and bool(device) == bool(at)


def cost_label(name: str) -> str:
    """Return a cost in words: flops, latency, latency on zcu102, throughput on a100."""
    kind, device = split_cost(name)
    kind = {"image_time": "throughput"}.get(kind, kind)
    return f"{kind} on {device}" if device else kind


def cost_text(name: str, value: float) -> str:
    """Format a cost with its unit: 385.8M, 20.3ms, 12,300 images/s."""
    kind, _ = split_cost(name)
    if kind == "image_time":
        return f"{1 / value:,.4g} images/s" if value > 1e-3 else f"{1 / value:,.0f} images/s"
    return short_seconds(value) if kind in MEASURED else short(value)


class Layer(NamedTuple):
    """One convolution or linear layer; `size` is the output side in pixels."""

    in_channels: int
    out_channels: int
    kernel: int
    groups: int
    size: int
    bias: bool
    norm: bool


def cost(architecture: Architecture, size: tuple[int, int] | None = None) -> Cost:
    """Return the exact FLOPs, params and activations of the whole network.

    size  height and width of the images in pixels; None: the architecture's own resolution.

    Raises ValueError if the images are too small for the strides.
    """
    if size is None:
        return blocks_cost(architecture.blocks())
    return sized_cost(*sized_blocks(architecture, size))


def blocks_cost(blocks: Iterable[Block]) -> Cost:
    """Return the sum of the costs of these blocks."""
    layers = (layer for block in blocks for layer in layers_of(block))
    return _summed((layer, layer.size**2) for layer in layers)


def sized_blocks(
    architecture: Architecture, size: tuple[int, int]
) -> tuple[list[Block], list[Block]]:
    """Return the blocks of a network on images of any height and width, in pixels.

    The first list has the sizes along the height, the second one those along the width.
    """
    high, wide = (list(replace(architecture, resolution=side).blocks()) for side in size)
    return high, wide


def sized_cost(high: Iterable[Block], wide: Iterable[Block]) -> Cost:
    """Return the sum of the costs of blocks from the two lists of `sized_blocks`."""
    pairs = zip(high, wide, strict=True)
    layers = (zip(layers_of(one), layers_of(other), strict=True) for one, other in pairs)
    return _summed((one, one.size * other.size) for both in layers for one, other in both)


def _summed(layers: Iterable[tuple[Layer, int]]) -> Cost:
    """Return the cost of layers, each given with the pixels of its output."""
    flops = params = activations = 0
    for layer, pixels in layers:
        weights = layer.in_channels // layer.groups * layer.out_channels * layer.kernel**2
        flops += weights * pixels
        params += weights + layer.out_channels * (layer.bias + 2 * layer.norm)
        activations += layer.out_channels * pixels
    return Cost(flops, params, activations)


def layers_of(block: Block) -> Iterator[Layer]:
    """Yield all convolutions and linear layers of a block in order of execution."""
    yield from _LAYERS[block.op](block)
    if block.skip == "project":
        yield Layer(block.in_channels, block.out_channels, 1, 1, block.out_size, False, True)


def _convolution(block: Block) -> Iterator[Layer]:
    # in Google's Fused-MBConv with expansion 1, SE acts on the input of the convolution
    yield from _squeeze_excite(block, block.in_channels)
    yield Layer(block.in_channels, block.out_channels, block.kernel, 1, block.out_size, False, True)


def _depthwise_separable(block: Block) -> Iterator[Layer]:
    channels = block.mid_channels
    yield Layer(channels, channels, block.kernel, channels, block.out_size, False, True)
    yield from _squeeze_excite(block, channels)
    yield Layer(channels, block.out_channels, 1, 1, block.out_size, False, True)


def _mbconv(block: Block) -> Iterator[Layer]:
    if block.mid_channels != block.in_channels:
        yield Layer(block.in_channels, block.mid_channels, 1, 1, block.in_size, False, True)
    yield from _depthwise_separable(block)


def _fused(block: Block) -> Iterator[Layer]:
    mid = block.mid_channels
    yield Layer(block.in_channels, mid, block.kernel, 1, block.out_size, False, True)
    yield from _squeeze_excite(block, mid)
    yield Layer(mid, block.out_channels, 1, 1, block.out_size, False, True)


def _uib(block: Block) -> Iterator[Layer]:
    width, mid = block.in_channels, block.mid_channels
    size = block.in_size
    if block.start_kernel:
        size = size if block.kernel else block.out_size  # the last depthwise one has the stride
        yield Layer(width, width, block.start_kernel, width, size, False, True)
    yield Layer(width, mid, 1, 1, size, False, True)
    if block.kernel:
        yield Layer(mid, mid, block.kernel, mid, block.out_size, False, True)
    yield from _squeeze_excite(block, mid)
    yield Layer(mid, block.out_channels, 1, 1, block.out_size, False, True)


def _bottleneck(block: Block) -> Iterator[Layer]:
    mid = block.mid_channels
    yield Layer(block.in_channels, mid, 1, 1, block.in_size, False, True)
    yield Layer(mid, mid, block.kernel, 1, block.out_size, False, True)
    yield Layer(mid, block.out_channels, 1, 1, block.out_size, False, True)


def _pooled_head(block: Block) -> Iterator[Layer]:
    norm = block.op == "pooled_norm_head"
    yield Layer(block.in_channels, block.out_channels, 1, 1, 1, not norm, norm)


def _classifier(block: Block) -> Iterator[Layer]:
    yield Layer(block.in_channels, block.out_channels, 1, 1, 1, True, False)


def _nothing(block: Block) -> Iterator[Layer]:
    yield from ()


def _squeeze_excite(block: Block, channels: int) -> Iterator[Layer]:
    if block.se_channels:
        yield Layer(channels, block.se_channels, 1, 1, 1, True, False)
        yield Layer(block.se_channels, channels, 1, 1, 1, True, False)


_LAYERS = {
    "stem": _convolution,
    "max_pool": _nothing,
    "conv": _convolution,
    "dwsep": _depthwise_separable,
    "mbconv": _mbconv,
    "fused": _fused,
    "bottleneck": _bottleneck,
    "identity": _nothing,
    "uib": _uib,
    "head": _convolution,
    "pooled_head": _pooled_head,
    "pooled_norm_head": _pooled_head,
    "classifier": _classifier,
}
