"""Recipe options that printed commands suggest for a full training."""

from __future__ import annotations

import math
from collections.abc import Sequence

from train.recipe import preset

LARGE = 500_000  # training images from which the published recipes are suggested
STEPS, BATCH = 2_000, 32  # fewest optimizer steps of a full training, and its batch


def recipe_words(
    images: int, *, recipe: str = "proxy", changes: Sequence[str] = (), large: str = "efficientnet"
) -> list[str]:
    """Return options of train.run and train.ray_tune, e.g. ["--recipe", "proxy", "--set", ...].

    The short recipe `proxy` is lengthened to STEPS steps if its epochs give fewer, and replaced
    by the published recipe `large` for LARGE data sets. Other recipes are unchanged.

    images   number of training images.
    recipe   recipe of the search.
    changes  changes of the recipe, "FIELD=VALUE"; changes of epochs and batch are dropped for
             `proxy`.
    large    recipe for large data sets.
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
