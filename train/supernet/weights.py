"""The weights that all networks of a space share, and their selection for one network.

Each layer of each stage has one set of weights for every kind of block that it can be (`kind_of`),
as large as the largest block of that kind. A network takes the first channels, the first layers,
and the centre of the kernels.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.architecture import HEADS, Architecture, Block, Stage
from search_spaces.network import Network, build, build_block
from search_spaces.space import SearchSpace
from search_spaces.staged import StagedSpace
from vbs.text import quoted

MOST = 300_000_000  # largest number of weights of a supernet
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of batch norm; never shared


# ops whose output follows an activation; the output of other ops is linear
ACTIVE = ("conv", "dwsep", "bottleneck")


class Supernet(nn.Module):
    """The shared weights of a space, made by `supernet`; see `child_weights`.

    Modules outside the stages are named as in `search_spaces.network.Network`; a block is
    `blocks.<stage>.<layer>.<kind>`. The modules after the last stage have one set of weights for
    each kind of input, e.g. `conv_head.<linear or active>`.
    """

    def __init__(
        self, outside: nn.Module, ends: Collection[str], blocks: Sequence[Sequence[nn.ModuleDict]]
    ) -> None:
        super().__init__()
        behind = _behind(isinstance(outside.conv_head, nn.Conv2d))
        for name, module in outside.named_children():
            if name == "blocks" or next(module.parameters(), None) is None:
                continue
            if name in behind:
                module = nn.ModuleDict({end: copy.deepcopy(module) for end in sorted(ends)})
            self.add_module(name, module)
        self.blocks = nn.ModuleList(nn.ModuleList(layers) for layers in blocks)

    def tensors(self) -> dict[str, Tensor]:
        """Return the shared weights by name; gradients flow into them."""
        return dict(self.named_parameters())


def _behind(head: bool) -> tuple[str, ...]:
    """Return the modules after the last stage that depend on its kind of output."""
    return ("conv_head", "bn2", "norm_head") if head else ("classifier",)


def kind_of(block: Block, before: str) -> str:
    """Return the kind of a block, e.g. "mbconv_identity_linear"; blocks of a kind share weights.

    before  "active" or "linear": the kind of its input, see `ACTIVE`.

    Three properties separate the weights of blocks. The first is the op. The second is the
    shortcut: a branch beside a shortcut learns a correction, while a branch without one has to
    transmit all information. The third is the kind of input: after an activation, inputs are about
    0 or positive. Blocks with and without squeeze-and-excitation share their convolutions.
    """
    op = block.op
    if op == "mbconv" and block.mid_channels == block.in_channels:
        op = "separable"  # without expansion it has other layers
    if op == "uib":
        # its four forms, which differ in the inputs and outputs of their pointwise layers
        op = f"uib{bool(block.start_kernel):d}{bool(block.kernel):d}"
    return f"{op}_{block.skip}_{before}"


def supernet(space: SearchSpace) -> Supernet:
    """Return random shared weights of a space, drawn from torch's generator.

    The last batch norm of each branch beside a shortcut starts at 0.

    Raises ValueError if networks of the space cannot share weights.
    """
    plan = _plan(space)
    with torch.device("meta"):
        size = sum(value.numel() for value in _made(plan).parameters())
    if size > MOST:
        raise ValueError(
            f"space: a supernet of {quoted(space.name)} has {size:,} weights, above {MOST:,}; use "
            "a smaller --width"
        )
    made = _made(plan)
    for layers, planned in zip(made.blocks, plan.stages, strict=True):
        for kinds, blocks in zip(layers, planned, strict=True):
            for kind, block in blocks.items():
                if block.skip != "none":
                    nn.init.zeros_(_last_norm(kinds[kind]).weight)
    return made


def check_space(space: SearchSpace) -> None:
    """Raise ValueError, with the reason, unless networks of the space can share weights."""
    if not isinstance(space, StagedSpace):
        raise ValueError(
            f"space: networks of {quoted(space.name)} cannot share weights: it is not made of "
            "stages (search_spaces.staged.StagedSpace), whose layers could share them"
        )


def child_weights(tensors: Mapping[str, Tensor], child: Architecture) -> dict[str, Tensor]:
    """Return the state dict of a network, taken from shared weights.

    tensors  of `Supernet.tensors`. The result consists of views of them, so gradients flow back.

    Batch-norm statistics are the initial ones.

    Raises ValueError, with the part, if the network is not in the space.
    """
    return taken(tensors, skeleton(child))


def skeleton(child: Architecture, *, dropout: float = 0.0, drop_path: float = 0.0) -> Network:
    """Return a network without weights, for `torch.func.functional_call`."""
    with torch.device("meta"):  # not `build`, which would initialise weights
        return Network(child, dropout=dropout, drop_path=drop_path)


def taken(tensors: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """Like `child_weights`, for a network that is already built; its own weights are ignored."""
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
            raise ValueError(
                f"network: its {name} is not in the supernet; it belongs to another space"
            )
        found[name] = _first(tensors[source], value.shape, name)
    return found


def kinds_of(child: Architecture) -> dict[str, str]:
    """Return where each block has its weights, and the kind of the modules after the stages.

    {"<group>.<number>": "<stage>.<layer>.<kind>", "end": "linear", ...}; group and number as in
    `Architecture.places`.
    """
    found, layer, stage, before = {}, 0, -1, "active"
    places = child.places()
    for block in child.blocks():
        if block.stage < 0:
            continue
        layer = layer + 1 if block.stage == stage else 0
        stage = block.stage
        group, first = places[stage]
        found[f"{group}.{first + layer}"] = f"{stage}.{layer}.{kind_of(block, before)}"
        before = _given(block, before)
    return {**found, "end": before, "behind": " ".join(_behind(child.head > 0))}


def _given(block: Block, before: str) -> str:
    """Return the kind of a block's output, "active" or "linear"."""
    if block.op == "identity":
        return before
    return "active" if block.op in ACTIVE else "linear"


