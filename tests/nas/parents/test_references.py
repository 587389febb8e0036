"""References that a search from pretrained weights is compared with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from nas.evaluators.base import Evaluations
from nas.history import History
from nas.objective import Objective
from nas.parents.measured import chosen_finalists, distinct
from nas.parents.references import SMALLER, UNIFORM, reference_genotypes
from nas.parents.report import notes
from nas.parents.result import ParentResult, TargetResult, Tuned
from nas.search.config import SearchConfig
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


def test_a_reference_that_was_found_stays_in_the_table(tmp_path: Path) -> None:
    space, objective = parent_space(PARENT), Objective(35e6, "feasible")
    uniform = reference_genotypes(space, objective)[UNIFORM]
    history, nothing = History(space, objective), np.zeros(1)
    history.extend(
        uniform[None], Evaluations(nothing + 90, nothing, nothing), space.costs(uniform[None])
    )
    config = SearchConfig(parent="x.safetensors", data="imagefolder:x", target_flops=35e6)
    named, _ = chosen_finalists(history, config, tmp_path)
    assert [*named] == ["found 1", SMALLER, UNIFORM]
    assert len(distinct(list(named.values()))) == 2  # each is trained once
    networks = [
        Tuned(kind, space.decode(named[name]), {"flops": 1.0}, [90.0], [], tmp_path)
        for kind, name in (("found", "found 1"), (SMALLER, SMALLER), (UNIFORM, UNIFORM))
    ]
    target = TargetResult("35M", tmp_path, networks)
    result = ParentResult(tmp_path, config, networks[0], [target], "finished", "", 1.0)
    assert notes(result)[:2] == [
        "target 35M: +0.00 points against the parent at a lower resolution, with one seed each.",
        "target 35M: the network found is uniform shrinking of the parent.",
    ]
