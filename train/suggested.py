"""The recipe that printed commands name for a full training on so many images."""

from __future__ import annotations

import math
from collections.abc import Sequence

from train.recipe import preset

LARGE = 500_000  # training images from which on the published recipes suit
STEPS, BATCH = 2_000, 32  # least optimizer steps of a training that is worth it, and their batch


def recipe_words(
    images: int, *, recipe: str = "proxy", changes: Sequence[str] = (), large: str = "efficientnet"
) -> list[str]:
    """Options of train.run and train.ray_tune, such as ["--recipe", "proxy", "--set", "epochs=90"].

    The short recipe `proxy` is lengthened to STEPS steps where its own epochs give fewer, and
    replaced by the published recipe `large` for LARGE sets. Another recipe stays as it is.

    images   training images.
    changes  of the recipe, "FIELD=VALUE", without those of the length of a search's trainings.
    """
    others = [text for text in changes if text.partition("=")[0] not in ("epochs", "batch")]
    if recipe != "proxy":
        return _words(recipe, changes)
    if images >= LARGE:
        return _words(large, others)
    usual = preset("proxy")
    if usual.epochs * (images // usual.batch) >= STEPS:
        return _words("proxy", others)
    batch = min(BATCH, max(1, images))
    epochs = math.ceil(STEPS / max(1, images // batch))
    return _words("proxy", [*others, f"batch={batch}", f"epochs={epochs}"])


def _words(recipe: str, changes: Sequence[str]) -> list[str]:
    return ["--recipe", recipe, *(word for text in changes for word in ("--set", text))]
