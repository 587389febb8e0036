"""Scores of untrained networks: one batch of images, seconds on a CPU.

    scores(build(architecture), images, targets)["naswot"]

params    trainable numbers.
flops     multiply-adds at the architecture's own resolution (`search_spaces.cost`).
synflow   log of the synaptic flow: weight x gradient summed over all weights of the network made
          linear, with positive weights (Tanaka et al., "Pruning neural networks without any data
          by iteratively conserving synaptic flow", NeurIPS 2020).
snip      |weight x gradient| of the loss, summed (Lee et al., "SNIP: Single-shot network pruning
          based on connection sensitivity", ICLR 2019; summed as by Abdelfattah et al.).
grad_norm Euclidean norms of the gradients of the loss, summed over layers (Abdelfattah et al.,
          "Zero-cost proxies for lightweight NAS", ICLR 2021).
naswot    log |K|, the kernel of Hamming distances between the images' binary codes (Mellor et al.,
          "Neural architecture search without training", ICML 2021).
zen       change of the feature maps with a small change of Gaussian images, weights Gaussian,
          corrected for what batch norm divides by (Lin et al., "Zen-NAS", ICCV 2021).
zico      gradients' mean over their standard deviation between batches, summed within layers, the
          logs summed over layers (Li et al., "ZiCo: Zero-shot NAS via inverse coefficient of
          variation on gradients", ICLR 2023); the batches are the two halves of the one.

More is better for each of them. Weights are those of convolutions and linear layers; gradients are
taken in training mode, where batch norm uses the batch. All were published for ReLU. With SiLU and
its like a code's bit is the sign of the activation's input, which is where ReLU would switch.
Values of one score compare networks on the same images and seed, nothing else.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from search_spaces.catalog import one_of
from search_spaces.cost import cost
from search_spaces.layers import SqueezeExcite
from search_spaces.network import Network, Residual

ACTIVATIONS = (nn.SiLU, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.GELU)
LEAST_IMAGES = 4  # two halves for zico, of two images each for batch norm

# of the Zen-score: images and step as in its authors' code, but not their 32 repeats: after 4 it
# varies by 0.03 to 0.12 from seed to seed, where random networks of a space vary by 13
ZEN_IMAGES, ZEN_STEP, ZEN_REPEATS = 16, 1e-2, 4


@dataclass(frozen=True)
class Probe:
    """What scores are computed from, shared work included; `network` is a copy to run, not edit.

    images   float32 [n, channels, h, w], normalised.
    targets  int64 [n] or float32 [n, classes].
    """

    network: nn.Module
    images: Tensor
    targets: Tensor
    seed: int

    @cached_property
    def gradients(self) -> list[Tensor]:
        """Of the loss on the whole batch, for each of `weights`."""
        return self._gradients(slice(None))

    @cached_property
    def halves(self) -> tuple[list[Tensor], list[Tensor]]:
        """The same on the first and the second half of the batch."""
        half = len(self.images) // 2
        return self._gradients(slice(0, half)), self._gradients(slice(half, 2 * half))

    def _gradients(self, part: slice) -> list[Tensor]:
        logits = self.network(self.images[part])
        loss = F.cross_entropy(logits, self.targets[part])
        return _grad(loss, weights(self.network))


def scores(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    names: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, float]:
    """The scores of those names (all of `SCORES` where none is given); NaN where one is no number.

    images  float32 [n, channels, h, w], normalised, of any size that the network takes, n >= 4.
    targets int64 [n] or float32 [n, classes].
    seed    of the Zen-score's weights and images, and of dropout.

    The network's weights, buffers, modes, gradients and flags and torch's random state are left
    as they are. Raises ValueError for an unknown name or too few images, and torch's errors where
    the network cannot run.
    """
    names = [one_of("score", name, SCORES) for name in names or SCORES]
    if len(images) != len(targets) or len(images) < LEAST_IMAGES:
        raise ValueError(
            f"images: {len(images)} with {len(targets)} targets are not allowed; "
            f"use equally many, at least {LEAST_IMAGES}"
        )
    devices = [images.device.index or 0] if images.device.type == "cuda" else []
    found = {}
    with torch.random.fork_rng(devices), torch.enable_grad():
        probe = Probe(_runnable(network), images, targets, seed)
        for name in names:
            torch.manual_seed(seed)  # what dropout draws must not depend on the scores before
            value = SCORES[name](probe)
            found[name] = value if math.isfinite(value) else math.nan
    return found


def weights(network: nn.Module) -> list[Tensor]:
    """The kernels of convolutions and linear layers."""
    return [layer.weight for layer in network.modules() if isinstance(layer, _ConvNd | nn.Linear)]


def params(probe: Probe) -> float:
    """Number of parameters."""
    return float(sum(value.numel() for value in probe.network.parameters()))


def flops(probe: Probe) -> float:
    """FLOPs at the architecture's resolution; NaN for a module that `build` did not make."""
    if not isinstance(probe.network, Network):
        return math.nan
    return float(cost(probe.network.architecture).flops)


