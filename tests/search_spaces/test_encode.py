"""A network of a space is encoded to the genotype that decodes to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas.evaluators.surrogate import load_surrogate
from search_spaces.catalog import SPACES, space, zoo


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("small", [False, True])
def test_encoding_inverts_decoding(name: str, small: bool) -> None:
    the_space = space(name, resolution=32 if small else 224, width=0.5, small_images=small)
    for genotype in the_space.sample(50, np.random.default_rng(0)):
        network = the_space.decode(genotype)
        assert the_space.decode(the_space.encode(network)) == network


def test_published_networks_are_encoded() -> None:
    the_space = space("efficientnet")
    reference = the_space.encode(the_space.references["EfficientNet-B0"])
    assert (the_space.encode(zoo("efficientnet_b0")) == reference).all()
    assert load_surrogate().predict(zoo("efficientnet_b0")) == load_surrogate().predict(
        reference[None]
    )
    both = load_surrogate().predict([zoo("efficientnet_b0")] * 2)
    assert both[0].shape == (2,)


def test_networks_of_elsewhere_are_refused() -> None:
    the_space, b0 = space("efficientnet"), zoo("efficientnet_b0")
    with pytest.raises(ValueError, match="its resolution is 240, but 224 in all networks"):
        the_space.encode(replace(b0, resolution=240))
    with pytest.raises(ValueError, match="it has 6 stages"):
        the_space.encode(replace(b0, stages=b0.stages[:-1]))
    odd = replace(b0.stages[2], kernel=7)
    with pytest.raises(ValueError, match="its stage 2 is not in space 'efficientnet'"):
        load_surrogate().predict(replace(b0, stages=(*b0.stages[:2], odd, *b0.stages[3:])))
