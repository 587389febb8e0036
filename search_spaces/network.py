"""The torch module of an architecture, with the parameter names of timm's EfficientNet.

`build` uses only `Architecture.blocks` and the conventions of the architecture (activation,
padding, batch norm), so that the network and `cost` agree about every layer. A stage block is
called `blocks.<stage>.<layer>`; state dicts are interchangeable with timm for every network that
timm has. A network accepts every image size that is large enough for its strides.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from search_spaces.architecture import HEADS, Architecture, Block
from search_spaces.layers import Layers, Pool, PoolSkip
from search_spaces.norm_act import norm_act


def build(architecture: Architecture, *, dropout: float = 0.0, drop_path: float = 0.0) -> Network:
    """Return the network with fresh weights, drawn from torch's global random generator.

    dropout    dropout probability before the classifier.
    drop_path  rate of stochastic depth. The branch of block i of n, counted from 0 over all stages,
               is dropped with probability drop_path * i / n, as in timm. Blocks without a skip
               are counted, but never dropped.

    The module takes float images [n, in_channels, height, width], returns logits [n, classes] and
    has an attribute `architecture`. Raises ValueError for a probability outside [0, 1).
    """
    for name, value in (("dropout", dropout), ("drop_path", drop_path)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise ValueError(f"{name}: {value!r} is not allowed; use a number from 0 to below 1")
    network = Network(architecture, dropout=dropout, drop_path=drop_path)
    for module in network.modules():
        _initialise(module)
    return network


def build_block(architecture: Architecture, block: Block) -> nn.Module:
    """Return one block of a stage with fresh weights, in the conventions of an architecture.

    Its tensors are named as in `Network` after `blocks.<stage>.<layer>.`
    """
    module = _stage_block(block, Layers(architecture), 0.0)
    for each in module.modules():
        _initialise(each)
    return module


class Network(nn.Module):
    """Stem, stages of blocks, head, global average pooling, classifier; created by `build`."""

    def __init__(self, architecture: Architecture, *, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.architecture = architecture
        layers = Layers(architecture)
        blocks = list(architecture.blocks())
        named = {block.op: block for block in blocks if block.stage < 0}
        stem, last = named["stem"], named["classifier"]
        self.conv_stem = layers.conv(stem.in_channels, stem.out_channels, stem.kernel, stem.stride)
        self.bn1 = layers.norm(stem.out_channels)
        self.act = layers.activation()
        self.pool: nn.Module = nn.Identity()
        if architecture.stem_pool:
            self.pool = Pool(3, 2, "max", architecture.padding)
        staged = [block for block in blocks if block.stage >= 0]
        places = architecture.places()
        groups: list[list[nn.Module]] = [[] for _ in range(places[-1][0] + 1)]
        for index, block in enumerate(staged):
            rate = drop_path * index / len(staged)
            groups[places[block.stage][0]].append(_stage_block(block, layers, rate))
        self.blocks = nn.Sequential(*[nn.Sequential(*group) for group in groups])
        self._add_head(layers, next((named[op] for op in HEADS if op in named), None))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(last.in_channels, last.out_channels)

    def _add_head(self, layers: Layers, head: Block | None) -> None:
        """Add the modules of the head, with timm's names; identities if there is no head."""
        self.pools_first = head is not None and head.op != "head"
        self.conv_head: nn.Module = nn.Identity()
        self.bn2: nn.Module = nn.Identity()
        self.norm_head: nn.Module = nn.Identity()
        self.act2: nn.Module = nn.Identity()
        if head is None:
            return
        bias = head.op == "pooled_head"
        self.conv_head = layers.conv(head.in_channels, head.out_channels, bias=bias)
        self.act2 = layers.activation()
        if head.op == "head":
            self.bn2 = layers.norm(head.out_channels)
        elif not bias:
            self.norm_head = layers.norm(head.out_channels)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [n, classes] of images [n, in_channels, height, width]."""
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the last feature map [n, channels, height, width], as in timm.

        It is the output of the head, or of the last block if the head follows the pooling. See
        `search_spaces.backbone` for the feature maps at several strides.
        """
        x = norm_act(self.bn1, self.act, self.conv_stem(images))
        x = self.blocks(self.pool(x))
        return x if self.pools_first else norm_act(self.bn2, self.act2, self.conv_head(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits of a feature map, or the classifier's input [n, channels]."""
        x = x.mean((2, 3), keepdim=self.pools_first)
        if self.pools_first:
            x = norm_act(self.norm_head, self.act2, self.conv_head(x)).flatten(1)
        x = self.dropout(x)
        return x if pre_logits else self.classifier(x)


class Residual(nn.Module):
    """A branch with the block's shortcut, if it has one; subclasses define the branch."""

    def __init__(self, block: Block, layers: Layers, drop_path: float) -> None:
        super().__init__()
        # the name is that of ResNet's checkpoints, where only the projection has weights
        self.downsample = _shortcut(block, layers)
        self.drop_path = _drop_path(drop_path) if self.downsample is not None else nn.Identity()

    def branch(self, x: Tensor) -> Tensor:
        """Return the output of the branch, without the shortcut."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        return out if self.downsample is None else self.drop_path(out) + self.downsample(x)


class ConvBlock(Residual):
    """One k x k convolution with squeeze-and-excitation on its input (Google's Fused-MBConv)."""

    def __init__(self, block: Block, layers: Layers, drop_path: float) -> None:
        super().__init__(block, layers, drop_path)
        self.se = layers.squeeze_excite(block.in_channels, block)
        self.conv = layers.conv(block.in_channels, block.out_channels, block.kernel, block.stride)
        self.bn1 = layers.norm(block.out_channels)
        self.act = layers.activation()

    def branch(self, x: Tensor) -> Tensor:
        return norm_act(self.bn1, self.act, self.conv(self.se(x)))


class DepthwiseSeparable(Residual):
    """Depthwise and pointwise convolution; the latter is linear unless the op is "dwsep"."""

    def __init__(self, block: Block, layers: Layers, drop_path: float) -> None:
        super().__init__(block, layers, drop_path)
        width = block.in_channels
        self.conv_dw = layers.conv(width, width, block.kernel, block.stride, groups=width)
        self.bn1 = layers.norm(width)
        self.act = layers.activation()
        self.se = layers.squeeze_excite(width, block)
        self.conv_pw = layers.conv(width, block.out_channels)
        self.bn2 = layers.norm(block.out_channels)
        self.act2 = layers.activation() if block.op == "dwsep" else nn.Identity()

    def branch(self, x: Tensor) -> Tensor:
        x = self.se(norm_act(self.bn1, self.act, self.conv_dw(x)))
        return norm_act(self.bn2, self.act2, self.conv_pw(x))


class InvertedResidual(Residual):
    """MBConv: pointwise expansion, depthwise convolution, linear pointwise projection."""

    def __init__(self, block: Block, layers: Layers, drop_path: float) -> None:
        super().__init__(block, layers, drop_path)
        mid = block.mid_channels
        self.conv_pw = layers.conv(block.in_channels, mid)
        self.bn1 = layers.norm(mid)
        self.act = layers.activation()
        self.conv_dw = layers.conv(mid, mid, block.kernel, block.stride, groups=mid)
        self.bn2 = layers.norm(mid)
        self.se = layers.squeeze_excite(mid, block)
        self.conv_pwl = layers.conv(mid, block.out_channels)
        self.bn3 = layers.norm(block.out_channels)

    def branch(self, x: Tensor) -> Tensor:
        x = norm_act(self.bn1, self.act, self.conv_pw(x))
        x = self.se(norm_act(self.bn2, self.act, self.conv_dw(x)))
        return self.bn3(self.conv_pwl(x))


class FusedInvertedResidual(Residual):
    """Fused-MBConv: k x k convolution that expands, linear pointwise projection."""

    def __init__(self, block: Block, layers: Layers, drop_path: float) -> None:
        super().__init__(block, layers, drop_path)
        mid = block.mid_channels
        self.conv_exp = layers.conv(block.in_channels, mid, block.kernel, block.stride)
        self.bn1 = layers.norm(mid)
        self.act = layers.activation()
        self.se = layers.squeeze_excite(mid, block)
        self.conv_pwl = layers.conv(mid, block.out_channels)
        self.bn2 = layers.norm(block.out_channels)

    def branch(self, x: Tensor) -> Tensor:
        x = self.se(norm_act(self.bn1, self.act, self.conv_exp(x)))
        return self.bn2(self.conv_pwl(x))


class ConvNorm(nn.Module):
    """Convolution, batch norm, and an activation or identity; named like timm's ConvNormAct."""

    def __init__(self, conv: nn.Conv2d, norm: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn, self.act = conv, norm, activation

    def forward(self, x: Tensor) -> Tensor:
        return norm_act(self.bn, self.act, self.conv(x))


class UniversalInvertedBottleneck(Residual):
    """MobileNetV4's block: optional depthwise convolutions before and after the expansion.

    With both it is the paper's ExtraDW, with only the first one a ConvNeXt-like block, with only
    the second one an inverted bottleneck, with none a feed-forward layer. The last depthwise
    convolution strides; the first one has no activation.
    """

    def __init__(self, block: Block, layers: Layers, drop_path: float) -> None:
        super().__init__(block, layers, drop_path)
        width, mid, out = block.in_channels, block.mid_channels, block.out_channels

        def made(
            channels: int, to: int, active: bool, kernel: int = 1, stride: int = 1, groups: int = 1
        ) -> ConvNorm:
            activation = layers.activation() if active else nn.Identity()
            conv = layers.conv(channels, to, kernel, stride, groups)
            return ConvNorm(conv, layers.norm(to), activation)

        first, second = block.start_kernel, block.kernel
        self.dw_start: nn.Module = nn.Identity()
        if first:
            stride = 1 if second else block.stride
            self.dw_start = made(width, width, False, first, stride, width)
        self.pw_exp = made(width, mid, True)
        self.dw_mid: nn.Module = nn.Identity()
        if second:
            self.dw_mid = made(mid, mid, True, second, block.stride, mid)
        self.se = layers.squeeze_excite(mid, block)
        self.pw_proj = made(mid, out, False)

    def branch(self, x: Tensor) -> Tensor:
        return self.pw_proj(self.se(self.dw_mid(self.pw_exp(self.dw_start(x)))))


class Bottleneck(Residual):
    """ResNet's bottleneck: 1x1, k x k (with the stride), 1x1; activation after the sum."""

    def __init__(self, block: Block, layers: Layers, drop_path: float) -> None:
        super().__init__(block, layers, drop_path)
        mid = block.mid_channels
        self.conv1 = layers.conv(block.in_channels, mid)
        self.bn1 = layers.norm(mid)
        self.act = layers.activation()
        self.conv2 = layers.conv(mid, mid, block.kernel, block.stride)
        self.bn2 = layers.norm(mid)
        self.conv3 = layers.conv(mid, block.out_channels)
        self.bn3 = layers.norm(block.out_channels)

    def branch(self, x: Tensor) -> Tensor:
        x = norm_act(self.bn1, self.act, self.conv1(x))
        x = norm_act(self.bn2, self.act, self.conv2(x))
        return self.bn3(self.conv3(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x))


_BLOCKS: dict[str, type[Residual]] = {
    "conv": ConvBlock,
    "dwsep": DepthwiseSeparable,
    "mbconv": InvertedResidual,
    "fused": FusedInvertedResidual,
    "bottleneck": Bottleneck,
    "uib": UniversalInvertedBottleneck,
}


def _stage_block(block: Block, layers: Layers, drop_path: float) -> nn.Module:
    layers = layers.of(block)
    if block.op == "identity":
        return nn.Identity()
    if block.op == "mbconv" and block.mid_channels == block.in_channels:
        return DepthwiseSeparable(block, layers, drop_path)  # it has no expansion
    return _BLOCKS[block.op](block, layers, drop_path)


def _shortcut(block: Block, layers: Layers) -> nn.Module | None:
    if block.skip == "none":
        return None
    if block.skip == "identity":
        return nn.Identity()
    if block.skip == "pool":
        return PoolSkip(block, layers.padding)
    conv = layers.conv(block.in_channels, block.out_channels, stride=block.stride)
    return nn.Sequential(conv, layers.norm(block.out_channels))


def _drop_path(rate: float) -> nn.Module:
    if rate == 0:
        return nn.Identity()
    from torchvision.ops import StochasticDepth  # takes seconds to import, needed only here

    return StochasticDepth(rate, "row")


def _initialise(module: nn.Module) -> None:
    """Initialise a module as Google's EfficientNet (tensorflow/tpu, efficientnet_model.py)."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / (fan_out // module.groups)))
    elif isinstance(module, nn.Linear):
        # Google uses 1 / sqrt(classes), for 1,000 classes; with ten classes its loss would start
        # at 3 to 6 instead of 2.3, which costs the first epoch of a short training
        limit = 1.0 / math.sqrt(max(module.in_features, module.out_features))
        nn.init.uniform_(module.weight, -limit, limit)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
