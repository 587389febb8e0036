"""Spaces: genotypes, the network each stands for, and tabulated costs equal to exact ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from search_spaces.catalog import SPACES, space, zoo
from search_spaces.cost import Cost, cost
from search_spaces.space import SearchSpace
from search_spaces.staged import StagedSpace
from tests.oracles import trace

FORMS = {
    "imagenet": {},
    "cifar": {"resolution": 32, "classes": 10, "width": 0.5, "small_images": True},
}


SLOW = pytest.mark.slow


def make(name: str, form: str) -> StagedSpace:
    return space(name, **FORMS[form])


@pytest.mark.parametrize(
    ("form", "count"),
    [*((form, 1_000) for form in FORMS), pytest.param("imagenet", 10_000, marks=SLOW)],
)
@pytest.mark.parametrize("name", SPACES)
def test_tabulated_costs_equal_exact_costs(name: str, form: str, count: int) -> None:
    the_space = make(name, form)
    genotypes = the_space.sample(count, np.random.default_rng(1))
    costs = the_space.costs(genotypes)
    exact = np.array([cost(the_space.decode(genotype)) for genotype in genotypes])
    for column, field in enumerate(Cost._fields):
        np.testing.assert_array_equal(getattr(costs, field), exact[:, column])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("resolution", "count"),
    [(75, 6), pytest.param(75, 50, marks=SLOW), pytest.param(224, 50, marks=SLOW)],
)
@pytest.mark.parametrize("name", SPACES)
def test_costs_equal_fvcore_on_random_architectures(name: str, resolution: int, count: int) -> None:
    the_space = space(name, resolution=resolution, width=0.5, classes=10)
    genotypes = the_space.sample(count, np.random.default_rng(resolution))
    costs = the_space.costs(genotypes)
    for row, genotype in enumerate(genotypes):
        traced = trace(the_space.decode(genotype))
        assert Cost(*(int(getattr(costs, field)[row]) for field in Cost._fields)) == traced


@pytest.mark.parametrize("name", SPACES)
def test_genotypes_and_choices_round_trip(name: str) -> None:
    the_space = space(name)
    genotypes = the_space.sample(200, np.random.default_rng(2))
    assert genotypes.dtype == np.int8
    for genotype in genotypes:
        np.testing.assert_array_equal(the_space.encode(the_space.choices_of(genotype)), genotype)
    assert len(np.unique(the_space.keys(genotypes))) == len({g.tobytes() for g in genotypes})


@pytest.mark.parametrize("name", SPACES)
def test_mutants_are_other_networks_one_decision_away(name: str) -> None:
    the_space = space(name)
    genotypes = the_space.sample(500, np.random.default_rng(3))
    mutants = the_space.mutate(genotypes, np.random.default_rng(4))
    np.testing.assert_array_equal(mutants, the_space.canonical(mutants))
    differing = (mutants != genotypes).sum(1)
    # the expansion of a MnasNet stage follows its op: such a mutant differs in both
    assert (differing >= 1).all()
    # and the two kernels that of MobileNetV4
    assert (differing <= {"mnasnet": 2, "mobilenetv4": 3}.get(name, 1)).all()
    again = the_space.mutate(genotypes, np.random.default_rng(4))
    np.testing.assert_array_equal(mutants, again)
    around = the_space.neighbours(genotypes[0])
    assert len(np.unique(the_space.keys(around))) == len(around)
    assert the_space.keys(mutants[:1])[0] in the_space.keys(around)


def test_sizes() -> None:
    assert space("efficientnet").size == 36**6 * 48
    # 432 forms a stage (MnasNet, section 4.1); first and last cannot have fewer layers
    assert space("mnasnet").size == 432**5 * 288**2


def test_stages_of_mobilenetv4_take_the_papers_four_forms() -> None:
    the_space = space("mobilenetv4")
    kernels: dict[int, set[tuple[bool, bool]]] = {}
    for genotype in the_space.sample(300, np.random.default_rng(0)):
        for index, stage in enumerate(the_space.decode(genotype).stages):
            if stage.op == "uib":
                found = kernels.setdefault(index, set())
                found.add((stage.start_kernel > 0, stage.kernel > 0))
    every = {(False, False), (True, False), (False, True), (True, True)}
    assert kernels == {1: every - {(False, False)}, 2: every - {(False, False)}} | {
        3: every,
        4: every - {(False, False)},
        5: every,
    }
    reference = the_space.encode(the_space.references["near MobileNetV4-Conv-M"])
    found, published = cost(the_space.decode(reference)), cost(zoo("mobilenetv4_conv_medium"))
    assert found.params / published.params == pytest.approx(1, abs=0.05)


def test_samples_are_uniform_over_networks() -> None:
    genotypes = space("mnasnet").sample(40_000, np.random.default_rng(5))
    ops = np.bincount(genotypes[:, 0]) / len(genotypes)
    np.testing.assert_allclose(ops, [0.25, 0.25, 0.5], atol=0.01)  # mbconv has two expansions


@pytest.mark.parametrize(
    ("name", "reference", "network"),
    [
        ("efficientnet", "EfficientNet-B0", "efficientnet_b0"),
        ("efficientnetv2", "EfficientNetV2-base", "tf_efficientnetv2_b0"),
        ("mnasnet", "MobileNetV2 (ReLU)", "mobilenetv2_100"),
    ],
)
def test_spaces_contain_published_networks(name: str, reference: str, network: str) -> None:
    the_space = space(name)
    decoded = the_space.decode(the_space.encode(the_space.references[reference]))
    assert cost(decoded) == cost(zoo(network))


def test_b0_is_the_very_architecture() -> None:
    the_space = space("efficientnet")
    b0 = the_space.decode(the_space.encode(the_space.references["EfficientNet-B0"]))
    assert b0 == zoo("efficientnet_b0")


def test_small_images_keep_their_size_longer() -> None:
    usual = space("efficientnet", resolution=32)
    relaxed = space("efficientnet", resolution=32, small_images=True)
    genotype = usual.sample(1, np.random.default_rng(0))[0]

    def last_size(the_space: StagedSpace) -> int:
        blocks = the_space.decode(genotype).blocks()
        return [block.out_size for block in blocks if block.stage >= 0][-1]

    assert (last_size(usual), last_size(relaxed)) == (1, 4)


def test_cost_range_is_exact_where_it_can_be_enumerated() -> None:
    small = SearchSpace(
        "small", {"a": (1, 2, 3), "b": (5, 7)}, dict, cost=lambda net: Cost(net["a"] * net["b"])
    )
    assert small.cost_range("flops") == (5, 21)


def test_params_equal_those_of_4623_trained_networks(shared_data: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(shared_data / "imagenet_measurements" / "train.parquet")
    the_space = space("efficientnet")
    columns = [
        table[decision].map({option: i for i, option in enumerate(options)}).to_numpy()
        for decision, options in the_space.choices.items()
    ]
    params = the_space.costs(np.stack(columns, axis=1).astype(np.int8)).params
    np.testing.assert_allclose(params / 1e6, table["params"], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"block0_e": 2}, r"block0_e: 2 is not one of \(1, 4, 6\)"),
        ({"block9_e": 1}, "block9_e: unknown decision"),
        ({"block0_e": 1}, "block0_k: this decision .* is missing"),
    ],
)
def test_encode_names_what_is_wrong(choices: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        space("efficientnet").encode(choices)


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean efficientnet"):
        space("eficientnet")
    with pytest.raises(ValueError, match=r"did you mean .*efficientnet_b0"):
        zoo("efficentnet_b0")


@pytest.mark.parametrize("choices", [{}, {"a": ()}, {"a": (1, 1)}, {"a": tuple(range(128))}])
def test_impossible_choices_are_refused(choices: dict) -> None:
    with pytest.raises(ValueError, match="choices"):
        SearchSpace("bad", choices, dict)


def test_conditions_are_checked() -> None:
    choices = {"op": ("conv", "mbconv"), "expand": (3, 6)}
    with pytest.raises(ValueError, match="must come before"):
        SearchSpace("bad", choices, dict, only_if={"op": ("expand", (3,))})
    with pytest.raises(ValueError, match="not options of"):
        SearchSpace("bad", choices, dict, only_if={"expand": ("op", ("pool",))})
    good = SearchSpace("good", choices, dict, only_if={"expand": ("op", ("mbconv",))})
    assert good.size == 3
    assert good.encode({"op": "conv"}).tolist() == [0, 0]


def milliseconds(genotypes: np.ndarray) -> np.ndarray:
    return 1e-3 * (1 + genotypes.sum(1))


@pytest.mark.parametrize("name", SPACES)
def test_a_measured_space_is_the_same_space_with_costs_more(name: str) -> None:
    plain = space(name)
    measured = plain.measured_by(latency=milliseconds)
    genotypes = plain.sample(50, np.random.default_rng(0))
    assert measured.name == plain.name
    assert isinstance(measured, StagedSpace)
    np.testing.assert_array_equal(measured.keys(genotypes), plain.keys(genotypes))
    assert measured.decode(genotypes[0]) == plain.decode(genotypes[0])
    costs = measured.costs(genotypes)
    np.testing.assert_array_equal(costs.flops, plain.costs(genotypes).flops)
    np.testing.assert_array_equal(costs.get("latency"), milliseconds(genotypes))
    both = measured.measured_by(step_time=lambda genotypes: 3 * milliseconds(genotypes))
    assert both.cost_names == ("flops", "params", "activations", "latency", "step_time")
    assert plain.cost_names == ("flops", "params", "activations")
    assert not plain.costs(genotypes).extra


def test_the_range_of_a_measured_cost() -> None:
    measured = space("efficientnet").measured_by(latency=milliseconds)
    most = int((measured.option_counts - 1).sum())
    assert measured.cost_range("latency") == pytest.approx((1e-3, 1e-3 * (1 + most)))
    assert isinstance(measured.cost_range("flops")[0], int)
    with pytest.raises(ValueError, match="'step_time' is unknown here"):
        measured.cost_range("step_time")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(2), r"shape \(2,\) for 3"),
        (np.array([1, 0, 1]), "returned 0.0"),
        (np.array([1, np.nan, 1]), "returned nan"),
    ],
)
def test_what_a_measurement_may_not_answer(values: np.ndarray, message: str) -> None:
    measured = space("efficientnet").measured_by(latency=lambda genotypes: values)
    with pytest.raises(ValueError, match=message):
        measured.costs(np.zeros((3, 28), np.int8))
    with pytest.raises(ValueError, match="'speed' is not a measured cost"):
        measured.measured_by(speed=milliseconds)
