"""References that a search from pretrained weights is compared with."""

from __future__ import annotations

import dataclasses

import numpy as np

from nas.objective import Objective
from nas.parents.references import SMALLER, UNIFORM, reference_genotypes
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from search_spaces.parent import parent_space

PARENT = dataclasses.replace(zoo("tf_efficientnet_lite0"), resolution=96, classes=10)


def test_references_are_the_most_expensive_of_their_kind_within_the_limits() -> None:
    space = parent_space(PARENT)
    found = reference_genotypes(space, Objective(35e6, "feasible"))
    smaller, uniform = (space.decode(found[name]) for name in (SMALLER, UNIFORM))
    assert smaller == dataclasses.replace(PARENT, resolution=64)
    assert cost(dataclasses.replace(PARENT, resolution=72)).flops > 35e6 >= cost(smaller).flops
    assert uniform.resolution == 96
    assert 20e6 < cost(uniform).flops <= 35e6
    layers = [stage.layers for stage in uniform.stages]
    assert sum(layers) <= sum(stage.layers for stage in PARENT.stages)


def test_a_kind_that_does_not_fit_is_left_out() -> None:
    space = parent_space(PARENT)
    assert set(reference_genotypes(space, Objective(2e6, "feasible"))) < {SMALLER, UNIFORM}
    whole = reference_genotypes(space, Objective(80e6, "feasible"))
    assert not np.any(whole[SMALLER])  # the parent itself
