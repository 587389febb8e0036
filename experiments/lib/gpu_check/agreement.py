"""Check that CPU and GPU compute the same logits, losses and gradients.

The reference is the CPU in float64. Errors are ||x - reference|| / ||reference|| of the logits in
training and in evaluation mode, of the loss, and of all gradients together. TF32, which cuDNN uses
for float32 by default, is off; its errors would be 40 times the limit. For bfloat16 both sides use
autocast; the gradients of a network with random weights then have an error of a third on a CPU,
too.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from experiments.lib.gpu_check.step import Conditions, Finding, Keep, finding
from experiments.lib.gpu_check.synthetic import TINY
from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo
from search_spaces.network import Network, build
from train.evaluate import autocast

BATCH, SIDE = 8, 64
NETWORKS = ("efficientnet_b0", "mobilenetv3_large_100", "efficientnetv2_s", "resnet50")
# largest allowed error of the GPU, and as a multiple of the CPU's own error
ENOUGH = {"float32": 1e-3, "bfloat16": 0.02}
TIMES = 2.0


class Pass(NamedTuple):
    """Outputs and gradients of a network on a batch, as float64 on the CPU."""

    logits: Tensor
    loss: Tensor
    gradients: Tensor
    evaluated: Tensor


def check(here: Conditions, keep: Keep) -> Finding:
    """Return errors of both sides for each network and precision, and the largest error."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    networks = {"tiny": dataclasses.replace(TINY, resolution=SIDE)}
    if not here.dry:
        networks = {name: _at_side(zoo(name)) for name in NETWORKS}
    errors: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    found = finding("")
    for name, architecture in networks.items():
        errors[name] = compared(architecture, here.device)
        found = _judged(errors)
        keep(found)
    return found


def _at_side(architecture: Architecture) -> Architecture:
    return dataclasses.replace(architecture, resolution=SIDE, classes=10)


def compared(architecture: Architecture, device: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return errors by precision, side ("cpu", "device") and quantity."""
    torch.manual_seed(0)
    network = build(architecture, dropout=0.0, drop_path=0.0)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(BATCH, 3, SIDE, SIDE, generator=generator)
    cpu, other = torch.device("cpu"), torch.device(device)
    reference = passes(network, images, cpu, torch.float64)
    return {
        name: {
            side: _errors(passes(network, images, where, precision), reference)
            for side, where in (("cpu", cpu), ("device", other))
        }
        for name, precision in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
    }


def passes(network: Network, images: Tensor, device: torch.device, precision: torch.dtype) -> Pass:
    """Run a training step without update, and an evaluation, on a copy of the network.

    precision  float64: weights and all computations; float32; or bfloat16 by autocast.
    """
    exact = precision == torch.float64
    own = build(network.architecture, dropout=0.0, drop_path=0.0)
    own.load_state_dict(network.state_dict())
    own = own.to(device, torch.float64 if exact else torch.float32)
    own = own.to(memory_format=torch.channels_last)
    batch = images.to(device, torch.float64 if exact else torch.float32)
    batch = batch.contiguous(memory_format=torch.channels_last)
    targets = torch.arange(len(images), device=device) % network.architecture.classes
    with autocast(device, torch.float32 if exact else precision):
        logits = own.train()(batch)
    loss = F.cross_entropy(logits if exact else logits.float(), targets)
    loss.backward()
    with torch.no_grad(), autocast(device, torch.float32 if exact else precision):
        evaluated = own.eval()(batch)
    gradients = torch.cat([p.grad.flatten() for p in own.parameters() if p.grad is not None])
    return Pass(*(each.detach().cpu().double() for each in (logits, loss, gradients, evaluated)))


def _errors(one: Pass, reference: Pass) -> dict[str, float]:
    return {
        name: float((own - right).norm() / right.norm())
        for name, own, right in zip(Pass._fields, one, reference, strict=True)
    }


def _judged(errors: dict[str, dict[str, dict[str, dict[str, float]]]]) -> Finding:
    """Return the largest error of the device relative to its limit, and all errors."""
    worst = dict.fromkeys(ENOUGH, 0.0)
    shown = dict.fromkeys(ENOUGH, 0.0)
    for of_network in errors.values():
        for precision, sides in of_network.items():
            for name, error in sides["device"].items():
                allowed = max(ENOUGH[precision], TIMES * sides["cpu"][name])
                # an error that is not a number is never allowed
                ratio = error / allowed if error == error else float("inf")
                worst[precision] = max(worst[precision], ratio)
                shown[precision] = max(shown[precision], error if error == error else float("inf"))
    return finding(
        "largest error " + ", ".join(f"{name} {value:.1e}" for name, value in shown.items()),
        goal=f"{ENOUGH['float32']:g}, {ENOUGH['bfloat16']:g}, or {TIMES:g} x the CPU's own",
        passed=all(ratio <= 1 for ratio in worst.values()),
        over_allowed=worst,
        errors=errors,
    )
