"""Layers of a network: convolutions, pooling and gates, in the conventions of an `Architecture`."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.architecture import Architecture, Block

_ACTIVATIONS = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hard_swish": nn.Hardswish,
}


class Layers:
    """Factory of convolutions, norms and activations in the conventions of one architecture."""

    def __init__(self, architecture: Architecture) -> None:
        self.padding = architecture.padding
        self._activation = architecture.activation
        self._norm = {"eps": architecture.bn_eps, "momentum": architecture.bn_momentum}

    def of(self, block: Block) -> Layers:
        """Return the same factory with the activation of a block."""
        layers = copy.copy(self)
        layers._activation = block.activation or self._activation
        return layers

    def conv(
        self,
        channels: int,
        out: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        *,
        bias: bool = False,
    ) -> nn.Conv2d:
        """Return a convolution that keeps the size at stride 1."""
        # "same" padding differs from symmetric padding only for strided kernels larger than 1
        asymmetric = self.padding == "same" and stride == 2 and kernel > 1
        kind, pad = (SameConv2d, 0) if asymmetric else (nn.Conv2d, kernel // 2)
        return kind(channels, out, kernel, stride, pad, groups=groups, bias=bias)

    def norm(self, channels: int) -> nn.BatchNorm2d:
        """Return a batch norm."""
        return nn.BatchNorm2d(channels, **self._norm)

    def activation(self) -> nn.Module:
        """Return an activation."""
        # not in place, because autograd would first copy the input of a SiLU
        return _ACTIVATIONS[self._activation]()

    def squeeze_excite(self, channels: int, block: Block) -> nn.Module:
        """Return the squeeze-and-excitation of a block; an identity if it has none."""
        if not block.se_channels:
            return nn.Identity()
        if block.gate == "hard_sigmoid":
            return HardSqueezeExcite(channels, block.se_channels, nn.ReLU())
        return SqueezeExcite(channels, block.se_channels, self.activation())


class SameConv2d(nn.Conv2d):
    """Convolution of stride 2 and odd kernel k >= 3 with TensorFlow's "same" padding.

    TensorFlow pads an even side with one pixel less before than after, and an odd side with
    k // 2 on both ends. The code has no branches, so that it can be compiled and exported.
    """

    def forward(self, input: Tensor) -> Tensor:
        after = self.kernel_size[0] // 2
        height, width = input.shape[-2:]
        pads = [after - 1 + width % 2, after, after - 1 + height % 2, after]
        return super().forward(F.pad(input, pads))


class Pool(nn.Module):
    """Max or average pooling with an odd kernel; padded pixels do not count."""

    def __init__(self, kernel: int, stride: int, kind: str, padding: str) -> None:
        super().__init__()
        self.kernel, self.stride, self.kind = kernel, stride, kind
        self.asymmetric = padding == "same" and stride == 2

    def forward(self, x: Tensor) -> Tensor:
        pad = [self.kernel // 2] * 2
        if self.asymmetric:
            # see SameConv2d; ceil_mode adds the padding after the image
            pad = [self.kernel // 2 - 1 + side % 2 for side in x.shape[-2:]]
        size = (self.kernel, self.stride, pad)
        if self.kind == "max":
            return F.max_pool2d(x, *size, ceil_mode=self.asymmetric)
        return F.avg_pool2d(x, *size, ceil_mode=self.asymmetric, count_include_pad=False)


class SqueezeExcite(nn.Module):
    """Multiplies every channel by a sigmoid gate computed from the means of all channels."""

    def __init__(self, channels: int, squeezed: int, activation: nn.Module) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, squeezed, 1)
        self.act = activation
        self.conv_expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        # the mean as a sum, whose gradient is broadcast over the image without being stored
        means = x.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])
        return x * self.gate(self.conv_expand(self.act(self.conv_reduce(means))))

    def gate(self, x: Tensor) -> Tensor:
        """Return the factors of the channels."""
        return torch.sigmoid(x)


class HardSqueezeExcite(SqueezeExcite):
    """Squeeze-and-excitation with a hard sigmoid gate (MobileNetV3)."""

    def gate(self, x: Tensor) -> Tensor:
        return F.hardsigmoid(x)


class PoolSkip(nn.Module):
    """Shortcut between any shapes: 3x3 average pool, channels cut or padded with zeros."""

    def __init__(self, block: Block, padding: str) -> None:
        super().__init__()
        self.channels = block.out_channels
        self.missing = max(0, block.out_channels - block.in_channels)
        self.pool = Pool(3, block.stride, "average", padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(self.pool(x[:, : self.channels]), [0, 0, 0, 0, 0, self.missing])
