"""Memory of a training step, estimated from the blocks of a network without building it.

The tensors that autograd stores for the backward pass are counted one by one, as the modules of
`search_spaces.network` create them. The weights, their gradients, the optimizer state and a moving
average of the weights are added. Workspaces of libraries and unused memory held by the allocator
are not counted; on a GPU they add about 5 to 25%.
"""

from __future__ import annotations

from typing import NamedTuple

from search_spaces.architecture import HEADS, Architecture, Block
from search_spaces.cost import blocks_cost

# numbers stored by the optimizer for every parameter
SLOTS = {"sgd": 1, "adamw": 2, "rmsprop": 2, "muon": 1}
# tensors stored for an activation function: its output, which the next layer needs, and its input,
# which all functions except ReLU need
KEPT_BY = {"silu": 2, "hard_swish": 2, "relu": 1, "relu6": 2}


class Memory(NamedTuple):
    """Bytes of a training step: weights with gradients and optimizer state, and activations."""

    weights: int
    activations: int

    @property
    def total(self) -> int:
        """Total bytes."""
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
    """Return the peak memory of a training step of `batch` images, in bytes.

    optimizer  a name in `SLOTS`.
    average    whether the training keeps a moving average of the weights.
    precision  precision of activations, "float32" or "bfloat16"; weights are float32.
    recompute  whether batch norm and SiLU store one tensor instead of two, as on a CPU
               (`search_spaces.norm_act`).

    Raises ValueError for an unknown optimizer or precision, and for a batch below 1.
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
    # numbers per parameter; the last term are the weights cast to bfloat16
    held = 2 + SLOTS[optimizer] + average + (precision != "float32") / 2
    elements = sum(_kept(block, architecture.activation, recompute) for block in blocks)
    return Memory(int(4 * params * held), batch * elements * sizes[precision])


def _kept(block: Block, activation: str, recompute: bool) -> int:
    """Return the elements that autograd stores for a block and one image, including its input."""
    # after a convolution: the input of the norm, and the tensors of the activation; the fused
    # function of norm and SiLU stores only its input and its output
    activation = block.activation or activation
    full = 1 + KEPT_BY[activation] - (recompute and activation == "silu")
    into, out = block.in_size**2, block.out_size**2
    x, y = block.in_channels * into, block.out_channels * out
    mid = block.mid_channels
    if block.op == "identity":
        return 0
    if block.op == "max_pool":
        return x + 2 * y  # indices take 8 bytes
    if block.op in ("stem", "conv", *HEADS):
        gate = block.in_channels * into if block.se_channels else 0  # input after the gate
        behind = full - 1 if block.op != "pooled_head" else KEPT_BY[activation] - 1  # no norm
        return x + gate + behind * y + _shortcut(block, y)
    if block.op == "classifier":
        return block.in_channels
    if block.op == "dwsep":
        depthwise = _activated(mid * out, full, bool(block.se_channels))
        return x + depthwise + (full - 1) * y + _shortcut(block, y)
    if block.op in ("mbconv", "fused", "uib"):
        return x + _expanded(block, full) + y + _shortcut(block, y)
    # bottleneck: two inner tensors, and an activation after the sum
    inner = full * mid * (into + out)
    return x + inner + y + _shortcut(block, y) + (KEPT_BY[activation] - 1) * y


def _expanded(block: Block, full: int) -> int:
    """Return the elements between the input of a block and the norm of its projection."""
    into, out, mid = block.in_size**2, block.out_size**2, block.mid_channels
    gated = bool(block.se_channels)
    if block.op == "fused":
        return _activated(mid * out, full, gated)
    if block.op == "mbconv":
        expanded = full * mid * into if mid != block.in_channels else 0
        return expanded + _activated(mid * out, full, gated)
    inner = into if block.kernel else out  # only the last depthwise convolution strides
    start = 2 * block.in_channels * inner if block.start_kernel else 0
    middle = full * mid * out if block.kernel else 0
    return start + full * mid * inner + middle + gated * mid * out


def _activated(elements: int, full: int, gated: bool) -> int:
    """Return the elements of a norm, an activation, and a gate before the next convolution."""
    return elements * (full + gated)


def _shortcut(block: Block, elements: int) -> int:
    """Return the elements of a projection's norm; a sum stores nothing."""
    return elements if block.skip == "project" else 0
