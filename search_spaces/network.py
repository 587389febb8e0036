"""The torch module of an architecture; parameter names are those of timm's EfficientNet.

`build` reads nothing but `Architecture.blocks` and the conventions beside them (activation,
padding, batch norm), so that the network and `cost` cannot disagree about a layer. A stage block
is called `blocks.<stage>.<layer>`; state dicts go to timm and back for every network that timm
has. Image sizes are never baked in: a network runs at any resolution that survives its strides.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.architecture import Architecture, Block
from search_spaces.norm_act import norm_act

_ACTIVATIONS = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hard_swish": nn.Hardswish,
}


def build(architecture: Architecture, *, dropout: float = 0.0, drop_path: float = 0.0) -> Network:
    """The network with fresh weights, drawn from torch's generator (seed it before the call).

    dropout    probability before the classifier.
    drop_path  stochastic depth: probability of dropping the last block's branch, rising linearly
               from 0 with the block's index (of all stage blocks, those without a skip too).

    The module takes float images [n, in_channels, height, width], returns logits [n, classes] and
    carries `.architecture`. Raises ValueError for a probability outside [0, 1).
    """
    for name, value in (("dropout", dropout), ("drop_path", drop_path)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise ValueError(f"{name}: {value!r} is not allowed; use a number from 0 to below 1")
    network = Network(architecture, dropout=dropout, drop_path=drop_path)
    for module in network.modules():
        _initialise(module)
    return network


def build_block(architecture: Architecture, block: Block) -> nn.Module:
    """One block of a stage with fresh weights, in the conventions of an architecture.

    Its tensors have the names that they have in `Network` behind `blocks.<stage>.<layer>.`
    """
    module = _stage_block(block, _Layers(architecture), 0.0)
    for each in module.modules():
        _initialise(each)
    return module


class Network(nn.Module):
    """Stem, stages of blocks, head, mean over the image, classifier; made by `build`."""

    def __init__(self, architecture: Architecture, *, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.architecture = architecture
        layers = _Layers(architecture)
        blocks = list(architecture.blocks())
        named = {block.op: block for block in blocks if block.stage < 0}
        stem, head, last = named["stem"], named.get("head"), named["classifier"]
        self.conv_stem = layers.conv(stem.in_channels, stem.out_channels, stem.kernel, stem.stride)
        self.bn1 = layers.norm(stem.out_channels)
        self.act = layers.activation()
        self.pool: nn.Module = nn.Identity()
        if architecture.stem_pool:
            self.pool = Pool(3, 2, "max", architecture.padding)
        staged = [block for block in blocks if block.stage >= 0]
        stages: list[list[nn.Module]] = [[] for _ in architecture.stages]
        for index, block in enumerate(staged):
            rate = drop_path * index / len(staged)
            stages[block.stage].append(_stage_block(block, layers, rate))
        self.blocks = nn.Sequential(*[nn.Sequential(*stage) for stage in stages])
        self.conv_head: nn.Module = nn.Identity()
        self.bn2: nn.Module = nn.Identity()
        self.act2: nn.Module = nn.Identity()
        if head:
            self.conv_head = layers.conv(head.in_channels, head.out_channels)
            self.bn2 = layers.norm(head.out_channels)
            self.act2 = layers.activation()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(last.in_channels, last.out_channels)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, classes] of images [n, in_channels, height, width]."""
        x = norm_act(self.bn1, self.act, self.conv_stem(images))
        x = self.blocks(self.pool(x))
        x = norm_act(self.bn2, self.act2, self.conv_head(x))
        return self.classifier(self.dropout(x.mean((2, 3))))


