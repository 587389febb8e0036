"""Knowledge distillation: a trained network's outputs as targets in addition to the labels.

Source: Hinton, Vinyals & Dean 2015 (Distilling the Knowledge in a Neural Network). The teacher gets
the images with the student's augmentation (Beyer et al. 2022, Knowledge distillation: A good
teacher is patient and consistent), at its own input size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.network import Network
from train.parents import Parent, load_parent
from train.recipe import Recipe
from vbs.text import quoted


@dataclass(frozen=True)
class Teacher:
    """A trained network in evaluation mode, with the settings of the distillation.

    side          size in pixels of its input images.
    scale, shift  of each channel, [channels, 1, 1]; they convert the student's normalised images
                  to the teacher's normalisation.
    temperature   divisor of both networks' logits.
    weight        weight of the teacher's targets in the loss, from 0 to 1; the labels have the
                  rest.
    """

    network: Network
    side: int
    scale: Tensor
    shift: Tensor
    temperature: float
    weight: float

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Return logits float32 [n, classes] of the student's images, resized to `side`."""
        images = resized(images, self.side) * self.scale + self.shift
        return self.network(images).float()

    def loss(self, logits: Tensor, theirs: Tensor, label_loss: Tensor) -> Tensor:
        """Return the student's loss: label loss and divergence from the teacher, weighted.

        logits, theirs  float32 [n, classes] of the student and of the teacher.

        The divergence is multiplied by the squared temperature, so that the size of its gradients
        does not depend on the temperature.
        """
        heat = self.temperature
        divergence = F.kl_div(
            F.log_softmax(logits / heat, 1),
            F.log_softmax(theirs / heat, 1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - self.weight) * label_loss + self.weight * heat**2 * divergence


def check_teacher(recipe: Recipe, classes: int) -> None:
    """Raise ValueError if `load_teacher` would."""
    if recipe.teacher:
        _parent_of(recipe, classes)


def load_teacher(recipe: Recipe, classes: int, device: torch.device) -> Teacher | None:
    """Load the teacher that a recipe names; None if it names none.

    Raises ValueError if it cannot be loaded or has another number of classes.
    """
    return teacher_of(_parent_of(recipe, classes), recipe, device) if recipe.teacher else None


def _parent_of(recipe: Recipe, classes: int) -> Parent:
    """Return the network that a recipe names as its teacher."""
    try:
        parent = load_parent(recipe.teacher)
    except ValueError as error:
        raise ValueError(f"teacher: {str(error).removeprefix('parent: ')}") from None
    if parent.architecture.classes != classes:
        raise ValueError(
            f"teacher: {quoted(recipe.teacher)} has {parent.architecture.classes} classes, and the "
            f"data have {classes}"
        )
    return parent


def teacher_of(parent: Parent, recipe: Recipe, device: torch.device) -> Teacher:
    """Return a loaded network as the teacher of a recipe."""
    network = parent.network().to(device, memory_format=torch.channels_last).requires_grad_(False)
    own_mean, own_std = (torch.tensor(each, device=device) for each in (recipe.mean, recipe.std))
    mean = own_mean if parent.mean is None else torch.tensor(parent.mean, device=device)
    std = own_std if parent.std is None else torch.tensor(parent.std, device=device)
    return Teacher(
        network,
        parent.architecture.resolution,
        (own_std / std)[:, None, None],
        ((own_mean - mean) / std)[:, None, None],
        recipe.temperature,
        recipe.teacher_weight,
    )


def resized(images: Tensor, side: int) -> Tensor:
    """Return images [n, channels, height, width] resized so that the longer side is `side`."""
    longer = max(images.shape[-2:])
    if longer == side:
        return images
    size = [max(1, round(each * side / longer)) for each in images.shape[-2:]]
    return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
