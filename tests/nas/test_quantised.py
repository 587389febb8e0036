"""Searches by the accuracy in int8, and with the activation as a decision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from search_spaces.catalog import space
from tests.commands import MEASURED, images, search

QUICK = ["--evaluator", "proxy", "--target-flops", "2M", "--resolution", "32", "--budget", "2"]


def test_the_activation_is_a_decision_that_costs_nothing() -> None:
    plain = space("compact", resolution=32, classes=10, small_images=True)
    wider = plain.with_activations(["silu", "relu6"])
    genotypes = wider.sample(200, np.random.default_rng(0))
    networks = [wider.decode(each) for each in genotypes]
    assert {network.activation for network in networks} == {"silu", "relu6"}
    column = list(wider.choices).index("activation")
    flipped = genotypes.copy()
    flipped[:, column] = 1 - flipped[:, column]
    assert (wider.costs(genotypes).flops == wider.costs(flipped).flops).all()
    assert (wider.encode(networks[0]) == genotypes[0]).all()
    assert wider.settings["activations"] == ["silu", "relu6"]


def test_references_keep_the_activation_that_they_have() -> None:
    wider = space("efficientnet").with_activations(["silu", "hard_swish"])
    b0 = wider.decode(wider.encode(wider.references["EfficientNet-B0"]))
    assert b0.activation == "silu"


@pytest.mark.parametrize(
    ("names", "complaint"),
    [(["silu"], "silu alone is not a decision"), (["silu", "swish"], "'swish' is unknown")],
)
def test_other_activations_are_refused(names: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        space("compact").with_activations(names)


@pytest.mark.slow
def test_a_search_reports_the_accuracy_of_the_int8_network(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    data, out = images(tmp_path / "images"), tmp_path / "out"
    words = [*QUICK, *MEASURED, "--finalists", "1", "--repeats", "1", "--cache", "off"]
    words += ["--quantised", "int8", "--activations", "silu,relu6", "--data", data]
    assert search([*words, "--out", str(out)]) == 0
    record = json.loads((out / "search.json").read_text())
    assert record["settings"]["quantised"] == "int8"
    best = json.loads((out / "best.json").read_text())
    assert best["architecture"]["activation"] in ("silu", "relu6")
    assert "in int8" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["--evaluator", "zero-cost", "--quantised", "int8"],
            "--quantised: needs --evaluator proxy or --parent",
        ),
        (["--quantised", "int8"], "--quantised: evaluator 'surrogate' trains nothing"),
        (["--quantised", "int4"], "--quantised: 'int4' is unknown"),
        (
            ["--evaluator", "zero-cost", "--activations", "silu,relu6"],
            "--activations: needs --evaluator proxy",
        ),
        (
            ["--parent", "p.safetensors", "--activations", "silu,relu6"],
            "--activations: a search with --parent does not use it",
        ),
        (
            ["--evaluator", "proxy", "--activations", "silu,relu6", "--max-latency", "5ms"],
            "--activations: block times of other activations are not measured; leave out --max-l",
        ),
    ],
)
def test_options_that_do_not_go_together(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(["--target-flops", "400M", *words]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
