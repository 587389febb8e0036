"""Test helper: costs by fvcore's trace of a network, as a reference, and random networks."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import conv_flop_jit, generic_activation_jit, linear_flop_jit

from search_spaces.architecture import (
    ACTIVATIONS,
    EXPANDING,
    GATES,
    HEAD_FORMS,
    OPS,
    PADDINGS,
    SKIPS,
    Architecture,
    Stage,
)
from search_spaces.cost import Cost
from search_spaces.network import build


def trace(
    architecture: Architecture,
    *,
    module: torch.nn.Module | None = None,
    size: tuple[int, int] | None = None,
) -> Cost:
    """Return FLOPs and activations by fvcore (convolutions and linears), params by `numel()`.

    module  network to trace; None: `build(architecture)`.
    size    height and width of the images; None: those of the architecture.
    """
    if module is None:
        with torch.device("meta"):  # no initial weights are needed
            module = build(architecture)
        module.to_empty(device="cpu")
    height, width = size or (architecture.resolution,) * 2
    images = torch.zeros(1, architecture.in_channels, height, width)
    counter = FlopCountAnalysis(module.eval(), images)
    counter.unsupported_ops_warnings(False).tracer_warnings("none")
    counter.uncalled_modules_warnings(False)
    for operator, flops in (("_convolution", conv_flop_jit), ("linear", linear_flop_jit)):
        counter.set_op_handle(f"aten::{operator}", partial(_both, flops))
    counts = counter.by_operator()
    params = sum(parameter.numel() for parameter in module.parameters())
    return Cost(flops=counts["flops"], params=params, activations=counts["activations"])


def _both(flops: Callable, inputs: list, outputs: list) -> Counter:
    """Return fvcore's two counts of an operator together, because a trace is slow."""
    counted = flops(inputs, outputs)  # a number, or a number by name
    total = sum(counted.values()) if isinstance(counted, Counter) else counted
    return Counter(flops=total, activations=_elements(inputs, outputs))


_elements = generic_activation_jit()


def random_architecture(rng: np.random.Generator) -> Architecture:
    """Return a small network with any ops, skips, conventions and odd sizes that are allowed."""
    stem = int(rng.integers(1, 20))
    channels = stem
    stages = []
    for index in range(rng.integers(1, 6)):
        stage = _random_stage(rng, channels)
        stages.append(dataclasses.replace(stage, joined=bool(index and rng.integers(2))))
        channels = stages[-1].channels
    head = int(rng.choice([0, rng.integers(1, 50)]))
    return Architecture(
        stem=stem,
        stages=tuple(stages),
        head=head,
        head_form=str(rng.choice(HEAD_FORMS)) if head else "spatial",
        resolution=int(rng.integers(65, 112)),  # 65 is enough for the largest total stride
        classes=int(rng.integers(1, 20)),
        in_channels=int(rng.integers(1, 5)),
        stem_kernel=int(rng.choice([1, 3, 5, 7])),
        stem_stride=int(rng.integers(1, 3)),
        stem_pool=bool(rng.integers(2)),
        activation=str(rng.choice(ACTIVATIONS)),
        padding=str(rng.choice(PADDINGS)),
    )


def _random_stage(rng: np.random.Generator, channels: int) -> Stage:
    """Return a stage with `channels` input channels."""
    stage = Stage(
        op="conv",
        layers=int(rng.integers(1, 4)),
        kernel=int(rng.choice([1, 3, 5, 7])),
        stride=int(rng.integers(1, 3)),
        expand=1,
        channels=int(rng.choice([channels, rng.integers(1, 25)])),
        se=float(rng.choice([0.0, 0.25, rng.uniform(0.01, 1.0)])),
        skip=str(rng.choice(SKIPS)),
        activation=str(rng.choice(["", "", *ACTIVATIONS])),
        gate=str(rng.choice(GATES)),
    )
    op = str(rng.choice(OPS))
    if op == "identity":
        return dataclasses.replace(stage, op=op, stride=1, channels=channels, se=0.0)
    if op == "bottleneck":
        expand = int(rng.integers(1, 5))
        return dataclasses.replace(
            stage, op=op, expand=expand, channels=expand * stage.channels, se=0.0
        )
    if op not in EXPANDING:
        return dataclasses.replace(stage, op=op)
    expand = float(rng.choice([rng.integers(1, 7), rng.uniform(1, 7)], p=[0.8, 0.2]))
    if op != "uib":
        return dataclasses.replace(stage, op=op, expand=expand)
    start, kernel = (int(rng.choice([0, 3, 5])) for _ in range(2))
    stride = stage.stride if start or kernel else 1
    return dataclasses.replace(
        stage, op=op, expand=expand, stride=stride, start_kernel=start, kernel=kernel
    )
