"""The recipe in a printed next command trains long enough for the data."""

from __future__ import annotations

import pytest

from train.recipe import change, preset
from train.suggested import STEPS, recipe_words


@pytest.mark.parametrize("images", [10, 72, 648, 5_000, 30_000, 45_000])
def test_the_suggested_training_has_enough_steps(images: int) -> None:
    words = recipe_words(images, changes=["flip=false", "epochs=2"])
    assert words[:2] == ["--recipe", "proxy"]
    recipe = change(preset("proxy"), words[3::2])
    assert recipe.epochs * (images // recipe.batch) >= STEPS
    assert recipe.batch <= images
    assert not recipe.flip


def test_large_sets_get_a_published_recipe_and_a_chosen_one_stays() -> None:
    assert recipe_words(1_200_000) == ["--recipe", "efficientnet"]
    assert recipe_words(1_200_000, large="efficientnetv2") == ["--recipe", "efficientnetv2"]
    words = recipe_words(648, recipe="finetune", changes=["epochs=4"])
    assert words == ["--recipe", "finetune", "--set", "epochs=4"]
