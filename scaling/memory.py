"""Memory that training a network takes, estimated from its blocks without building it.

Tensors that autograd keeps for the backward pass are counted one by one, as the modules of
`search_spaces.network` make them; on top come the weights, their gradients, what the optimizer and
a moving average of the weights hold. Not counted: the library's workspaces, and memory that the
allocator holds without using it, which on a GPU add some 5 to 25%.
"""

from __future__ import annotations

from typing import NamedTuple

from search_spaces.architecture import HEADS, Architecture, Block
from search_spaces.cost import blocks_cost

# numbers held for every parameter, beside the weight itself and its gradient
SLOTS = {"sgd": 1, "adamw": 2, "rmsprop": 2}
# tensors that an activation leaves: its output, which the next layer keeps, and its input, which
# ReLU alone can do without
KEPT_BY = {"silu": 2, "hard_swish": 2, "relu": 1, "relu6": 2}


class Memory(NamedTuple):
    """Bytes: of weights with all that is held for each, and of what a batch leaves for backward."""

    weights: int
    activations: int

    @property
    def total(self) -> int:
        """Both."""
        return self.weights + self.activations


def training_memory(
    architecture: Architecture,
    *,
    batch: int,
    optimizer: str = "rmsprop",
    average: bool = True,
    precision: str = "float32",
    recompute: bool = False,
) -> Memory:
    """What a training step of `batch` images holds at its largest, in bytes.

    optimizer  a name of `SLOTS`. average: whether a moving average of the weights is computed.
    precision  of activations, "float32" or "bfloat16"; weights are float32.
    recompute  whether batch norm and SiLU keep one tensor instead of two, as they do on a CPU
               (`search_spaces.norm_act`).

    ValueError for an unknown optimizer or precision, or a batch below 1.
    """
    if optimizer not in SLOTS:
        raise ValueError(f"optimizer: {optimizer!r} is unknown; use one of {', '.join(SLOTS)}")
    sizes = {"float32": 4, "bfloat16": 2}
    if precision not in sizes:
        raise ValueError(f"precision: {precision!r} is unknown; use float32 or bfloat16")
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise ValueError(f"batch: {batch!r} is not allowed; use a number from 1")
    blocks = list(architecture.blocks())
    params = blocks_cost(blocks).params
    held = 2 + SLOTS[optimizer] + average + (precision != "float32") / 2  # the last: casted weights
    elements = sum(_kept(block, architecture.activation, recompute) for block in blocks)
    return Memory(int(4 * params * held), batch * elements * sizes[precision])


def _kept(block: Block, activation: str, recompute: bool) -> int:
    """Elements that autograd keeps of a block for one image; each tensor once, its input too."""
    # behind a convolution: the norm's input, and what the activation leaves; a lean norm with SiLU
    # keeps its own input and the output only
    activation = block.activation or activation
    full = 1 + KEPT_BY[activation] - (recompute and activation == "silu")
    into, out = block.in_size**2, block.out_size**2
    x, y = block.in_channels * into, block.out_channels * out
    mid = block.mid_channels
    if block.op == "identity":
        return 0
    if block.op == "max_pool":
        return x + 2 * y  # indices are 8 bytes
    if block.op in ("stem", "conv", *HEADS):
        gate = block.in_channels * into if block.se_channels else 0  # the gated input
        behind = full - 1 if block.op != "pooled_head" else KEPT_BY[activation] - 1  # no norm
        return x + gate + behind * y + _shortcut(block, y)
    if block.op == "classifier":
        return block.in_channels
    if block.op == "dwsep":
        depthwise = _activated(mid * out, full, bool(block.se_channels))
        return x + depthwise + (full - 1) * y + _shortcut(block, y)
    if block.op in ("mbconv", "fused", "uib"):
        return x + _expanded(block, full) + y + _shortcut(block, y)
    # bottleneck: two inner tensors, then a sum that is activated
    inner = full * mid * (into + out)
    return x + inner + y + _shortcut(block, y) + (KEPT_BY[activation] - 1) * y


def _expanded(block: Block, full: int) -> int:
    """What stands between the input of an expanding block and the norm of its projection."""
    into, out, mid = block.in_size**2, block.out_size**2, block.mid_channels
    gated = bool(block.se_channels)
    if block.op == "fused":
        return _activated(mid * out, full, gated)
    if block.op == "mbconv":
        expanded = full * mid * into if mid != block.in_channels else 0
        return expanded + _activated(mid * out, full, gated)
    inner = into if block.kernel else out  # the last one of the depthwise convolutions strides
    start = 2 * block.in_channels * inner if block.start_kernel else 0
    middle = full * mid * out if block.kernel else 0
    return start + full * mid * inner + middle + gated * mid * out


def _activated(elements: int, full: int, gated: bool) -> int:
    """A norm, an activation, and a gate whose output goes into the next convolution."""
    return elements * (full + gated)


def _shortcut(block: Block, elements: int) -> int:
    """The input of a projection's norm; a sum keeps nothing."""
    return elements if block.skip == "project" else 0
