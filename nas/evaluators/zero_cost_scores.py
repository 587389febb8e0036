"""Zero-cost scores of untrained networks, from one batch of images, in seconds on a CPU.

    scores(build(architecture), images, targets)["naswot"]

params    number of parameters.
flops     multiply-adds at the architecture's resolution (`search_spaces.cost`).
synflow   log of the synaptic flow: weight x gradient summed over all weights of the network made
          linear, with positive weights (Tanaka et al., "Pruning neural networks without any data
          by iteratively conserving synaptic flow", NeurIPS 2020).
snip      |weight x gradient| of the loss, summed (Lee et al., "SNIP: Single-shot network pruning
          based on connection sensitivity", ICLR 2019; summed as by Abdelfattah et al.).
grad_norm Euclidean norms of the gradients of the loss, summed over layers (Abdelfattah et al.,
          "Zero-cost proxies for lightweight NAS", ICLR 2021).
naswot    log |K|, the kernel of Hamming distances between the images' binary codes (Mellor et al.,
          "Neural architecture search without training", ICML 2021).
zen       change of the feature maps for a small change of Gaussian images, with Gaussian weights,
          corrected for the scaling by batch norm (Lin et al., "Zen-NAS", ICCV 2021).
zico      gradients' mean over their standard deviation between batches, summed within layers, the
          logs summed over layers (Li et al., "ZiCo: Zero-shot NAS via inverse coefficient of
          variation on gradients", ICLR 2023); here the batches are the two halves of one batch.

Higher is better for all scores. Weights are those of convolutions and linear layers. Gradients are
computed in training mode, where batch norm uses the statistics of the batch. All scores were
published for ReLU; for SiLU and similar activations, a bit of the code is the sign of the
activation's input, as for ReLU. Scores are comparable only for the same images and seed.
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

from search_spaces.cost import cost
from search_spaces.layers import SqueezeExcite
from search_spaces.network import Network, Residual
from vbs.text import one_of

ACTIVATIONS = (nn.SiLU, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.GELU)
LEAST_IMAGES = 4  # two halves for zico, of two images each for batch norm

# Zen-score: images and step as in its authors' code. 4 repeats instead of 32 are enough: the score
# varies by only 0.03 to 0.12 between seeds, while random networks of a space vary by 13
ZEN_IMAGES, ZEN_STEP, ZEN_REPEATS = 16, 1e-2, 4


@dataclass(frozen=True)
class Probe:
    """Inputs of scores, with computations that several scores share.

    network  copy of the network, which scores may run but not modify.
    images   float32 [n, channels, h, w], normalised.
    targets  int64 [n] or float32 [n, classes].
    seed     seed of random weights and images.
    """

    network: nn.Module
    images: Tensor
    targets: Tensor
    seed: int

    @cached_property
    def gradients(self) -> list[Tensor]:
        """Gradients of the loss on the whole batch, for each of `weights`."""
        return self._gradients(slice(None))

    @cached_property
    def halves(self) -> tuple[list[Tensor], list[Tensor]]:
        """Gradients of the loss on the first and on the second half of the batch."""
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
    """Return scores by name; NaN for scores that are not finite.

    images   float32 [n, channels, h, w], normalised, of any size that the network accepts, n >= 4.
    targets  int64 [n] or float32 [n, classes].
    names    names in `SCORES`; (): all.
    seed     seed of the Zen-score's weights and images, and of dropout.

    The network's weights, buffers, modes, gradients and flags, and torch's random state, do not
    change. Raises ValueError for an unknown name or too few images, and torch's errors if the
    network cannot run.
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
            torch.manual_seed(seed)  # so that dropout does not depend on earlier scores
            value = SCORES[name](probe)
            found[name] = value if math.isfinite(value) else math.nan
    return found


def weights(network: nn.Module) -> list[Tensor]:
    """Return the kernels of convolutions and linear layers."""
    return [layer.weight for layer in network.modules() if isinstance(layer, _ConvNd | nn.Linear)]


def params(probe: Probe) -> float:
    """Return the number of parameters."""
    return float(sum(value.numel() for value in probe.network.parameters()))


def flops(probe: Probe) -> float:
    """Return FLOPs at the architecture's resolution; NaN for a module that is not a `Network`."""
    if not isinstance(probe.network, Network):
        return math.nan
    return float(cost(probe.network.architecture).flops)


