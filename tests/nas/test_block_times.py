"""Block times: tables, their files, the measured blocks, and sums that predict networks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from nas.block_times.cover import cover
from nas.block_times.lookup import kept_path, times_for
from nas.block_times.measure import MeasuringPlan, calibrated, errors, kendall_tau, measure, shares
from nas.block_times.table import Times, block_name, block_names, read_times
from nas.block_times.timing import Setting, Subject, images_for, segments
from nas.objective import Objective
from search_spaces.architecture import Architecture, Stage
from search_spaces.catalog import SPACES, space, zoo
from search_spaces.cost import Cost, blocks_cost, cost, layers_of
from search_spaces.network import build
from search_spaces.space import SearchSpace
from search_spaces.staged import StagedSpace
from tests.nas.toys import made_up
from tests.oracles import random_architecture
from tests.speed import assert_quick
from train.optimizer import optimizer
from train.recipe import change, preset


def tiny() -> StagedSpace:
    """Return a space of two stages with four forms each, which runs fast."""
    choices = {f"block{i}_{k}": v for i in (0, 1) for k, v in (("k", (3, 5)), ("l", (1, 2)))}
    frame = {"stem": 8, "head": 16, "resolution": 16, "classes": 10}

    def stage_of(index: int, own: dict) -> Stage:
        return Stage("mbconv", own["l"], own["k"], 2 - index, 4, 8 + 8 * index, 0.25)

    return StagedSpace("tiny", choices, stage_of, frame=frame)


def test_a_network_takes_what_its_blocks_take() -> None:
    b0 = zoo("efficientnet_b0")
    names = [block_name(block, b0) for block in b0.blocks()]
    assert names[0] == "stem k3 s2 3>3>32 se0 skip=none 224px silu symmetric"
    assert names[2] == "mbconv k3 s2 16>96>24 se4 skip=none 112px silu symmetric"
    distinct = dict.fromkeys(names)
    assert len(distinct) == 3 + 2 * 5 + 2  # a stage has two forms, first and last have one layer
    blocks = {name: (0.001 * (index + 1), 0.0003) for index, name in enumerate(distinct)}
    seconds, spread = Times("latency", blocks, constant=0.5, scale=2.0).predict(b0)
    assert seconds == pytest.approx(0.5 + 2 * sum(blocks[name][0] for name in names))
    assert spread == pytest.approx(2 * 0.0003 * len(names) ** 0.5)


def test_blocks_of_other_conventions_are_other_blocks() -> None:
    b0 = zoo("efficientnet_b0")
    table = Times("latency", {block_name(block, b0): (0.001, 0.0) for block in b0.blocks()})
    for other in ({"activation": "relu"}, {"padding": "same"}, {"resolution": 192}):
        with pytest.raises(ValueError, match=r"has no '.*measure a table of this space"):
            table.predict(dataclasses.replace(b0, **other))
    with pytest.raises(ValueError, match="has no 'classifier"):
        table.predict(dataclasses.replace(b0, classes=10))


@pytest.mark.parametrize("name", SPACES)
def test_look_ups_equal_sums_network_by_network(name: str) -> None:
    the_space = space(name)
    table = made_up(the_space, constant=0.01, scale=1.5)
    genotypes = the_space.sample(300, np.random.default_rng(1))
    one_by_one = [table.predict(the_space.decode(genotype))[0] for genotype in genotypes]
    np.testing.assert_allclose(table.of(the_space)(genotypes), one_by_one, rtol=1e-12)
    plain = SearchSpace(name, the_space.choices, the_space._decode, only_if=the_space._only_if)
    np.testing.assert_allclose(table.of(plain)(genotypes[:30]), one_by_one[:30], rtol=1e-12)


def test_a_hundred_thousand_networks_take_no_time() -> None:
    the_space = space("efficientnet")
    seconds = made_up(the_space).of(the_space)
    genotypes = the_space.sample(100_000, np.random.default_rng(0))
    assert seconds(genotypes).shape == (100_000,)
    assert_quick(lambda: seconds(genotypes), 1)  # 30 ms on an idle machine


def test_a_measured_space_keeps_limits_in_seconds() -> None:
    the_space = space("efficientnet")
    table = made_up(the_space)
    measured = the_space.measured_by(latency=table.of(the_space))
    genotypes = measured.sample(500, np.random.default_rng(2))
    costs = measured.costs(genotypes)
    limit = float(np.median(costs.get("latency")))
    kept = Objective(limit, "feasible", of="latency").feasible(costs)
    assert 0.4 < kept.mean() < 0.6
    assert all(table.predict(measured.decode(row))[0] <= limit for row in genotypes[kept][:20])
    low, high = measured.cost_range("latency")
    assert low <= costs.get("latency").min() < costs.get("latency").max() <= high


def test_a_table_of_another_space_is_refused_at_once() -> None:
    table = made_up(space("efficientnet"))
    with pytest.raises(ValueError, match=r"blocks are missing.*measure a table of this space"):
        table.of(space("efficientnet", resolution=32))
    words = SearchSpace(
        "words", {"a": ("x", "y")}, lambda choices: choices["a"], cost=lambda network: Cost(1)
    )
    with pytest.raises(ValueError, match="decodes to str, which has no blocks"):
        table.of(words)(np.zeros((1, 1), np.int8))


def test_tables_survive_the_file(tmp_path: Path) -> None:
    table = made_up(
        space("efficientnet"),
        constant=1e-3,
        settings={"batch": 1},
        machine="mine",
        checked={"median_error": 0.03},
    )
    table.write(tmp_path / "times.json")
    again = read_times(tmp_path / "times.json")
    assert again == table
    assert again.digest == table.digest
    assert again.digest != dataclasses.replace(table, scale=1.1).digest


def test_the_least_that_somebody_else_must_write(tmp_path: Path) -> None:
    b0 = zoo("efficientnet_b0")
    blocks = {block_name(block, b0): [0.002, 0] for block in b0.blocks()}
    path = tmp_path / "phone.json"
    path.write_text(json.dumps({"format": "block times 1", "kind": "latency", "blocks": blocks}))
    times = times_for(space("efficientnet"), kind="latency", path=path)
    assert times.predict(b0)[0] == pytest.approx(0.002 * len(list(b0.blocks())))
    with pytest.raises(ValueError, match="contains latency; use a file of step_time"):
        times_for(space("efficientnet"), kind="step_time", path=path)


GOOD = {"format": "block times 1", "kind": "latency", "blocks": {"stem": [0.1, 0.0]}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "null",
        "[" * 100_000,
        '{"format": "block times 1"}',
        "\x00",
        json.dumps({**GOOD, "format": "block times 2"}),
        json.dumps({**GOOD, "kind": "energy"}),
        json.dumps({**GOOD, "kind": ["latency"]}),
        json.dumps({**GOOD, "blocks": {}}),
        json.dumps({**GOOD, "blocks": [1, 2]}),
        json.dumps({**GOOD, "blocks": {"stem": 0.1}}),
        json.dumps({**GOOD, "blocks": {"stem": [0.1]}}),
        json.dumps({**GOOD, "blocks": {"stem": "ab"}}),
        json.dumps({**GOOD, "blocks": {"stem": [0.0, 0.0]}}),
        json.dumps({**GOOD, "blocks": {"stem": [True, 0.0]}}),
        json.dumps({**GOOD, "blocks": {"stem": [float("nan"), 0.0]}}),
        json.dumps({**GOOD, "blocks": {"stem": [1e300, 0.0]}}),
        json.dumps({**GOOD, "blocks": {"stem": [10**400, 0.0]}}),
        '{"format": "block times 1", "kind": "latency", "blocks": {"s": [1' + "0" * 9999 + ", 0]}}",
        json.dumps({**GOOD, "blocks": {"stem": [0.1, -1.0]}}),
        json.dumps({**GOOD, "scale": 0}),
        json.dumps({**GOOD, "constant": "1"}),
        json.dumps({**GOOD, "settings": 3}),
        json.dumps({**GOOD, "machine": {}}),
        json.dumps({**GOOD, "__class__": "x"}),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"^block times: .*times\.json is ") as caught:
        read_times(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_what_is_no_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    for name in ("absent.json", "", "binary"):
        with pytest.raises(ValueError, match="block times: "):
            read_times(tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_few_networks_hold_every_block(name: str) -> None:
    the_space = space(name)
    names = set(block_names(the_space))
    chosen = cover(the_space, np.random.default_rng(0))
    networks = [the_space.decode(genotype) for genotype in chosen]
    assert {block_name(b, network) for network in networks for b in network.blocks()} == names
    assert len(chosen) <= len(names) / 3  # a stage adds two at most: first layer and others
    random = the_space.decode(the_space.sample(1, np.random.default_rng(5))[0])
    assert {block_name(block, random) for block in random.blocks()} <= names
    assert not np.array_equal(chosen, cover(the_space, np.random.default_rng(1)))


def test_a_space_without_stages_is_covered_too() -> None:
    def network(choices: dict) -> Architecture:
        b0 = zoo("efficientnet_b0")
        kernels = [dataclasses.replace(stage, kernel=choices["k"]) for stage in b0.stages]
        return dataclasses.replace(b0, stages=tuple(kernels), resolution=32 * choices["r"])

    own = SearchSpace("own", {"k": (3, 5, 7), "r": (1, 2)}, network)
    chosen = cover(own, np.random.default_rng(0))
    assert len(np.unique(own.keys(chosen))) == len(chosen) == 6
    with pytest.raises(ValueError, match="differ in resolution"):
        measure(own, Setting("latency"), say=lambda line: None)


@pytest.mark.parametrize("seed", range(6))
def test_segments_are_the_network(seed: int) -> None:
    architecture = random_architecture(np.random.default_rng(seed))
    network = build(architecture).eval()
    images = torch.randn(2, architecture.in_channels, *[architecture.resolution] * 2)
    parts = segments(network)
    assert len(parts) == len(list(architecture.blocks()))
    with torch.inference_mode():
        x = images
        for part in parts:
            x = part(x)
        torch.testing.assert_close(x, network(images))


def test_a_step_that_is_cut_has_the_gradients_of_one_that_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    the_space = tiny()
    architecture = the_space.decode(the_space.sample(1, np.random.default_rng(0))[0])
    setting = Setting("step_time", batch=4)
    subject = Subject(architecture, setting, images_for(architecture, setting))
    monkeypatch.setattr(subject, "_update", lambda: None)
    before = {n: p.detach().clone() for n, p in subject.network.named_parameters()}
    assert subject.whole() > 0
    whole = {n: p.grad.clone() for n, p in subject.network.named_parameters()}
    subject.network.zero_grad()
    parts = subject.parts()
    assert len(parts.blocks) == len(list(architecture.blocks()))
    for name, parameter in subject.network.named_parameters():
        torch.testing.assert_close(parameter.grad, whole[name])
        assert torch.equal(parameter, before[name])


@pytest.mark.parametrize("kind", ["latency", "step_time"])
def test_measuring_fills_the_table(kind: str) -> None:
    the_space, said = tiny(), []
    threads = torch.get_num_threads()
    plan = MeasuringPlan(rounds=3, calibration=4, tests=3)
    times = measure(the_space, Setting(kind, batch=2), plan, say=said.append)
    assert sorted(times.blocks) == block_names(the_space)
    assert "3 rounds" in said[-1]
    assert torch.get_num_threads() == threads
    assert times.checked["test_networks"] == 3
    assert len(times.checked["measured"]) == 3
    assert times.checked["largest_error"] < 2  # the right quantity, whatever its precision
    assert times.settings["batch"] == 2
    assert times.kind == kind


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "speed"}, "kind: 'speed'"),
        ({"batch": 0}, "batch: 0"),
        ({"threads": True}, "threads: True"),
        ({"device": "tpu"}, "device: 'tpu'"),
        ({"precision": "int4"}, "precision: 'int4'"),
        ({"recipe": "prxy"}, "did you mean proxy"),
        ({"recipe": "linear-probe"}, "does not train the whole network"),
    ],
)
def test_impossible_settings(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Setting(**{"kind": "latency", **arguments})


def test_the_line_from_sums_to_networks() -> None:
    sums = np.array([0.01, 0.02, 0.03, 0.05, 0.08, 0.1])
    constant, scale, fit = calibrated(sums, 0.004 + 1.2 * sums)
    assert (constant, scale) == pytest.approx((0.004, 1.2), rel=1e-6)
    assert fit == "constant and scale"
    assert calibrated(sums, sums) == (0.0, 1.0, "none")
    constant, scale, fit = calibrated(sums, 0.9 * sums)
    assert (constant, scale) == pytest.approx((0.0, 0.9), abs=1e-9)
    assert calibrated(sums[:2], 2 * sums[:2]) == (0.0, 1.0, "none")  # too few to decide


def test_the_update_is_shared_by_parameters_and_tensors() -> None:
    the_space = space("efficientnet")
    networks = [the_space.decode(g) for g in the_space.sample(20, np.random.default_rng(0))]

    def seconds(network: Architecture) -> float:
        layers = [layer for block in network.blocks() for layer in layers_of(block)]
        tensors = sum(1 + layer.bias + 2 * layer.norm for layer in layers)
        return 1e-4 + 1e-6 * tensors + 2e-10 * cost(network).params

    share = shares(networks, [seconds(network) for network in networks])
    other = zoo("efficientnet_b0")
    assert sum(map(share, other.blocks())) == pytest.approx(seconds(other), rel=1e-6)
    assert len(list(build(other).parameters())) == sum(
        1 + layer.bias + 2 * layer.norm for block in other.blocks() for layer in layers_of(block)
    )
    assert blocks_cost(other.blocks()).params == cost(other).params


def test_the_update_by_muon_depends_on_the_shapes_of_matrices() -> None:
    the_space = space("efficientnet")
    networks = [the_space.decode(g) for g in the_space.sample(20, np.random.default_rng(0))]

    def seconds(network: Architecture) -> float:
        made = build(network)
        groups = optimizer(preset("proxy"), made).param_groups
        (matrices,) = (group["params"] for group in groups if group.get("matrices"))
        shapes = [(len(each), each[0].numel()) for each in matrices]
        flops = sum(5 * min(s) ** 2 * (2 * max(s) + min(s)) for s in shapes)
        return 1e-4 + 1e-6 * len(list(made.parameters())) + 1e-11 * flops

    other = zoo("efficientnet_b0")
    updates = [seconds(network) for network in networks]
    share = shares(networks, updates, "muon")
    assert sum(map(share, other.blocks())) == pytest.approx(seconds(other), rel=1e-6)


def test_cached_step_times_depend_on_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    step, latency = Setting("step_time", recipe="proxy"), Setting("latency", recipe="proxy")
    paths = [kept_path(each, "test", None) for each in (step, latency)]
    sgd = change(preset("proxy"), ["optimizer=sgd"])
    monkeypatch.setattr("train.recipe.preset", lambda name: sgd)
    others = [kept_path(each, "test", None) for each in (step, latency)]
    assert paths[0] != others[0]
    assert paths[1] == others[1]


def test_errors_are_relative_and_ranks_are_kendalls() -> None:
    rng = np.random.default_rng(0)
    measured = rng.uniform(1, 9, 30)
    predicted = measured * rng.uniform(0.8, 1.3, 30)
    assert kendall_tau(measured, predicted) == pytest.approx(kendalltau(measured, predicted)[0])
    found = errors(np.array([1.0, 2.0, 4.0]), np.array([1.1, 2.0, 3.0]))
    assert (found["median_error"], found["largest_error"]) == (0.1, 0.25)
    assert found["kendall_tau"] == 1.0