def synflow(probe: Probe) -> float:
    """log sum |weight x dR/dweight|, R the sum of a linear network's outputs for an image of ones.

    Linear: batch norms and activations do nothing, squeeze-and-excitation's gates stand open (where
    its sigmoid tends to as signals grow), biases are zero. What is left is the published score of a
    ReLU network without batch norm, for which positive weights leave every ReLU open.
    """
    network = _linear(probe.network)
    ones = torch.ones_like(probe.images[:1], dtype=torch.float64)
    size = _log_flow(network, ones)
    if not math.isfinite(size):
        return math.nan
    # split between image and output, this centres both passes in the range of a double
    root = math.exp(-size / 2)
    kernels = weights(network)
    total = (root * network(root * ones)).sum()
    return size + _log(_products(kernels, _grad(total, kernels)))


def snip(probe: Probe) -> float:
    """sum |weight x gradient|."""
    return _products(weights(probe.network), probe.gradients)


def grad_norm(probe: Probe) -> float:
    """sum over layers of ||gradient||."""
    return sum(float(grad.norm()) for grad in probe.gradients)


@torch.no_grad()
def naswot(probe: Probe) -> float:
    """log |K|, K[i, j] the bits that the codes of images i and j have in common."""
    count = len(probe.images)
    kernel = torch.zeros(count, count, dtype=torch.float64)

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # of +1 and -1: a product is the bits in common less those that differ
        codes = (inputs[0].flatten(1) > 0).float().mul_(2).sub_(1)
        kernel.add_(((codes @ codes.T).cpu().double() + codes.shape[1]) / 2)

    network = copy.deepcopy(probe.network)
    for module in network.modules():
        if isinstance(module, ACTIVATIONS):
            module.register_forward_hook(add)
    network(probe.images)
    return float(torch.linalg.slogdet(kernel).logabsdet)


@torch.no_grad()
def zen(probe: Probe) -> float:
    """log E|f(x + a e) - f(x)| + sum over batch norms of log sqrt(mean variance), over repeats.

    f is the network up to its last feature maps, without residual links and squeeze-and-excitation,
    as its authors remove them; x, e and all weights are standard normal, a = 0.01. The activation
    stays the network's own.
    """
    network = _plain(probe.network)
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    features = _last_features(network)
    generator = torch.Generator().manual_seed(probe.seed)
    shape = (ZEN_IMAGES, *probe.images.shape[1:])
    total = 0.0
    for _ in range(ZEN_REPEATS):
        _redraw(network, generator)
        images, noise = (torch.randn(shape, generator=generator).to(probe.images) for _ in "xe")
        network(images + ZEN_STEP * noise)
        moved = features.pop()
        network(images)  # last, so that the norms' statistics are its
        change = (moved - features.pop()).abs().flatten(1).sum(1).mean()
        total += float(change.double().log())
        total += sum(0.5 * float(norm.running_var.double().mean().log()) for norm in norms)
    return total / ZEN_REPEATS


