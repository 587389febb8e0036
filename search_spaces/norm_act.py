"""Batch norm followed by SiLU as one autograd function that stores one tensor instead of two.

Autograd stores the input of the norm and the input of the SiLU, each as large as the activation.
The second is an affine function of the first, so it is recomputed in the backward pass: networks
of MBConv blocks then train in about two thirds of the memory. On a CPU this takes no extra time,
because less memory is read.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def norm_act(norm: nn.Module, activation: nn.Module, x: Tensor) -> Tensor:
    """Return `activation(norm(x))` with equal results and gradients.

    x  [n, channels, height, width].
    """
    lean = (
        isinstance(activation, nn.SiLU)
        and isinstance(norm, nn.BatchNorm2d)
        and norm.training
        and x.numel() > x.shape[1]  # for a single value per channel, torch reports the error
        and torch.is_grad_enabled()
        # on GPUs, under autocast and when compiled, the separate modules are better
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        # hooks must see the calls of the modules
        and not (norm._forward_hooks or activation._forward_hooks or activation._backward_hooks)
    )
    if not lean:
        return activation(norm(x))
    norm.num_batches_tracked.add_(1)
    return _NormSiLU.apply(x, norm.weight, norm.bias, norm)


class _NormSiLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        normed, batch_mean, inverse_std = torch.native_batch_norm(
            x, weight, bias, norm.running_mean, norm.running_var, True, norm.momentum, norm.eps
        )
        ctx.save_for_backward(x, weight, bias, batch_mean, inverse_std)
        ctx.eps = norm.eps
        return torch.ops.aten.silu_(normed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse_std = ctx.saved_tensors
        factor = weight * inverse_std
        shift = bias - mean * factor
        normed = torch.addcmul(shift[:, None, None], x, factor[:, None, None])
        inner = torch.ops.aten.silu_backward.grad_input(grad, normed, grad_input=normed)
        grads = torch.ops.aten.native_batch_norm_backward(
            inner, x, weight, None, None, mean, inverse_std, True, ctx.eps, [True, True, True]
        )
        return (*grads, None)
