"""Families: published members exactly, exact budgets, and the command."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.block_times.rounds import Timing
from nas.block_times.timing import Setting
from scaling import FamilyConfig, grow_family
from scaling.compound import PUBLISHED, Coefficients, Rules
from scaling.family import family, published_top1
from scaling.family.config import phis_of
from scaling.family.device_times import device_times
from search_spaces.architecture import Architecture
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from search_spaces.zoo import EFFICIENTNET_SIZES
from tests.commands import family as run
from vbs.command import command_line

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "costs.json").read_text())["models"]
SIZES = list(EFFICIENTNET_SIZES)


def test_published_members_to_the_unit_within_a_second() -> None:
    began = time.process_time()
    members = family(zoo("efficientnet_b0"), range(10))
    v2 = family(zoo("efficientnetv2_b0"), range(4), rules=Rules(floor=0.0))
    lite = family(zoo("efficientnet_lite0"), range(5), rules=Rules(fixed_ends=True))
    assert time.process_time() - began < 1.0
    for prefix, found in (
        ("efficientnet_", members),
        ("tf_efficientnetv2_", v2),
        ("efficientnet_lite", lite),
    ):
        for size, member in zip(SIZES, found, strict=False):
            name = prefix + (size.removeprefix("b") if prefix.endswith("lite") else size)
            assert member.architecture.stages == zoo(name).stages
            if name in GOLDEN:
                assert (member.cost.flops, member.cost.params) == (
                    GOLDEN[name]["flops"],
                    GOLDEN[name]["params"],
                )
    assert [member.top1 for member in members][:8] == [
        77.1,
        79.1,
        80.1,
        81.6,
        82.9,
        83.6,
        84.0,
        84.3,
    ]


def test_v2_networks_of_the_zoo_are_golden_and_known() -> None:
    for size, top1 in (("s", 83.9), ("m", 85.2), ("l", 85.7)):
        network = zoo(f"tf_efficientnetv2_{size}")
        assert cost(network).params == GOLDEN[f"tf_efficientnetv2_{size}"]["params"]
        assert published_top1(network) == top1
    assert published_top1(zoo("efficientnet_b8")) is None


def test_formula_and_real_cost_stand_side_by_side() -> None:
    (member,) = family(zoo("efficientnet_b0"), [1], coefficients=PUBLISHED)
    base = cost(zoo("efficientnet_b0")).flops
    assert member.cost.flops / base == pytest.approx(2.573, abs=0.001)
    assert member.formula / base == pytest.approx(1.92, abs=0.001)
    (exact,) = family(zoo("efficientnet_b0"), [1], coefficients=PUBLISHED, growth=2.0)
    assert exact.cost.flops / base == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize(
    ("texts", "phis"),
    [
        (["0..7"], list(range(8))),
        (["3"], [3]),
        (["0,1.5", "2"], [0, 1.5, 2]),
        (["0..2", "1..3"], [0, 1, 2, 3]),
        (["-2..1"], [-2, -1, 0, 1]),
        (["-3..-2", "-.5"], [-3, -2, -0.5]),
    ],
)
def test_phis_are_read(texts: list[str], phis: list[float]) -> None:
    assert phis_of(texts) == phis


def test_the_command_writes_members_that_others_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "family"
    assert run(["--phi", "0..3", "--growth", "2", "--out", str(out), "--batch", "64"]) == 0
    shown = capsys.readouterr().out
    assert "by formula" in shown
    assert f"search_spaces.show {out}/members/phi3.json" in shown
    record = json.loads((out / "family.json").read_text())
    flops = [member["flops"] for member in record["members"]]
    assert [value / flops[0] for value in flops] == pytest.approx([1, 2, 4, 8], rel=0.03)
    assert record["coefficients"] == {"alpha": 1.2, "beta": 1.1, "gamma": 1.15}
    assert (out / "family.png").read_bytes()[:4] == b"\x89PNG"
    from search_spaces.loading import load

    assert cost(load(str(out / "members" / "phi3.json"))).flops == flops[3]


def test_a_family_is_grown_from_python_and_from_its_record(tmp_path: Path) -> None:
    config = FamilyConfig(base="mobilenet_v2", phi=(0, 1.5), growth=2, memory="80G")
    result = grow_family(config, out=tmp_path / "family")
    assert [member.name for member in result.members] == ["phi0", "phi1.5"]
    assert result.members[0].architecture == result.base == zoo("mobilenet_v2")
    assert result.coefficients == PUBLISHED
    assert result.rows[1]["flops"] / result.rows[0]["flops"] == pytest.approx(2**1.5, rel=0.03)
    record = tmp_path / "family" / "family.json"
    assert run(["--config", str(record), "--batch", "8", "--out", str(tmp_path / "again")]) == 0
    known, again = (
        json.loads(path.read_text()) for path in (record, tmp_path / "again" / "family.json")
    )
    assert again["settings"] == {**known["settings"], "batch": 8}
    assert [row["flops"] for row in again["members"]] == [row["flops"] for row in known["members"]]


def test_a_family_is_read_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "family.yaml"
    path.write_text("base: mobilenet_v2\nphi: [0, 1]\ngrowth: 2\nmemory: 80G\n")
    assert run(["--config", str(path), "--out", str(tmp_path / "family")]) == 0
    assert len(json.loads((tmp_path / "family" / "family.json").read_text())["members"]) == 2


def test_a_grids_choice_grows_the_family(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {
        "status": "finished",
        "settings": {"base": "mobilenet_v2"},
        "outcome": {"chosen": {"alpha": 1.3, "beta": 1.05, "gamma": 1.1}},
    }
    (tmp_path / "grid.json").write_text(json.dumps(known))
    out = tmp_path / "family"
    given = ["--coefficients", str(tmp_path / "grid.json"), "--phi", "0", "1"]
    assert run([*given, "--out", str(out)]) == 0
    record = json.loads((out / "family.json").read_text())
    assert record["coefficients"] == Coefficients(1.3, 1.05, 1.1).__dict__
    assert record["members"][0]["flops"] == cost(zoo("mobilenet_v2")).flops  # the grid's base
    assert capsys.readouterr().err == ""

    assert run([*given, "--base", "mnasnet_a1", "--out", str(tmp_path / "other")]) == 0
    printed = capsys.readouterr().err
    assert (
        printed == "--base: these coefficients are from a grid of mobilenet_v2, not of mnasnet_a1\n"
    )


def test_the_choice_of_an_unfinished_grid_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"status": "interrupted", "settings": {"base": "mobilenet_v2"}, "outcome": {}}
    (tmp_path / "grid.json").write_text(json.dumps(known))
    assert run(["--coefficients", str(tmp_path / "grid.json"), "--out", str(tmp_path / "x")]) == 2
    assert (
        "(the grid is interrupted; resume it with scaling.grid --resume)" in capsys.readouterr().err
    )


def test_times_are_predicted_where_a_table_has_the_blocks(tmp_path: Path) -> None:
    from nas.block_times.table import Times, block_name

    network = zoo("efficientnet_b0")
    names = {block_name(block, network): (0.001, 0.0001) for block in network.blocks()}
    Times("latency", names, settings={"batch": 1}).write(tmp_path / "times.json")
    out = tmp_path / "family"
    table = str(tmp_path / "times.json")
    assert run(["--phi", "0", "1", "--times", table, "--out", str(out)]) == 0
    first, second = json.loads((out / "family.json").read_text())["members"]
    assert first["predicted_latency"]["seconds"] == pytest.approx(0.019)
    assert "predicted_latency" not in second


@pytest.mark.slow
def test_times_are_measured(tmp_path: Path) -> None:
    base = tmp_path / "base.json"
    base.write_text(dataclasses.replace(zoo("efficientnet_b0"), resolution=32).to_json())
    small = ["--base", str(base), "--phi", "0"]
    out = tmp_path / "family"
    how = ["--measure", "step_time", "--measure-batch", "2", "--measure-threads", "1"]
    assert run([*small, *how, "--out", str(out)]) == 0
    (member,) = json.loads((out / "family.json").read_text())["members"]
    assert 0 < member["measured_step_time"]["seconds"] < 10
    assert 0.3 < member["measured_step_time"]["growth"] < 3  # of the base itself


def test_a_family_grows_in_measured_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(networks: list[Architecture], setting: Setting, **_: Any) -> list[Timing]:
        assert (setting.kind, setting.batch, setting.runtime) == ("latency", 8, "torch-compile")
        return [Timing(1e-9 * cost(network).flops ** 0.9, 0.0, "") for network in networks]

    monkeypatch.setattr("scaling.family.times.measured", measured)
    out = tmp_path / "family"
    grow = ["--growth", "2", "--objective", "latency", "--measure-batch", "8"]
    grow += ["--runtime", "torch-compile", "--device", "cpu", "--measure-threads", "2"]
    assert run([*grow, "--phi", "0..2", "--out", str(out)]) == 0
    members = json.loads((out / "family.json").read_text())["members"]
    for member in members:
        assert member["measured_latency"]["growth"] == pytest.approx(2 ** member["phi"], rel=0.05)
    printed = capsys.readouterr().out
    assert "measured latency 2^phi" in printed
    how = "measured latency: a batch of 8 on 2 threads of the CPU, by torch-compile"
    assert how in printed
    assert re.search(r"\((3\.[89]|4\.[01])\dx\)", printed)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--alpha", "0.8"], "alpha: 0.8 is not allowed; use a number from 1"),
        (
            ["--alpha", "1.2", "--beta", "1.1"],
            "--gamma is missing; alpha, beta and gamma are given together; "
            "alpha * beta^2 * gamma^2 = 2 gives --gamma 1.17; the published ones are (1.2, ",
        ),
        (
            ["--beta", "1.1", "--gamma", "1.15"],
            "--alpha is missing; alpha, beta and gamma are given together; "
            "alpha * beta^2 * gamma^2 = 2 gives --alpha 1.25; ",
        ),
        (
            ["--gamma", "1.3"],
            "--alpha is missing; alpha, beta and gamma are given together; the publ",
        ),
        (["--phi", "x"], "--phi: 'x' is not understood; write 0..7, -2..4, 3 or 1.5"),
        (["--phi", "7..0"], "--phi: '7..0' is not understood; write 0..7, -2..4, 3 or 1.5"),
        (["--phi", "-101"], "--phi: -101 is not allowed; use numbers from -100 to 100"),
        (["--phi", "-1..-3"], "--phi: '-1..-3' is not understood"),
        (["--rules", "fast", "--alpha", "1.2"], "--alpha: leave it out; --rules fast sets the "),
        (["--rules", "tinynet", "--phi", "1"], "phi 1: growth: 2.0 is not allowed; TinyNet shr"),
        (["--known", "b0"], "--known: 'b0' is not understood; write a member and its percent"),
        (
            ["--known", "b0=0.77"],
            "--known: 'b0=0.77' is not understood; write a member and its percent, from 1",
        ),
        (["--known", "b0=177"], "--known: 'b0=177' is not understood"),
        (["--known", "b0=0.771"], "--known: 'b0=0.771' is not understood"),
        (["--base", ""], " is a folder; use the JSON file of an architecture"),
        (["--known", "c0=77"], "--known: 'c0' is not a member; use b0 to b8, or a phi such as 0"),
        (["--known", "b0=77", "0=78"], "--known: phi 0 is given twice"),
        (
            ["--known", "b1=79.1", "--growth", "2"],
            "--known: b1 is a published member, but not of this family; write its phi, such as "
            "1=77.1",
        ),
        (["--known", "1=79", "--base-top1", "77"], "--base-top1: leave it out, and add 0=77 to"),
        (["--base-top1", "99"], "--base-top1: 99.0 is not allowed; use a number from 1 to 95"),
        (["--phi", "11"], "phi: no published member has 11; use 0 (B0) to 8 (B8), 9 (L2), or give"),
        (["--phi", "0..99"], "--phi: 65 members are not allowed"),
        (["--base", "efficientnet_b00"], "network: 'efficientnet_b00' is unknown; did you mean"),
        (["--base", "no.json"], "no.json does not exist"),
        (["--base", "/"], "/ is a folder; use the JSON file of an architecture (/ contains none)"),
        (["--coefficients", "no.json"], "--coefficients: no.json does not exist"),
        (["--coefficients", "published", "--alpha", "1.2"], "--coefficients: leave it out"),
        (["--growth", "1"], "--growth: 1 is not allowed"),
        (["--objective", "latency"], "--objective: latency needs --growth X"),
        (["--runtime", "onnxruntime"], "--runtime: onnxruntime needs --measure latency"),
        (
            ["--measure", "step_time", "--runtime", "openvino"],
            "--runtime: openvino needs --measure latency",
        ),
        (
            ["--growth", "2", "--objective", "latency", "--measure", "step_time"],
            "--measure: step_time differs from --objective",
        ),
        (["--objective", "a100"], "--objective: a100 needs --growth X"),
        (["--growth", "2", "--objective", "a10"], "--objective: 'a10' is unknown; did you mean a1"),
        (["--growth", "2", "--objective", "no.json"], "device no.json: No such file"),
        (
            ["--growth", "2", "--objective", "zcu102"],
            "objective: zcu102 was measured on networks of the space efficientnet (",
        ),
        (
            ["--growth", "2", "--objective", "a100", "--base", "resnet50"],
            "objective: a100 was measured on networks of the space efficientnet (",
        ),
        (["--test-resolution", "big"], "--test-resolution: 'big' is not a whole number"),
        (
            ["--test-resolution", "1.15"],
            "--test-resolution: 1.15 is not a number of pixels; use 1.15x",
        ),
        (["--test-resolution", "9x"], "--test-resolution: 9x is not allowed; use 1x to 4x"),
        (["--test-resolution", "0"], "--test-resolution: 0 is not allowed; use pixels up to 4,096"),
        (
            ["--test-resolution", "230"],
            "--test-resolution: 230 px are fewer than the 240 px of training; use a factor",
        ),
        (["--growth", "2", "--tolerance", "0"], "--tolerance: 0 is not allowed"),
        (["--memory", "8G"], "--memory: phi 3 needs about 10.2 GB to train with a batch of 32"),
        (["--memory", "lots"], "--memory: 'lots' is not a size"),
        (["--batch", "0"], "--batch: 0 is not allowed; use a number from 1 to 1,000,000"),
        (["--times", "no.json"], "block times: no.json is not a table"),
        (["--round-to", "7"], "--round-to: 7 is not allowed; use one of 2, 4, 8, 16, 32"),
    ],
)
def test_mistakes_are_one_line(
    given: list[str], complaint: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["--out", str(tmp_path / "x"), *given]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"scaling.family: {complaint}")
    assert printed.count("\n") == 1
    assert not (tmp_path / "x").exists()


def members_of(words: list[str], out: Path) -> list[dict[str, Any]]:
    assert run([*words, "--out", str(out)]) == 0
    return json.loads((out / "family.json").read_text())["members"]


@pytest.mark.parametrize("words", [["--phi", "-2..4"], ["--phi=-2..4"], ["--phi", "-2", "-1..4"]])
def test_a_family_shrinks_below_its_base(words: list[str], tmp_path: Path) -> None:
    members = members_of(words, tmp_path / "f")
    assert [each["phi"] for each in members] == list(range(-2, 5))
    flops = [each["flops"] for each in members]
    assert flops == sorted(flops)
    assert members[2]["flops"] == cost(zoo("efficientnet_b0")).flops
    assert [each["published_top1"] for each in members[2:]] == [77.1, 79.1, 80.1, 81.6, 82.9]
    assert members[0]["factors"] == PUBLISHED.factors(-2)._asdict()
    assert (tmp_path / "f/members/phi-2.json").is_file()


@pytest.mark.slow
def test_exact_budgets_of_shrunk_members(tmp_path: Path) -> None:
    for words in (
        ["--phi", "-3..2"],
        ["--rules", "tinynet"],
        ["--rules", "fast", "--phi", "-2..1"],
    ):
        members = members_of([*words, "--growth", "2"], tmp_path / words[1])
        base = cost(zoo("efficientnet_b0")).flops
        for each in members:
            assert each["flops"] / base == pytest.approx(2 ** each["phi"], rel=0.03)
            grows = [each["real_factors"][axis] >= 1 for axis in ("width", "resolution")]
            assert all(grows) == (each["phi"] >= 0)


def test_fast_rules_reach_the_published_numbers(tmp_path: Path) -> None:
    """Dollar et al. 2021 with the rounding of pycls, at 4 and 8 times the FLOPs."""
    base, *members = members_of(["--rules", "fast", "--phi", "0", "2", "3"], tmp_path / "f")
    published = [(3.58, 1.98, 2.99), (7.56, 3.19, 5.26)]
    for member, (flops, activations, params) in zip(members, published, strict=True):
        assert round(member["flops"] / base["flops"], 2) == flops
        assert member["activations"] / base["activations"] == pytest.approx(activations, abs=0.0051)
        assert round(member["params"] / base["params"], 2) == params
    record = tmp_path / "f" / "family.json"
    again = members_of(["--config", str(record)], tmp_path / "again")
    assert [each["flops"] for each in again] == [each["flops"] for each in (base, *members)]


def test_tinynet_shrinks_width_first_and_resolution_last(tmp_path: Path) -> None:
    members = members_of(["--rules", "tinynet"], tmp_path / "f")
    assert [each["phi"] for each in members] == [-4, -3, -2, -1, 0]
    for each in members[:-1]:
        factors = each["factors"]
        assert factors["width"] < factors["resolution"] <= 1
    assert members[2]["factors"]["depth"] > members[0]["factors"]["depth"]


def test_members_show_their_predicted_top1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = members_of(["--phi", "-2..9"], tmp_path / "f")
    printed = capsys.readouterr().out
    base = members[2]["predicted_top1"]
    assert base == {"percent": 77.1, "std": 0, "interval_95": [77.1, 77.1], "known": True}
    found = [each["predicted_top1"] for each in members[:10]]
    assert [each["percent"] for each in found] == sorted(each["percent"] for each in found)
    for each in (*found[:2], *found[3:]):
        low, high = each["interval_95"]
        assert (low + high) / 2 == pytest.approx(each["percent"], abs=0.01)
        assert high - low == pytest.approx(2 * 1.96 * each["std"], abs=0.01)
    for each in members[3:10]:
        low, high = each["predicted_top1"]["interval_95"]
        assert low < each["published_top1"] < high
    largest = members[-1]
    assert largest["predicted_top1"] is None
    assert "resolution: 3.57 times the base is outside" in largest["no_prediction"]
    assert "no predicted top-1 of phi9: resolution: 3.57 times the base" in printed
    assert re.search(r"78\.6% \(77\.8 to 79\.5\)", printed)


def test_predictions_start_from_the_given_top1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "base.json"
    path.write_text(zoo("mobilenet_v2").to_json())
    words = ["--base", str(path), "--phi", "0..1"]
    unknown = members_of(words, tmp_path / "unknown")
    assert [each["predicted_top1"] for each in unknown] == [None, None]
    assert "give it in percent, e.g. --base-top1 77.1" in capsys.readouterr().out
    known = members_of([*words, "--base-top1", "72"], tmp_path / "known")
    assert known[0]["predicted_top1"]["percent"] == 72
    assert 73 < known[1]["predicted_top1"]["percent"] < 76
    low = members_of([*words, "--base-top1", "50"], tmp_path / "low")
    assert "16.2 points below them" in low[1]["no_prediction"]


def test_the_top1_of_a_search_is_not_called_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "best.json"
    network = json.loads(zoo("efficientnet_b0").to_json())
    path.write_text(json.dumps({"architecture": network, "accuracy_long": 72.3}))
    base, _ = members_of(["--base", str(path), "--phi", "0..1"], tmp_path / "f")
    assert not base["predicted_top1"]["known"]
    printed = capsys.readouterr().out
    assert "72.3% by its search" in printed
    assert "known" not in printed


@pytest.mark.slow
def test_the_next_members_are_forecast_from_trained_ones(tmp_path: Path) -> None:
    series = {"b0": 77.1, "b1": 79.1, "b2": 80.1, "b3": 81.6}
    known = [f"{name}={top1}" for name, top1 in series.items()]
    members = members_of(["--phi", "0..7", "--known", *known], tmp_path / "f")
    plain = members_of(["--phi", "0..7"], tmp_path / "plain")
    assert [each["predicted_top1"]["percent"] for each in members[:4]] == [*series.values()]
    for each, other in zip(members[4:], plain[4:], strict=True):
        found = each["predicted_top1"]
        assert found["percent"] == pytest.approx(each["published_top1"], abs=1)
        assert found["std"] < other["predicted_top1"]["std"]
    # members that are not shown count as well
    shown = members_of(["--phi", "4", "--known", "0=77.1,1=79.1,2=80.1,3=81.6"], tmp_path / "four")
    assert shown[0]["predicted_top1"] == members[4]["predicted_top1"]


def test_forecasts_without_the_base(tmp_path: Path) -> None:
    words = ["--base", "efficientnet_lite0", "--phi", "0..4", "--known", "1=76.7", "2=77.6"]
    base, first, *_ = members_of(words, tmp_path / "f")
    assert first["predicted_top1"]["known"]
    assert not base["predicted_top1"]["known"]
    assert base["predicted_top1"]["percent"] == pytest.approx(75.1, abs=1)


@pytest.mark.parametrize("objective", ["activations", "memory"])
def test_a_family_grows_in_exact_costs(objective: str, tmp_path: Path) -> None:
    words = ["--phi", "-2..3", "--growth", "2", "--objective", objective]
    members = members_of(words, tmp_path / "f")
    key = {"memory": "training_memory"}.get(objective, objective)
    spent = {each["phi"]: each[key] for each in members}
    for phi, value in spent.items():
        assert value / spent[0] == pytest.approx(2**phi, rel=0.03)
    assert members[-1]["flops"] / members[2]["flops"] > 8.5


def test_a_family_grows_in_the_time_of_a_device(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--phi", "-1..2", "--growth", "2", "--objective", "a100"]
    members = members_of(words, tmp_path / "f")
    for each in members:
        time = each["time_on_a100"]
        assert time["growth"] == pytest.approx(2 ** each["phi"], rel=0.031)
    printed = capsys.readouterr().out
    assert "time on a100 2^phi" in printed
    assert "time on a100: it was measured on networks of the space efficientnet" in printed
    assert re.search(r"with a mean error of [5-9]%", printed)


def test_times_by_totals_grow_as_timm_reports_of_a_like_device() -> None:
    """Compared with timm 1.0.31, benchmark-infer-amp-nhwc on an RTX 4090.

    Its images/s of tf_efficientnet_b0 to b7 were not used for the totals of the RTX 3090.
    """
    reported = [7640.8, 4891.58, 3827.63, 2265.14, 1110.38, 553.22, 322.38, 189.69]
    times = device_times("rtx3090")
    found = times([zoo(f"efficientnet_b{index}") for index in range(8)])
    for seconds, rate in zip(found, reported, strict=True):
        assert seconds / found[0] == pytest.approx(reported[0] / rate, rel=0.06)


def test_a_device_of_the_users_own_grows_a_family(tmp_path: Path) -> None:
    from nas.devices import design, fit_device
    from search_spaces.catalog import space

    known = space("efficientnet")
    genotypes = design(known, 10, np.random.default_rng(0))
    seconds = device_times("a100")([known.decode(each) for each in genotypes])
    device = fit_device(known, genotypes, 30 * np.array(seconds), "my-phone")
    path = tmp_path / "my-phone.json"
    device.save(path)
    words = ["--phi", "0..1", "--growth", "2", "--objective", str(path)]
    members = members_of(words, tmp_path / "f")
    assert members[1]["time_on_my-phone"]["growth"] == pytest.approx(2, rel=0.03)


def test_a_device_file_imports_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from nas.devices import design, fit_device
    from search_spaces.catalog import space

    known = space("efficientnet")
    genotypes = design(known, 10, np.random.default_rng(0))
    seconds = device_times("a100")([known.decode(each) for each in genotypes])
    path, ran = tmp_path / "my-phone.json", tmp_path / "ran"
    fit_device(known, genotypes, 30 * np.array(seconds), "my-phone").save(path)
    code = tmp_path / "evil.py"
    code.write_text(f"open({str(ran)!r}, 'w')\nSpace = None\n")
    good = json.loads(path.read_text())
    words = ["--phi", "0..1", "--growth", "2", "--objective", str(path)]
    for changes, message in (
        ({"space": f"{code}:Space"}, "use a device that was measured on efficientnet, "),
        ({"space": "os:system"}, "use a device that was measured on efficientnet, "),
        ({"settings": {**good["settings"], "more": 1}}, "with the setting 'more'"),
    ):
        path.write_text(json.dumps({**good, **changes}))
        device_times.cache_clear()
        assert run([*words, "--out", str(tmp_path / "f")]) == 2
        printed = capsys.readouterr().err
        assert len(printed.splitlines()) == 1
        assert message in printed
    assert not ran.exists()
    assert not (tmp_path / "f").exists()


def test_the_accuracy_in_a_file_may_be_no_percentage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a percentage a family has no predictions, and a grid of predictions is refused."""
    base = tmp_path / "best.json"
    network = json.loads(zoo("efficientnet_b0").to_json())
    for number, accuracy in enumerate((1e308, -5, 0, 96)):
        base.write_text(json.dumps({"architecture": network, "accuracy": accuracy}))
        members = members_of(["--base", str(base), "--phi", "0..1"], tmp_path / f"f{number}")
        assert "is not a percentage between 0 and 95" in members[0]["no_prediction"]
        capsys.readouterr()
        assert command_line("scaling.grid", ["--base", str(base), "--out", str(tmp_path)]) == 2
        assert "--base-top1: accuracy" in capsys.readouterr().err


