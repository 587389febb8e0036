"""Muon: orthogonalised momentum for matrices, and SGD with Nesterov momentum for the rest.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks",
https://kellerjordan.github.io/posts/muon/. The convolution weights [out, in, k, k] are matrices
[out, in * k * k], as in cifar10-airbench (airbench94_muon.py), which also updates all other
parameters by SGD.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the published quintic iteration
ITERATIONS = 5
EPS = 1e-7  # smallest norm that a matrix is divided by


class Muon(torch.optim.Optimizer):
    """Muon for parameter groups with `matrices=True`, SGD with Nesterov momentum for others.

    Each update of a matrix is close to U V^T of the singular value decomposition of its momentum,
    times sqrt(max(1, rows / columns)); it equals `torch.optim.Muon`, which accepts only
    two-dimensional parameters and orthogonalises in bfloat16. Here it is computed in the data type
    of the parameters, for all matrices of equal shape at once.

    lr            learning rate; groups can have their own.
    momentum      of both rules.
    weight_decay  decoupled for matrices (times lr), added to the gradient (L2) for others.
    matrices      whether the parameters are matrices, of at least two dimensions.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        momentum: float,
        weight_decay: float = 0.0,
        matrices: bool = True,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "matrices": matrices,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            for param in params:
                if not self.state[param]:
                    self.state[param]["momentum_buffer"] = torch.zeros_like(param)
            momenta = [self.state[param]["momentum_buffer"] for param in params]
            if params:
                (_step_matrices if group["matrices"] else _step_others)(group, params, momenta)
        return loss


def _step_matrices(group: dict[str, Any], params: Sequence[Any], momenta: Sequence[Tensor]) -> None:
    grads: list[Tensor] = [param.grad for param in params]
    torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
    updates = torch._foreach_lerp(grads, momenta, group["momentum"])
    shapes: dict[tuple[int, int], list[int]] = {}
    for index, param in enumerate(params):
        shapes.setdefault((len(param), param[0].numel()), []).append(index)
    directions = list(updates)
    for (rows, columns), indices in shapes.items():
        matrices = torch.stack([updates[index].reshape(rows, columns) for index in indices])
        scaled = orthogonalised(matrices) * math.sqrt(max(1.0, rows / columns))
        for index, matrix in zip(indices, scaled, strict=True):
            directions[index] = matrix.reshape(params[index].shape)
    if group["weight_decay"]:
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
    torch._foreach_add_(params, directions, alpha=-group["lr"])


def _step_others(group: dict[str, Any], params: Sequence[Any], momenta: Sequence[Tensor]) -> None:
    grads: list[Tensor] = [param.grad for param in params]
    if group["weight_decay"]:
        grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
    torch._foreach_mul_(momenta, group["momentum"])
    torch._foreach_add_(momenta, grads)
    updates = torch._foreach_add(grads, momenta, alpha=group["momentum"])
    torch._foreach_add_(params, updates, alpha=-group["lr"])


def orthogonalisation_flops(rows: int, columns: int) -> int:
    """Return the multiply-adds of one update of a matrix, [rows, columns]."""
    small, large = sorted((rows, columns))
    return ITERATIONS * small**2 * (2 * large + small)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Return matrices [n, rows, columns] with the same singular vectors and values of about 1.

    The singular values are between 0.68 and 1.13, because the coefficients of the Newton-Schulz
    iteration are chosen for few iterations; values far below the largest one may be smaller.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices  # the smaller of the two Gram matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=EPS)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if tall else x
