"""`nas.search --parent --quantised int8`: accuracies are those of onnxruntime's int8."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search_spaces.cost import cost
from tests.commands import search
from tests.nas.parents import toys
from train.data import load

WORDS = [
    *("--set", "epochs=2", "--set", "warmup_epochs=0", "--set", "batch=16", "--set", "minival=0.2"),
    *("--finalists", "1", "--repeats", "1", "--budget", "3", "--device", "cpu", "--workers", "1"),
]


@pytest.mark.slow
def test_finalists_and_the_parent_are_scored_in_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = load(toys.image_folder(tmp_path / "images"), minival=0.2)
    toys.trained_parent(tmp_path / "parent.safetensors", data)
    half = str(int(cost(toys.PARENT).flops * 0.6))
    source = ["--parent", str(tmp_path / "parent.safetensors")]
    words = [*source, "--data", f"imagefolder:{tmp_path / 'images'}", "--target-flops", half]
    out = tmp_path / "out"
    assert search([*words, *WORDS, "--quantised", "int8", "--out", str(out)]) == 0
    outcome = json.loads((out / "search.json").read_text())["outcome"]
    rows = [outcome["teacher"], *next(iter(outcome["targets"].values()))]
    for row in rows:
        assert len(row["float_top1"]) == row["seeds"] == 1
    (result,) = (out / rows[1]["weights"]).parent.glob("result.json")
    known = json.loads(result.read_text())
    assert known["minival_top1"] == known["curve"][-1][1]
    assert {"float_minival_top1", "float_test_top1"} <= known.keys()
    printed = capsys.readouterr().out
    assert "test %, int8" in printed
    assert "in float %" in printed


def test_a_score_without_the_classifier_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--parent", "p.safetensors", "--target-flops", "1M", "--score", "ridge"]
    assert search([*words, "--quantised", "int8"]) == 2
    assert "--quantised: needs --score steps or accuracy" in capsys.readouterr().err