def zico(probe: Probe) -> float:
    """sum over layers of log sum mean|g| / std(g); weights without deviation do not count.

    A layer in which no weight has one is left out, as in its authors' code.
    """
    total = 0.0
    for one, other in zip(*probe.halves, strict=True):
        one, other = one.double(), other.double()
        mean, deviation = (one.abs() + other.abs()) / 2, (one - other).abs() / 2
        moved = deviation > 0
        ratio = float((mean[moved] / deviation[moved]).sum())
        total += math.log(ratio) if ratio > 0 else 0.0
    return total


SCORES: dict[str, Callable[[Probe], float]] = {
    "params": params,
    "flops": flops,
    "synflow": synflow,
    "snip": snip,
    "grad_norm": grad_norm,
    "naswot": naswot,
    "zen": zen,
    "zico": zico,
}


def _runnable(network: nn.Module) -> nn.Module:
    """A copy in training mode, all of it with gradients, in the layout that convolves fastest."""
    copied = copy.deepcopy(network).train().requires_grad_(True)
    return copied.to(memory_format=torch.channels_last)


def _grad(value: Tensor, kernels: list[Tensor]) -> list[Tensor]:
    """Gradients for each kernel, zero for one that the value does not depend on."""
    return list(torch.autograd.grad(value, kernels, allow_unused=True, materialize_grads=True))


def _products(kernels: list[Tensor], grads: list[Tensor]) -> float:
    """sum |kernel x gradient| over all of them."""
    pairs = zip(kernels, grads, strict=True)
    return sum(float((kernel.detach() * grad).abs().sum()) for kernel, grad in pairs)


def _log(value: float) -> float:
    """NaN where there is none."""
    return math.log(value) if value > 0 else math.nan


@torch.no_grad()
def _log_flow(network: nn.Module, ones: Tensor) -> float:
    """log R of a linear network; R itself may leave the range of a double, in deep networks."""
    for image in (1.0, 1e-290, 1e290):
        flow = float(network(image * ones).sum())
        if 0 < flow < math.inf:
            return math.log(flow) - math.log(image)
    return math.nan


def _linear(network: nn.Module) -> nn.Module:
    """A linear copy in double precision, with positive weights and no biases; see `synflow`."""
    copied = copy.deepcopy(network).double().eval()
    _replace(copied, (_BatchNorm, SqueezeExcite, *ACTIVATIONS))
    with torch.no_grad():
        for layer in copied.modules():
            if isinstance(layer, _ConvNd | nn.Linear):
                layer.weight.abs_()
                if layer.bias is not None:
                    layer.bias.zero_()
    return copied


def _plain(network: nn.Module) -> nn.Module:
    """A copy without residual links and gates whose norms remember their last batch alone."""
    copied = copy.deepcopy(network)
    _replace(copied, (SqueezeExcite,))
    for module in copied.modules():
        if isinstance(module, Residual):
            module.downsample = None
        elif isinstance(module, _BatchNorm):
            module.momentum = 1.0
            module.reset_running_stats()  # a NaN from another score would stay, even times 0
    return copied


def _replace(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
    """Modules of those kinds do nothing from now on."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, kinds):
                setattr(module, name, nn.Identity())


def _last_features(network: nn.Module) -> list[Tensor]:
    """A list that holds, after each call, the output of the last layer before the classifier."""
    last: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        last[:] = [output]

    for module in network.modules():
        if isinstance(module, (_ConvNd, _BatchNorm, *ACTIVATIONS)):
            module.register_forward_hook(keep)
    return last


def _redraw(network: nn.Module, generator: torch.Generator) -> None:
    """Standard normal kernels, norms that only normalise, no biases."""
    for layer in network.modules():
        if isinstance(layer, _ConvNd | nn.Linear):
            drawn = torch.randn(layer.weight.shape, generator=generator)
            layer.weight.copy_(drawn)
        elif isinstance(layer, _BatchNorm) and layer.affine:
            nn.init.ones_(layer.weight)
        if isinstance(layer, _ConvNd | nn.Linear | _BatchNorm) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
