"""Images loaded and scored as in timm: torchvision's transforms image by image in a DataLoader."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

from train.data import Split
from train.recipe import Recipe
from vbs.sockets import short_folder_for_sockets


class PerImage(Dataset):
    """Images of a split, one at a time through a transform, as from a folder of image files."""

    def __init__(self, split: Split, transform: transforms.Compose) -> None:
        self.images = [split.picture(index) for index in range(len(split))]
        self.targets = split.targets.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.targets[index]


def per_image(split: Split, recipe: Recipe, side: int, *, training: bool) -> PerImage:
    """Return images with reflected padding by an eighth, crop, flip and normalisation.

    Without training: only the normalisation.
    """
    steps: list[Any] = [transforms.ToPILImage()]
    if training:
        steps += [
            transforms.RandomCrop(side, padding=side // 8, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(),
        ]
    steps += [transforms.ToTensor(), transforms.Normalize(recipe.mean, recipe.std)]
    return PerImage(split, transforms.Compose(steps))


def training_loader(
    images: PerImage, batch: int, *, seed: int, workers: int = 0, steps: int = 0
) -> DataLoader:
    """Return shuffled whole batches; `steps` of them an epoch (0: all images once)."""
    if workers:
        short_folder_for_sockets()
    generator = torch.Generator().manual_seed(seed)
    count = steps * batch or None
    sampler = RandomSampler(images, num_samples=count, generator=generator)
    return DataLoader(
        images,
        batch,
        sampler=sampler,
        num_workers=workers,
        drop_last=True,
        generator=generator,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def timm_accuracy(network: nn.Module, images: PerImage, device: torch.device) -> float:
    """Return top-1 in percent by timm's `accuracy`, averaged over the images."""
    from timm.utils import AverageMeter, accuracy

    network.eval()
    meter = AverageMeter()
    with torch.inference_mode():
        for batch, targets in DataLoader(images, 256):
            logits = network(batch.to(device).contiguous(memory_format=torch.channels_last))
            (top1,) = accuracy(logits, targets.to(device), topk=(1,))
            meter.update(float(top1), len(batch))
    return float(meter.avg)
