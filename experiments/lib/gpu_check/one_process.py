"""Check that DistributedDataParallel in one process, over NCCL, does not change a training.

`train` connects processes only if there are several. This check connects one process to itself, so
that NCCL, the wrapped network, reductions and broadcasts run on the device.
"""

from __future__ import annotations

import torch
from torch import distributed as dist
from torch import nn

from experiments.lib.gpu_check.loop import short_recipe
from experiments.lib.gpu_check.step import Conditions, Finding, Keep, finding
from experiments.lib.gpu_check.synthetic import learnable, network_for
from train.data import Data
from train.distributed import World, pick_device
from train.optimizer_step import optimizer_step
from train.progressive import phase
from train.recipe import Recipe
from train.state import Run, begin, resolved
from train.steps import augmentation, order_of, parts

STEPS = 8
EXACT = 1e-5  # allowed difference of weights, relative to the largest in the tensor
TIMES = 3.0


def check(here: Conditions, keep: Keep) -> Finding:
    """Return the largest difference of weights after some steps with and without it."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    network = network_for(here)
    data = learnable(here.pick(2048, 64), 0, side=network.resolution)
    recipe = resolved(short_recipe(here, "precision=float32"), network)
    plain, again = (_trained(here, data, recipe) for _ in range(2))
    device = pick_device(here.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        shared = _trained(here, data, recipe, shared=True)
        collectives = _collectives(device)
    finally:
        dist.destroy_process_group()
    repeated, apart = _difference(plain, again), _difference(plain, shared)
    allowed = max(EXACT, TIMES * repeated)
    return finding(
        f"{backend}: weights differ by {apart:.1e} after {plain.step} steps "
        f"(repeated {repeated:.1e})",
        goal=f"{allowed:.1e}, sums and broadcasts right",
        passed=apart <= allowed and collectives,
        backend=backend,
        shared=apart,
        repeated=repeated,
        collectives=collectives,
    )


def _trained(here: Conditions, data: Data, recipe: Recipe, *, shared: bool = False) -> Run:
    """Return a run after some steps of the trainer."""
    device = pick_device(here.device)
    run = begin(network_for(here), data, recipe, World(0, 1, device), 0, None)
    run.network.train()
    forward: nn.Module = run.network
    if shared:
        on = [device] if device.type == "cuda" else None
        forward = nn.parallel.DistributedDataParallel(forward, device_ids=on)
    now = phase(recipe, 0)
    order = order_of(run, 0)[: here.pick(STEPS, 2)]
    batches = data.train.batches(parts(run, order), augmentation(recipe, now), device=device)
    for _ in order:
        optimizer_step(run, forward, batches, now)
        run.step += 1
    return run


def _collectives(device: torch.device) -> bool:
    """Return whether a sum, a broadcast and a barrier of one process leave a value unchanged."""
    values = torch.arange(4.0, device=device)
    dist.all_reduce(values)
    dist.broadcast(values, 0)
    dist.barrier()
    return values.tolist() == [0.0, 1.0, 2.0, 3.0]


def _difference(one: Run, other: Run) -> float:
    right = other.network.state_dict()
    return max(
        float((value - right[name]).abs().max() / value.abs().max().clamp(min=1e-6))
        for name, value in one.network.state_dict().items()
        if value.is_floating_point()
    )
