"""One optimizer step: losses of its batches, their gradients, and the update of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.data.augment import mix
from train.distill import resized
from train.evaluate import autocast
from train.progressive import Phase
from train.state import Run, batches_of_step
from train.steps import seed_of


def side_of_images(run: Run, now: Phase) -> int:
    """Return the size in pixels of decoded training images; the teacher may need larger ones."""
    return now.resolution if run.teacher is None else max(now.resolution, run.teacher.side)


def optimizer_step(
    run: Run, forward: nn.Module, batches: Iterator[tuple[Tensor, Tensor]], now: Phase
) -> Tensor:
    """Run one step on the batches that it accumulates; return their mean loss."""
    recipe, here = run.recipe, run.world
    count = batches_of_step(run)
    total = torch.zeros((), device=here.device)
    for part in range(count):
        images, targets = next(batches)
        # dropout and stochastic depth use torch's global generator
        torch.manual_seed(seed_of(recipe, run.step) + (part * here.size + here.rank) * 2**20)
        if now.mixup or recipe.cutmix:
            images, targets = mix(
                images,
                targets,
                len(run.data.classes),
                mixup=now.mixup,
                cutmix=recipe.cutmix,
                seed=seed_of(recipe, run.step),
            )
        last = part == count - 1
        waiting = contextlib.nullcontext() if last or here.size == 1 else forward.no_sync()
        with waiting, run.norms.batch(run.step * count + part):
            for number, loss in enumerate(_losses(run, forward, images, targets, now)):
                (loss / count).backward()
                if not number:
                    total += loss.detach() / count
    if recipe.clip_norm:
        nn.utils.clip_grad_norm_(run.network.parameters(), recipe.clip_norm, foreach=True)
    run.optimizer.step()
    run.optimizer.zero_grad()
    if run.average is not None:
        run.average.update(run.network, run.step)
    return total


def _losses(
    run: Run, forward: nn.Module, images: Tensor, targets: Tensor, now: Phase
) -> Iterator[Tensor]:
    """Yield the loss of a batch, then the loss of each sub-network.

    Call backward on each before the next is computed, so that only one graph is in memory.
    """
    theirs = None
    with autocast(run.world.device, run.precision):
        if run.teacher is not None:
            theirs = run.teacher.logits(images)
            images = resized(images, now.resolution)
        logits = forward(images).float()
    loss = F.cross_entropy(logits, targets, label_smoothing=run.recipe.label_smoothing)
    if run.teacher is not None and theirs is not None:
        loss = run.teacher.loss(logits, theirs, loss)
    yield loss
    if run.elastic is not None:
        seed = seed_of(run.recipe, run.step)
        yield from run.elastic.losses(
            run.network, images, logits, seed=seed, precision=run.precision
        )
