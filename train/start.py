"""Checks of a recipe against the initial weights: pretrained or random."""

from __future__ import annotations

from train.recipe import Recipe

PRETRAINED = ("finetune", "linear-probe")  # recipes for pretrained weights


def needs_weights(recipe: Recipe) -> bool:
    """Return whether the recipe is only useful with pretrained weights."""
    return recipe.name in PRETRAINED or recipe.train == "classifier"


def check_random_start(recipe: Recipe, program: str) -> None:
    """Raise ValueError if the recipe needs weights; `program` trains from random weights only."""
    if needs_weights(recipe):
        raise ValueError(
            f"{_option_of(recipe)}: needs pretrained weights, but {program} starts every network "
            "from random weights; use --recipe scratch (small data sets) or proxy, or train one "
            "network by train.run NETWORK --recipe finetune --init WEIGHTS"
        )


def check_start(recipe: Recipe, init: str | None) -> None:
    """Raise ValueError if the recipe does not fit the initial weights.

    init  source of pretrained weights; None or empty for random ones.
    """
    if init:
        check_pretrained_start(recipe)
    if needs_weights(recipe) and not init:
        raise ValueError(
            f"--init is missing: {_option_of(recipe)} needs pretrained weights; add --init RUN, "
            "--init FILE.safetensors, --init timm:NAME or --init package:efficientnet_lite0, or "
            "use --recipe scratch (small data sets) or proxy"
        )


def check_pretrained_start(recipe: Recipe) -> None:
    """Raise ValueError if the recipe replaces pretrained weights."""
    if recipe.stem != "random":
        raise ValueError(
            f"stem: {recipe.stem} is not allowed for a network that starts from given weights, "
            "which it would replace; use --set stem=random"
        )


def _option_of(recipe: Recipe) -> str:
    return "--set train=classifier" if recipe.name not in PRETRAINED else f"--recipe {recipe.name}"
