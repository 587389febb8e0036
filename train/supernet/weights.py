"""The weights that all networks of a space share, and those of one of its networks.

Each layer of each stage has one set of weights for every kind of block that it can be
(`kind_of`), as large as the largest block of that kind. A network takes the first channels, the
first layers, and the centre of the kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.network import Network, build, build_block
from search_spaces.space import SearchSpace
from search_spaces.staged import StagedSpace
from vbs.text import counted, quoted

MOST = 200_000_000  # weights of a supernet
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of batch norm: never shared


class Supernet(nn.Module):
    """The shared weights of a space; made by `supernet`. `child_weights` takes networks from it.

    Modules outside the stages are named as in `search_spaces.network.Network`; a block is
    `blocks.<stage>.<layer>.<kind>`.
    """

    def __init__(self, outside: nn.Module, blocks: Sequence[Sequence[nn.ModuleDict]]) -> None:
        super().__init__()
        for name, module in outside.named_children():
            if name != "blocks" and next(module.parameters(), None) is not None:
                self.add_module(name, module)
        self.blocks = nn.ModuleList(nn.ModuleList(layers) for layers in blocks)

    def tensors(self) -> dict[str, Tensor]:
        """The shared weights by name; gradients flow into them."""
        return dict(self.named_parameters())


def kind_of(block: Block) -> str:
    """Which blocks of a layer share weights: those of equal kind.

    Different ops have weights of their own, and so have blocks with and without a shortcut: the
    branch beside a shortcut learns a correction, the other one has to pass everything on. Blocks
    with and without squeeze-and-excitation share their convolutions.
    """
    op = block.op
    if op == "mbconv" and block.mid_channels == block.in_channels:
        op = "separable"  # no expansion: other layers
    return op if block.skip == "none" else f"{op}_{block.skip}"


def supernet(space: SearchSpace) -> Supernet:
    """Fresh shared weights of a space, drawn from torch's generator.

    The last batch norm of each branch beside a shortcut starts at 0.

    Raises ValueError where networks of the space cannot share weights.
    """
    frame, largest = _largest(space)
    count = len(frame.stages)
    stages: list[list[dict[str, Block]]] = [[] for _ in range(count)]
    for (stage, layer, kind), block in sorted(largest.items()):
        if stage >= 0:
            while len(stages[stage]) <= layer:
                stages[stage].append({})
            stages[stage][layer][kind] = block
    with torch.device("meta"):
        size = sum(value.numel() for value in _made(frame, largest, stages).parameters())
    if size > MOST:
        raise ValueError(
            f"space: a supernet of {quoted(space.name)} has {size:,} weights, above {MOST:,}; use "
            "a smaller --width"
        )
    made = _made(frame, largest, stages)
    for layers in made.blocks:
        for kinds in layers:
            for kind, module in kinds.items():
                if kind.partition("_")[2]:  # a shortcut
                    nn.init.zeros_(_last_norm(module).weight)
    return made


def check_space(space: SearchSpace) -> None:
    """ValueError unless networks of the space can share weights, naming what stands against it."""
    if not isinstance(space, StagedSpace):
        raise ValueError(
            f"space: networks of {quoted(space.name)} cannot share weights: it is not made of "
            "stages (search_spaces.staged.StagedSpace), whose layers could share them"
        )


def child_weights(tensors: Mapping[str, Tensor], child: Architecture) -> dict[str, Tensor]:
    """The state dict of a network, taken from shared weights; a pure function.

    tensors  of `Supernet.tensors`. The network's are views of them, through which gradients flow.

    Batch-norm statistics are those of a network that has seen no image.

    Raises ValueError, naming the part, where the network is not one of the space.
    """
    return taken(tensors, skeleton(child))


def skeleton(child: Architecture, *, dropout: float = 0.0, drop_path: float = 0.0) -> Network:
    """What a network computes, without weights of its own: for `torch.func.functional_call`."""
    with torch.device("meta"):  # not `build`: its weights need no values
        return Network(child, dropout=dropout, drop_path=drop_path)


def taken(tensors: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """As `child_weights`, for a network that is built already, whose own weights do not matter."""
    wanted, kinds = network.state_dict(), kinds_of(network.architecture)
    device = tensors["conv_stem.weight"].device
    found = {}
    for name, value in wanted.items():
        if name.rpartition(".")[2] in STATISTICS:
            start = torch.ones if name.endswith("running_var") else torch.zeros
            found[name] = start(value.shape, dtype=value.dtype, device=device)
            continue
        source = source_of(name, kinds)
        if source not in tensors:
            raise ValueError(f"network: its {name} is not in the supernet; it is of another space")
        found[name] = _first(tensors[source], value.shape, name)
    return found


def kinds_of(child: Architecture) -> dict[str, str]:
    """The kind of each block: {"<stage>.<layer>": kind}."""
    found, layer, before = {}, 0, -1
    for block in child.blocks():
        if block.stage < 0:
            continue
        layer = layer + 1 if block.stage == before else 0
        before = block.stage
        found[f"{block.stage}.{layer}"] = kind_of(block)
    return found


def source_of(name: str, kinds: Mapping[str, str]) -> str:
    """The name in `Supernet.tensors` of a network's tensor.

    kinds  of the network's blocks, see `kinds_of`.
    """
    if not name.startswith("blocks."):
        return name
    _, stage, layer, rest = name.split(".", 3)
    return f"blocks.{stage}.{layer}.{kinds[f'{stage}.{layer}']}.{rest}"


def _first(value: Tensor, shape: Sequence[int], name: str) -> Tensor:
    """The first channels along the first two axes, the centre along the others."""
    if any(own > most for own, most in zip(shape, value.shape, strict=True)):
        raise ValueError(
            f"network: its {name} is {list(shape)}, larger than the supernet's {list(value.shape)}"
        )
    for axis, size in enumerate(shape):
        whole = value.shape[axis]
        if size < whole:
            value = value.narrow(axis, (whole - size) // 2 if axis > 1 else 0, size)
    return value


Place = tuple[int, int, str]  # stage, layer and kind of a block; -1, -1 and its op outside stages


def _largest(space: SearchSpace) -> tuple[Architecture, dict[Place, Block]]:
    """Some network of the space, and the largest block of each kind in each place."""
    check_space(space)
    assert isinstance(space, StagedSpace)
    frame = space.decode(np.zeros(len(space.choices), np.int8))
    largest: dict[Place, Block] = {}

    def collect(blocks: Sequence[Block]) -> tuple[int]:
        for place, block in _placed(blocks):
            known = largest.get(place, block)
            sizes = {
                name: max(getattr(known, name), getattr(block, name))
                for name in ("kernel", "in_channels", "mid_channels", "out_channels", "se_channels")
            }
            largest[place] = replace(block, **sizes)
        return (0,)

    space.tabulated(collect)
    return frame, largest


def _placed(blocks: Sequence[Block]) -> Iterator[tuple[Place, Block]]:
    """The places of the blocks of one stage, or of those outside the stages."""
    for index, block in enumerate(blocks):
        if block.stage < 0:
            yield (-1, -1, block.op), block
        elif block.op != "identity":
            yield (block.stage, index, kind_of(block)), block


def _made(
    frame: Architecture, largest: Mapping[Place, Block], stages: list[list[dict[str, Block]]]
) -> Supernet:
    around = {kind: block for (stage, _, kind), block in largest.items() if stage < 0}
    last = around.get("head", around["classifier"]).in_channels
    head = around["head"].out_channels if "head" in around else 0
    # one small stage gives head and classifier the channels that they get at most
    outside = build(
        replace(
            frame,
            stem=around["stem"].out_channels,
            head=head,
            stages=(Stage("conv", 1, 1, 1, 1, last, se=0.0),),
        )
    )
    blocks = [
        [
            nn.ModuleDict({kind: build_block(frame, block) for kind, block in kinds.items()})
            for kinds in layers
        ]
        for layers in stages
    ]
    return Supernet(outside, blocks)


def _last_norm(module: nn.Module) -> nn.BatchNorm2d:
    """The last batch norm of a block's branch."""
    norms = [
        each
        for name, each in module.named_modules()
        if isinstance(each, nn.BatchNorm2d) and not name.startswith("downsample")
    ]
    return norms[-1]


def size_text(tensors: Mapping[str, Tensor]) -> str:
    """How many weights there are, in words."""
    return counted(sum(value.numel() for value in tensors.values()), "weight")