def synflow(probe: Probe) -> float:
    """Return log sum |weight x dR/dweight|, R the sum of a linear network's outputs for ones.

    In the linear network, batch norms and activations are removed, the gates of
    squeeze-and-excitation are 1 (the limit of the sigmoid for large signals), and biases are 0.
    This is the published score of a ReLU network without batch norm, where positive weights make
    every ReLU the identity.
    """
    network = _linear(probe.network)
    ones = torch.ones_like(probe.images[:1], dtype=torch.float64)
    size = _log_flow(network, ones)
    if not math.isfinite(size):
        return math.nan
    # dividing it between image and output centres both passes in the range of a double
    root = math.exp(-size / 2)
    kernels = weights(network)
    total = (root * network(root * ones)).sum()
    return size + _log(_products(kernels, _grad(total, kernels)))


def snip(probe: Probe) -> float:
    """Return sum |weight x gradient|."""
    return _products(weights(probe.network), probe.gradients)


def grad_norm(probe: Probe) -> float:
    """Return the sum over layers of ||gradient||."""
    return sum(float(grad.norm()) for grad in probe.gradients)


@torch.no_grad()
def naswot(probe: Probe) -> float:
    """Return log |K|, where K[i, j] is the number of equal bits in the codes of images i and j."""
    count = len(probe.images)
    kernel = torch.zeros(count, count, dtype=torch.float64)

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # with codes of +1 and -1, a dot product is the number of equal minus different bits
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
    """Return log E|f(x + a e) - f(x)| + sum over batch norms of log sqrt(mean variance).

    The result is the mean over repeats. f is the network up to its last feature maps, without
    residual connections and squeeze-and-excitation, which the authors also remove; x, e and all
    weights are standard normal, and a = 0.01. The activation is that of the network.
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
        network(images)  # last, so that the statistics of the norms belong to it
        change = (moved - features.pop()).abs().flatten(1).sum(1).mean()
        total += float(change.double().log())
        total += sum(0.5 * float(norm.running_var.double().mean().log()) for norm in norms)
    return total / ZEN_REPEATS


def zico(probe: Probe) -> float:
    """Return the sum over layers of log sum mean|g| / std(g), over weights with a deviation.

    Layers without such weights are ignored, as in the authors' code.
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
    """Return a copy in training mode, with all gradients, in the fastest memory format."""
    copied = copy.deepcopy(network).train().requires_grad_(True)
    return copied.to(memory_format=torch.channels_last)


def _grad(value: Tensor, kernels: list[Tensor]) -> list[Tensor]:
    """Return the gradient of each kernel, zero if the value does not depend on it."""
    return list(torch.autograd.grad(value, kernels, allow_unused=True, materialize_grads=True))


def _products(kernels: list[Tensor], grads: list[Tensor]) -> float:
    """Return sum |kernel x gradient| over all kernels."""
    pairs = zip(kernels, grads, strict=True)
    return sum(float((kernel.detach() * grad).abs().sum()) for kernel, grad in pairs)


def _log(value: float) -> float:
    """Return the logarithm; NaN for values that are not above 0."""
    return math.log(value) if value > 0 else math.nan


@torch.no_grad()
def _log_flow(network: nn.Module, ones: Tensor) -> float:
    """Return log R of a linear network, even if R exceeds the range of a double."""
    for image in (1.0, 1e-290, 1e290):
        flow = float(network(image * ones).sum())
        if 0 < flow < math.inf:
            return math.log(flow) - math.log(image)
    return math.nan


def _linear(network: nn.Module) -> nn.Module:
    """Return a linear copy in double precision, with positive weights and biases 0; see
    `synflow`."""
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
    """Return a copy without residual connections and gates.

    Its norms have the statistics of the last batch only.
    """
    copied = copy.deepcopy(network)
    _replace(copied, (SqueezeExcite,))
    for module in copied.modules():
        if isinstance(module, Residual):
            module.downsample = None
        elif isinstance(module, _BatchNorm):
            module.momentum = 1.0
            module.reset_running_stats()  # NaN from another score would remain: NaN * 0 is NaN
    return copied


def _replace(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
    """Replace modules of these types by the identity."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, kinds):
                setattr(module, name, nn.Identity())


def _last_features(network: nn.Module) -> list[Tensor]:
    """Return a list with the output of the last layer before the classifier after each call."""
    last: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        last[:] = [output]

    for module in network.modules():
        if isinstance(module, (_ConvNd, _BatchNorm, *ACTIVATIONS)):
            module.register_forward_hook(keep)
    return last


def _redraw(network: nn.Module, generator: torch.Generator) -> None:
    """Set standard normal kernels, norms with weight 1, and biases 0."""
    for layer in network.modules():
        if isinstance(layer, _ConvNd | nn.Linear):
            drawn = torch.randn(layer.weight.shape, generator=generator)
            layer.weight.copy_(drawn)
        elif isinstance(layer, _BatchNorm) and layer.affine:
            nn.init.ones_(layer.weight)
        if isinstance(layer, _ConvNd | nn.Linear | _BatchNorm) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
