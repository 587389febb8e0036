"""A recipe of your own: a published one with other fields.

vbs train mobilenet_v2 --width 0.1 --data imagefolder:photos --recipe my_recipe.py:gentle
"""

from __future__ import annotations

from dataclasses import replace

from train.recipe import Recipe, preset


def gentle() -> Recipe:
    """Return recipe `scratch` with weaker augmentation and half of its learning rate."""
    scratch = preset("scratch")
    return replace(scratch, name="gentle", lr=scratch.lr / 2, crop_area=0.5, label_smoothing=0.0)