class _Layers:
    """Makes convolutions, norms and activations in the conventions of one architecture."""

    def __init__(self, architecture: Architecture) -> None:
        self.padding = architecture.padding
        self._activation = _ACTIVATIONS[architecture.activation]
        self._norm = {"eps": architecture.bn_eps, "momentum": architecture.bn_momentum}

    def conv(
        self, channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> nn.Conv2d:
        # "same" differs from symmetric padding only where a kernel over 1 is strided
        asymmetric = self.padding == "same" and stride == 2 and kernel > 1
        kind, pad = (SameConv2d, 0) if asymmetric else (nn.Conv2d, kernel // 2)
        return kind(channels, out, kernel, stride, pad, groups=groups, bias=False)

    def norm(self, channels: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(channels, **self._norm)

    def activation(self) -> nn.Module:
        # not in place: autograd would copy the input of a SiLU first
        return self._activation()

    def squeeze_excite(self, channels: int, squeezed: int) -> nn.Module:
        if not squeezed:
            return nn.Identity()
        return SqueezeExcite(channels, squeezed, self.activation())


class SameConv2d(nn.Conv2d):
    """Convolution of stride 2 and odd kernel k >= 3 with TensorFlow's "same" padding.

    TensorFlow centres the windows on the whole image: an even side gets one pixel less before
    than after, an odd side gets the symmetric k // 2. Without branches, to compile and export.
    """

    def forward(self, input: Tensor) -> Tensor:
        after = self.kernel_size[0] // 2
        height, width = input.shape[-2:]
        pads = [after - 1 + width % 2, after, after - 1 + height % 2, after]
        return super().forward(F.pad(input, pads))


class Pool(nn.Module):
    """Max or average pooling, odd kernel, padded in the given style; borders count for nothing."""

    def __init__(self, kernel: int, stride: int, kind: str, padding: str) -> None:
        super().__init__()
        self.kernel, self.stride, self.kind = kernel, stride, kind
        self.asymmetric = padding == "same" and stride == 2

    def forward(self, x: Tensor) -> Tensor:
        pad = [self.kernel // 2] * 2
        if self.asymmetric:
            # see SameConv2d; the padding behind the image is what ceil_mode adds
            pad = [self.kernel // 2 - 1 + side % 2 for side in x.shape[-2:]]
        size = (self.kernel, self.stride, pad)
        if self.kind == "max":
            return F.max_pool2d(x, *size, ceil_mode=self.asymmetric)
        return F.avg_pool2d(x, *size, ceil_mode=self.asymmetric, count_include_pad=False)


class SqueezeExcite(nn.Module):
    """Scales every channel by a sigmoid gate computed from the means of all channels."""

    def __init__(self, channels: int, squeezed: int, activation: nn.Module) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, squeezed, 1)
        self.act = activation
        self.conv_expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        # the mean as a sum: its gradient is then spread over the image without being written out
        means = x.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])
        return x * torch.sigmoid(self.conv_expand(self.act(self.conv_reduce(means))))


class PoolSkip(nn.Module):
    """Shortcut between any shapes: 3x3 average pool, channels cut or filled up with zeros."""

    def __init__(self, block: Block, padding: str) -> None:
        super().__init__()
        self.channels = block.out_channels
        self.missing = max(0, block.out_channels - block.in_channels)
        self.pool = Pool(3, block.stride, "average", padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(self.pool(x[:, : self.channels]), [0, 0, 0, 0, 0, self.missing])


class Residual(nn.Module):
    """A branch and the shortcut around it, if the block has one; a subclass has the branch."""

    def __init__(self, block: Block, layers: _Layers, drop_path: float) -> None:
        super().__init__()
        # called as in ResNet's checkpoints, where the projection is the only one with weights
        self.downsample = _shortcut(block, layers)
        self.drop_path = _drop_path(drop_path) if self.downsample is not None else nn.Identity()

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        return out if self.downsample is None else self.drop_path(out) + self.downsample(x)


class ConvBlock(Residual):
    """One k x k convolution; squeeze-and-excitation acts on its input (Google's Fused-MBConv)."""

    def __init__(self, block: Block, layers: _Layers, drop_path: float) -> None:
        super().__init__(block, layers, drop_path)
        self.se = layers.squeeze_excite(block.in_channels, block.se_channels)
        self.conv = layers.conv(block.in_channels, block.out_channels, block.kernel, block.stride)
        self.bn1 = layers.norm(block.out_channels)
        self.act = layers.activation()

    def branch(self, x: Tensor) -> Tensor:
        return norm_act(self.bn1, self.act, self.conv(self.se(x)))


class DepthwiseSeparable(Residual):
    """Depthwise, then pointwise convolution; the latter is linear unless the op is "dwsep"."""

    def __init__(self, block: Block, layers: _Layers, drop_path: float) -> None:
        super().__init__(block, layers, drop_path)
        width = block.in_channels
        self.conv_dw = layers.conv(width, width, block.kernel, block.stride, groups=width)
        self.bn1 = layers.norm(width)
        self.act = layers.activation()
        self.se = layers.squeeze_excite(width, block.se_channels)
        self.conv_pw = layers.conv(width, block.out_channels)
        self.bn2 = layers.norm(block.out_channels)
        self.act2 = layers.activation() if block.op == "dwsep" else nn.Identity()

    def branch(self, x: Tensor) -> Tensor:
        x = self.se(norm_act(self.bn1, self.act, self.conv_dw(x)))
        return norm_act(self.bn2, self.act2, self.conv_pw(x))


class InvertedResidual(Residual):
    """MBConv: pointwise expansion, depthwise convolution, linear pointwise projection."""

    def __init__(self, block: Block, layers: _Layers, drop_path: float) -> None:
        super().__init__(block, layers, drop_path)
        mid = block.mid_channels
        self.conv_pw = layers.conv(block.in_channels, mid)
        self.bn1 = layers.norm(mid)
        self.act = layers.activation()
        self.conv_dw = layers.conv(mid, mid, block.kernel, block.stride, groups=mid)
        self.bn2 = layers.norm(mid)
        self.se = layers.squeeze_excite(mid, block.se_channels)
        self.conv_pwl = layers.conv(mid, block.out_channels)
        self.bn3 = layers.norm(block.out_channels)

    def branch(self, x: Tensor) -> Tensor:
        x = norm_act(self.bn1, self.act, self.conv_pw(x))
        x = self.se(norm_act(self.bn2, self.act, self.conv_dw(x)))
        return self.bn3(self.conv_pwl(x))


class FusedInvertedResidual(Residual):
    """Fused-MBConv: one k x k convolution expands, a linear pointwise one projects."""

    def __init__(self, block: Block, layers: _Layers, drop_path: float) -> None:
        super().__init__(block, layers, drop_path)
        mid = block.mid_channels
        self.conv_exp = layers.conv(block.in_channels, mid, block.kernel, block.stride)
        self.bn1 = layers.norm(mid)
        self.act = layers.activation()
        self.se = layers.squeeze_excite(mid, block.se_channels)
        self.conv_pwl = layers.conv(mid, block.out_channels)
        self.bn2 = layers.norm(block.out_channels)

    def branch(self, x: Tensor) -> Tensor:
        x = self.se(norm_act(self.bn1, self.act, self.conv_exp(x)))
        return self.bn2(self.conv_pwl(x))


class Bottleneck(Residual):
    """ResNet's: 1x1, k x k (with the stride), 1x1; activation after the sum."""

    def __init__(self, block: Block, layers: _Layers, drop_path: float) -> None:
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
}


def _stage_block(block: Block, layers: _Layers, drop_path: float) -> nn.Module:
    if block.op == "identity":
        return nn.Identity()
    if block.op == "mbconv" and block.mid_channels == block.in_channels:
        return DepthwiseSeparable(block, layers, drop_path)  # nothing to expand
    return _BLOCKS[block.op](block, layers, drop_path)


def _shortcut(block: Block, layers: _Layers) -> nn.Module | None:
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
    from torchvision.ops import StochasticDepth  # seconds to import, only here needed

    return StochasticDepth(rate, "row")


def _initialise(module: nn.Module) -> None:
    """Google's EfficientNet initialisation (tensorflow/tpu, efficientnet_model.py)."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / (fan_out // module.groups)))
    elif isinstance(module, nn.Linear):
        # Google's is 1 / sqrt(classes), for a thousand of them; with ten, logits of such weights
        # begin at a loss of 3 to 6 instead of 2.3, which costs a short training its first epoch
        limit = 1.0 / math.sqrt(max(module.in_features, module.out_features))
        nn.init.uniform_(module.weight, -limit, limit)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