def source_of(name: str, kinds: Mapping[str, str]) -> str:
    """Return the name in `Supernet.tensors` of a network's tensor.

    kinds  of the network's blocks, see `kinds_of`.
    """
    if not name.startswith("blocks."):
        module, _, rest = name.partition(".")
        return f"{module}.{kinds['end']}.{rest}" if module in kinds["behind"].split() else name
    _, group, number, rest = name.split(".", 3)
    return f"blocks.{kinds[f'{group}.{number}']}.{rest}"


def _first(value: Tensor, shape: Sequence[int], name: str) -> Tensor:
    """Return the first channels along the first two axes and the centre along the others."""
    if any(own > most for own, most in zip(shape, value.shape, strict=True)):
        raise ValueError(
            f"network: its {name} is {list(shape)}, larger than the supernet's {list(value.shape)}"
        )
    for axis, size in enumerate(shape):
        whole = value.shape[axis]
        if size < whole:
            value = value.narrow(axis, (whole - size) // 2 if axis > 1 else 0, size)
    return value


@dataclass(frozen=True)
class _Plan:
    """The modules of a supernet.

    frame   an arbitrary network of the space.
    around  for each op, the largest block outside the stages.
    stages  for each layer of each stage, the largest block of each kind.
    ends    possible kinds of the last stage's output, "active" or "linear".
    """

    frame: Architecture
    around: Mapping[str, Block]
    stages: Sequence[Sequence[Mapping[str, Block]]]
    ends: Collection[str]


def _plan(space: SearchSpace) -> _Plan:
    check_space(space)
    assert isinstance(space, StagedSpace)
    frame = space.decode(np.zeros(len(space.choices), np.int8))
    # (stage, layer) -> {kind without the input's kind: largest block}
    found: dict[tuple[int, int], dict[str, Block]] = {}

    def collect(blocks: Sequence[Block]) -> tuple[int]:
        for index, block in enumerate(blocks):
            place = (block.stage, index if block.stage >= 0 else 0)
            form = kind_of(block, "")
            largest = found.setdefault(place, {})
            largest[form] = _larger(largest.get(form, block), block)
        return (0,)

    space.tabulated(collect)
    around = {block.op: block for block in found.get((-1, 0), {}).values()}
    stages, before = [], {"active"}
    for stage in range(len(frame.stages)):
        layers: list[dict[str, Block]] = []
        given: set[str] = set()
        while (forms := found.get((stage, len(layers)))) is not None:
            kinds: dict[str, Block] = {}
            for block in forms.values():
                ways = {_given(block, way) for way in before}
                given |= ways
                if block.op != "identity":
                    inputs = ways if layers else before
                    kinds |= {kind_of(block, way): block for way in inputs}
            layers.append(dict(sorted(kinds.items())))
        stages.append(layers)
        before = given
    return _Plan(frame, around, stages, sorted(before))


def _larger(first: Block, second: Block) -> Block:
    """Return a block that contains both."""
    names = (
        "kernel",
        "start_kernel",
        "in_channels",
        "mid_channels",
        "out_channels",
        "se_channels",
    )
    sizes = {name: max(getattr(first, name), getattr(second, name)) for name in names}
    return replace(first, **sizes)


def _made(plan: _Plan) -> Supernet:
    around, frame = plan.around, plan.frame
    top = next((around[op] for op in HEADS if op in around), None)
    last = (top or around["classifier"]).in_channels
    head = top.out_channels if top else 0
    # one small stage gives head and classifier their largest numbers of input channels
    small = (Stage("conv", 1, 1, 1, 1, last, se=0.0),)
    stem = around["stem"].out_channels
    outside = build(replace(frame, stem=stem, head=head, stages=small))
    blocks = [
        [
            nn.ModuleDict({kind: build_block(frame, block) for kind, block in kinds.items()})
            for kinds in layers
        ]
        for layers in plan.stages
    ]
    return Supernet(outside, plan.ends, blocks)


def _last_norm(module: nn.Module) -> nn.BatchNorm2d:
    """Return the last batch norm of a block's branch."""
    norms = [
        each
        for name, each in module.named_modules()
        if isinstance(each, nn.BatchNorm2d) and not name.startswith("downsample")
    ]
    return norms[-1]
