"""Conversion of options to the network and the recipe that they describe."""

from __future__ import annotations

from dataclasses import replace

from search_spaces.architecture import Architecture
from search_spaces.loading import load
from search_spaces.scale import for_small_images, scale
from train.options import RecipeOptions, SizeOptions
from train.recipe import Recipe, change, preset


def recipe_of(options: RecipeOptions, network: str, *, resolution: int | None = None) -> Recipe:
    """Return the recipe by name, variant and changes, for a network of the zoo.

    network     name in the zoo.
    resolution  size of the images in pixels; None: the published sizes.

    Raises ValueError for an unknown name, variant or field.
    """
    if options.variant and options.recipe != "efficientnetv2":
        raise ValueError(
            f"--variant: recipe {options.recipe} has no variants; only efficientnetv2 has"
        )
    recipe = preset(options.recipe, network=network, variant=options.variant or "paper")
    if resolution is not None:
        recipe = replace(recipe, resolution=resolution, eval_resolution=resolution)
    return change(recipe, options.changes)


def architecture_of(network: str, size: SizeOptions) -> Architecture:
    """Return the network by its zoo name or JSON file, in the requested size.

    Raises ValueError if there is no such network.
    """
    return sized(load(network), size)


def sized(architecture: Architecture, size: SizeOptions) -> Architecture:
    """Return the architecture with the requested width, depth, strides and resolution."""
    depth, width = size.depth, size.width
    architecture = scale(
        architecture,
        depth=1.0 if depth is None else depth,
        width=1.0 if width is None else width,
    )
    if size.small_images:
        architecture = for_small_images(architecture)
    if size.resolution is not None:
        architecture = replace(architecture, resolution=size.resolution)
    return architecture
