"""Test helper: a space that is not made of stages."""

from search_spaces.architecture import Architecture, Stage
from search_spaces.space import SearchSpace


def plain(resolution: int = 32, classes: int = 3) -> SearchSpace:
    """Return a space of networks of one convolution."""

    def decode(choices: dict[str, int]) -> Architecture:
        stages = (Stage("conv", 1, 3, 1, 1, 8, se=0.0),)
        return Architecture(choices["stem"], stages, 8, resolution=resolution, classes=classes)

    settings = {"resolution": resolution, "classes": classes}
    return SearchSpace("plain", {"stem": (8, 16)}, decode, settings=settings)
