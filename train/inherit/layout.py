"""Layout of a network: groups of channels pruned together, and the layers that use them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from search_spaces.architecture import Architecture, Block

# (kind, stage, layer); "stem", "output" (of a stage), "inner" and "squeezed" (of a layer), "head"
Group = tuple[str, int, int]
STEM: Group = ("stem", -1, -1)
HEAD: Group = ("head", -1, -1)


class Part(NamedTuple):
    """A convolution, linear layer or batch norm of a network.

    name          name of the module, as in `search_spaces.network.Network`.
    kind          "conv" (also for a linear layer) or "norm".
    out           group of its output channels; None for the classes.
    inputs        group of its input channels; None for the images' channels. None too for
                  depthwise convolutions and norms, whose inputs are in the group `out`.
    stage, layer  its position; -1 outside the stages.
    """

    name: str
    kind: str
    out: Group | None
    inputs: Group | None = None
    stage: int = -1
    layer: int = -1


def parts(architecture: Architecture) -> list[Part]:
    """Return every part of a network that has weights."""
    found = [Part("conv_stem", "conv", STEM), Part("bn1", "norm", STEM)]
    before = STEM
    for stage, blocks in enumerate(layers(architecture)):
        group, first = architecture.places()[stage]
        # if the first layer has a shortcut, the stage has the same channels as its input
        out = before if _is_tied(blocks[0]) else ("output", stage, -1)
        for layer, block in enumerate(blocks):
            for part in _of_block(block, before, out, layer):
                name = f"blocks.{group}.{first + layer}.{part.name}"
                found.append(part._replace(name=name, stage=stage, layer=layer))
            before = out
    if architecture.head:
        found.append(Part("conv_head", "conv", HEAD, before))
        norm = {"spatial": "bn2", "pooled_norm": "norm_head"}.get(architecture.head_form)
        found += [Part(norm, "norm", HEAD)] if norm else []
        before = HEAD
    return [*found, Part("classifier", "conv", None, before)]


def layers(architecture: Architecture) -> list[list[Block]]:
    """Return the blocks of each stage."""
    found: list[list[Block]] = [[] for _ in architecture.stages]
    for block in architecture.blocks():
        if block.stage >= 0:
            found[block.stage].append(block)
    return found


def sizes(architecture: Architecture) -> dict[Group, int]:
    """Return the number of channels of every group."""
    found = {STEM: architecture.stem}
    if architecture.head:
        found[HEAD] = architecture.head
    for stage, blocks in enumerate(layers(architecture)):
        if not _is_tied(blocks[0]):
            found["output", stage, -1] = blocks[0].out_channels
        for layer, block in enumerate(blocks):
            if _has_inner(block):
                found["inner", stage, layer] = block.mid_channels
            if block.se_channels:
                found["squeezed", stage, layer] = block.se_channels
    return found


def _is_tied(block: Block) -> bool:
    """Return whether a shortcut ties the block's output channels to its input channels."""
    return block.op == "identity" or block.skip == "identity"


def _has_inner(block: Block) -> bool:
    """Return whether the block has separate channels between its input and its output."""
    expands = block.op == "mbconv" and block.mid_channels != block.in_channels
    return expands or block.op in ("fused", "bottleneck", "uib")


def _of_block(block: Block, before: Group, out: Group, layer: int) -> Iterator[Part]:
    inner: Group = ("inner", block.stage, layer)
    if block.op == "identity":
        return
    if block.op == "conv":
        yield from _squeeze_excite(block, before, layer)
        yield from _pair("conv", "bn1", out, before)
    elif block.op == "fused":
        yield from _pair("conv_exp", "bn1", inner, before)
        yield from _squeeze_excite(block, inner, layer)
        yield from _pair("conv_pwl", "bn2", out, inner)
    elif block.op == "bottleneck":
        yield from _pair("conv1", "bn1", inner, before)
        yield from _pair("conv2", "bn2", inner, inner)
        yield from _pair("conv3", "bn3", out, inner)
    elif block.op == "uib":
        yield from _of_uib(block, before, out, layer)
    elif _has_inner(block):
        yield from _pair("conv_pw", "bn1", inner, before)
        yield from _pair("conv_dw", "bn2", inner)
        yield from _squeeze_excite(block, inner, layer)
        yield from _pair("conv_pwl", "bn3", out, inner)
    else:  # depthwise separable
        yield from _pair("conv_dw", "bn1", before)
        yield from _squeeze_excite(block, before, layer)
        yield from _pair("conv_pw", "bn2", out, before)
    if block.skip == "project":
        yield from _pair("downsample.0", "downsample.1", out, before)


def _of_uib(block: Block, before: Group, out: Group, layer: int) -> Iterator[Part]:
    inner: Group = ("inner", block.stage, layer)
    if block.start_kernel:
        yield from _pair("dw_start.conv", "dw_start.bn", before)
    yield from _pair("pw_exp.conv", "pw_exp.bn", inner, before)
    if block.kernel:
        yield from _pair("dw_mid.conv", "dw_mid.bn", inner)
    yield from _squeeze_excite(block, inner, layer)
    yield from _pair("pw_proj.conv", "pw_proj.bn", out, inner)


def _pair(conv: str, norm: str, out: Group, inputs: Group | None = None) -> Iterator[Part]:
    """Yield a convolution (depthwise without `inputs`) and the norm that follows it."""
    yield Part(conv, "conv", out, inputs)
    yield Part(norm, "norm", out)


def _squeeze_excite(block: Block, channels: Group, layer: int) -> Iterator[Part]:
    if block.se_channels:
        squeezed: Group = ("squeezed", block.stage, layer)
        yield Part("se.conv_reduce", "conv", squeezed, channels)
        yield Part("se.conv_expand", "conv", channels, squeezed)