def test_members_are_tested_at_more_pixels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = members_of(["--phi", "0..2", "--test-resolution", "1.15x"], tmp_path / "f")
    printed = capsys.readouterr().out
    for each in members:
        side = math.floor(each["resolution"] * 1.15 + 0.5)
        assert each["test"]["resolution"] == side
        network = zoo(f"efficientnet_b{each['phi']:g}")
        larger = cost(dataclasses.replace(network, resolution=side))
        assert each["test"]["flops"] == larger.flops > each["flops"]
        assert each["flops"] == cost(network).flops
    assert "--set eval_resolution=258" in printed
    fixed = members_of(["--phi", "0..2", "--test-resolution", "288"], tmp_path / "fixed")
    assert {each["test"]["resolution"] for each in fixed} == {288}


def test_the_command_imports_no_torch() -> None:
    code = (
        "import sys; from vbs.command import command_line; "
        "command_line('scaling.family', ['--phi', '0..7', '--out', sys.argv[1]]); "
        "print([name for name in ('torch', 'ray', 'pandas') if name in sys.modules])"
    )
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        done: Any = subprocess.run(
            [sys.executable, "-c", code, f"{place}/f"],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_used_folder_is_refused_without_an_option_that_there_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--base", "mobilenet_v2", "--phi", "0..1", "--out", str(tmp_path / "family")]
    assert run(words) == 0
    capsys.readouterr()
    assert run(words) == 2
    printed = capsys.readouterr().err
    assert printed.endswith("already holds family.json; use another --out\n")
