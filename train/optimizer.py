"""Optimizers, learning-rate schedules and the moving average of the weights.

All of them update lists of tensors at once (torch's foreach kernels): on a GPU the 200 or so
parameters of an EfficientNet take a handful of kernel launches instead of thousands.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from train.muon import Muon
from train.recipe import Recipe


class RMSpropTF(torch.optim.Optimizer):
    """RMSProp as in TensorFlow: the mean square starts at 1, and epsilon is inside the root.

    With momentum, the learning rate is part of the accumulated value, so that changes of it take
    effect smoothly. Weight decay is added to the gradient (L2). Equal to timm's `RMSpropTF`, which
    loops over the tensors.
    """

    def __init__(
        self, params: Iterable[Any], *, lr: float, decay: float, momentum: float, eps: float
    ) -> None:
        defaults = {"lr": lr, "decay": decay, "momentum": momentum, "eps": eps, "weight_decay": 0.0}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        params = [param for param in group["params"] if param.grad is not None]
        if not params:
            return
        grads: list[Tensor] = [param.grad for param in params]
        for param in params:
            if not self.state[param]:
                self.state[param]["square"] = torch.ones_like(param)
                self.state[param]["velocity"] = torch.zeros_like(param)
        squares = [self.state[param]["square"] for param in params]
        velocities = [self.state[param]["velocity"] for param in params]
        if group["weight_decay"]:
            grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
        torch._foreach_mul_(squares, group["decay"])
        torch._foreach_addcmul_(squares, grads, grads, value=1 - group["decay"])
        roots = torch._foreach_add(squares, group["eps"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_addcdiv_(velocities, grads, roots, value=group["lr"])
        torch._foreach_sub_(params, velocities)


def optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """Return the recipe's optimizer of all trainable parameters; each step sets its lr."""
    groups, lr = _groups(recipe, network), peak_lr(recipe)
    if recipe.optimizer == "muon":
        return Muon(groups, lr=lr, momentum=recipe.momentum, matrices=False)
    if recipe.optimizer == "rmsprop":
        return RMSpropTF(
            groups, lr=lr, decay=recipe.rms_decay, momentum=recipe.momentum, eps=recipe.eps
        )
    if recipe.optimizer == "adamw":
        betas = (recipe.momentum, recipe.rms_decay)
        return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=recipe.eps, foreach=True)
    return torch.optim.SGD(
        groups, lr=lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0, foreach=True
    )


def _groups(recipe: Recipe, network: nn.Module) -> list[dict[str, Any]]:
    """Return the parameter groups; `lr_factor` is their learning rate relative to the recipe's."""
    settings: dict[str, dict[str, Any]] = {  # checkpoints depend on this order
        "weights": {"weight_decay": recipe.weight_decay, "lr_factor": 1.0},
        "biases": {"weight_decay": 0.0, "lr_factor": 1.0},
        "norm biases": {"weight_decay": 0.0, "lr_factor": recipe.norm_bias_factor},
        "matrices": {
            "weight_decay": recipe.muon_weight_decay,
            "lr_factor": recipe.muon_lr / recipe.lr if recipe.lr else 1.0,
            "matrices": True,
        },
    }
    special: dict[nn.Parameter, str] = {}
    if recipe.norm_bias_factor != 1:
        norms = (module for module in network.modules() if isinstance(module, _BatchNorm))
        special |= dict.fromkeys((norm.bias for norm in norms), "norm biases")
    if recipe.optimizer == "muon":
        special |= dict.fromkeys(_matrices(network), "matrices")
    params: dict[str, list[nn.Parameter]] = {kind: [] for kind in settings}
    for param in network.parameters():
        if param.requires_grad:
            params[special.get(param, "weights" if param.ndim > 1 else "biases")].append(param)
    return [
        {"params": params[kind], "lr": peak_lr(recipe) * setting["lr_factor"], **setting}
        for kind, setting in settings.items()
        if params[kind]
    ]


def _matrices(network: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the weights that Muon updates: dense convolutions and all but the last linear layer."""
    for name, module in network.named_modules():
        dense = isinstance(module, nn.Conv2d) and module.groups == 1
        hidden = isinstance(module, nn.Linear) and name.partition(".")[0] != "classifier"
        if dense or hidden:
            yield module.weight


def peak_lr(recipe: Recipe) -> float:
    """Return the learning rate after the warm-up, scaled to the recipe's batch."""
    return recipe.lr * (recipe.batch / recipe.lr_batch if recipe.lr_batch else 1.0)


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of an optimizer step (from 0) of the run.

    The exponential schedule counts its decay epochs from the first step, including the warm-up,
    and decreases in steps, as in tensorflow/tpu's code; cosine and linear start after the warm-up.
    """
    peak = peak_lr(recipe)
    epoch = step / steps_per_epoch
    if epoch < recipe.warmup_epochs:
        # starts above 0: a learning rate of 0 would waste the first step
        return peak * (step + 1) / max(1.0, recipe.warmup_epochs * steps_per_epoch)
    if recipe.schedule == "exponential":
        return peak * recipe.decay_rate ** math.floor(epoch / recipe.decay_epochs)
    span = recipe.epochs - recipe.warmup_epochs
    left = 1.0 - (epoch - recipe.warmup_epochs) / span
    if recipe.schedule == "cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * (1.0 - left)))
    return peak * left if recipe.schedule == "linear" else peak


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameter groups of `optimizer`, times their own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_factor", 1.0)


class MovingAverage:
    """The exponential moving average of a network's weights and batch-norm statistics.

    The n-th update keeps min(decay, (1 + n) / (10 + n)) of the old average. Without this ramp, a
    decay of 0.9999 would keep the random initial weights for tens of thousands of steps.
    `network` is a copy with the averaged weights; it is evaluated and saved like any other.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, n: int) -> None:
        """Update the average with the weights after step n (from 0)."""
        own, new = _tensors(self.network), _tensors(network)
        floats = [i for i, tensor in enumerate(own) if tensor.is_floating_point()]
        weight = 1.0 - min(self.decay, (1 + n) / (10 + n))
        torch._foreach_lerp_([own[i] for i in floats], [new[i] for i in floats], weight)
        counters = [i for i in range(len(own)) if not own[i].is_floating_point()]
        if counters:
            torch._foreach_copy_([own[i] for i in counters], [new[i] for i in counters])


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
