"""Our loop and timm's have the same network and the same step; experiments that compare them."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from experiments import bench_training, same_learning
from experiments.lib import timm_networks
from experiments.lib.timm_loop import timm_loop
from experiments.lib.timm_networks import check_twins, proxy_network, timm_twin
from experiments.lib.training_sides import Case
from search_spaces.architecture import Architecture, Stage
from search_spaces.catalog import zoo
from search_spaces.cost import cost
from train.data import Step
from train.data.augment import Augmentation
from train.distributed import World
from train.optimizer_step import optimizer_step
from train.progressive import phase
from train.recipe import Recipe, efficientnet
from train.state import begin, resolved

ROOT = Path(__file__).resolve().parents[2]
SMALL = Architecture(
    stem=8,
    head=32,
    resolution=16,
    classes=3,
    stages=(
        Stage("mbconv", 1, 3, 1, 1, 8),
        Stage("mbconv", 2, 3, 2, 4, 16),
        Stage("fused", 1, 3, 1, 4, 16, se=0.0),
    ),
)


@pytest.fixture
def network_file(tmp_path: Path) -> Path:
    path = tmp_path / "network.json"
    path.write_text(SMALL.to_json())
    return path


def test_timms_network_gives_our_logits() -> None:
    proxy = proxy_network(None, 10)
    told = check_twins(proxy)
    assert told["parameters"] == cost(proxy).params == 160_346
    assert told["logits_apart"] < 1e-5
    b0 = dataclasses.replace(zoo("efficientnet_b0"), resolution=32)
    assert check_twins(b0, name="efficientnet_b0")["logits_apart"] < 1e-5


def test_networks_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="parameters"):
        check_twins(SMALL, name="efficientnet_b0")


def test_logits_that_differ_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = dataclasses.replace(SMALL, bn_eps=0.5)
    monkeypatch.setattr(timm_networks, "timm_twin", lambda *_, **__: timm_twin(other))
    with pytest.raises(ValueError, match="logits differ"):
        check_twins(SMALL)


@pytest.mark.parametrize("kind", ["rmsprop", "sgd"])
def test_steps_of_both_loops_give_equal_weights(kind: str) -> None:
    recipe = dataclasses.replace(
        efficientnet(),
        batch=8,
        dropout=0.0,
        drop_path=0.0,
        policy="none",
        crop="pad",
        optimizer=kind,
        lr=0.05,
        lr_batch=0,
        weight_decay=0.1,
        ema_decay=0.0,
    )
    ours, theirs = _after_steps(recipe)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-5, msg=name)


def _after_steps(recipe: Recipe) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return state dicts of both sides after three steps on the same images."""
    data = Case("", SMALL, "", 8, 1, False, "cpu").data()
    device = torch.device("cpu")
    run = begin(SMALL, data, resolved(recipe, SMALL), World(0, 1, device), 0, None)
    run.network.train()
    network = timm_twin(SMALL)
    network.load_state_dict(run.network.state_dict())
    loop = timm_loop(network, recipe, device)
    steps = [Step(np.arange(8) + 8 * n, slice(0, 8), n) for n in range(3)]
    batches = list(data.train.batches(steps, Augmentation(size=16, crop="pad")))
    for number, batch in enumerate(batches):
        run.step = number
        loss = optimizer_step(run, run.network, iter([batch]), phase(run.recipe, 0))
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 20 / (number + 20)
        assert loop.step(*batch).item() == pytest.approx(loss.item(), rel=1e-4)
    return run.network.state_dict(), network.state_dict()


def test_bench_prints_what_it_promises(
    network_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.json"
    bench_training.bench(
        [
            "--quick",
            "--cases",
            "proxy-32",
            "--network",
            str(network_file),
            "--memory-runs",
            "0",
            "--out",
            str(out),
        ]
    )
    result = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == result
    assert result["settings"]["quick"]
    assert result["threads"] >= 1
    case = result["cases"]["proxy-32"]
    assert case["batch"] == 4
    for ratio in (*case["step"].values(), *case["with_data"].values()):
        low, high = ratio["quartiles"]
        assert 0 < low <= ratio["median"] <= high
        assert ratio["rounds"] == 2
    for side in ("ours", "timm"):
        assert set(case["parts"][side]) == {"data", "forward", "backward", "optimizer", "average"}
        assert min(case["parts"][side].values()) > 0
    assert {row["setting"] for row in case["settings"]} == {
        "channels_last float32",
        "default float32",
    }


@pytest.mark.slow
def test_peak_memory_is_reported_by_a_process_of_its_own(network_file: Path) -> None:
    child = json.dumps({"case": "proxy-32", "setting": {"side": "ours"}})
    texts = ["--network", str(network_file), "--batch", "64", "--child", child]
    reported = subprocess.run(
        [sys.executable, "-m", "experiments.bench_training", *texts],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert 0 < float(reported.stdout) < 500


def _cifar_like(folder: Path) -> str:
    """Write images of three classes, which differ in colour, as parquet files."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 48), ("test", 24)):
        labels = np.arange(count) % 3
        images = []
        for label in labels:
            pixels = rng.integers(0, 120, (16, 16, 3), np.uint8)
            pixels[..., label] += 100
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            images.append({"bytes": buffer.getvalue(), "path": None})
        table = pd.DataFrame({"image": images, "label": labels})
        table.to_parquet(folder / f"{split}.parquet")
    return f"parquet:{folder}"


def test_same_learning_is_resumed_where_it_stopped(
    network_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    texts = [
        "--data",
        _cifar_like(tmp_path / "data"),
        "--network",
        str(network_file),
        "--epochs",
        "4",
        "--batch",
        "8",
        "--images",
        "24",
        "--seeds",
        "0",
        "1",
        "--work",
        str(tmp_path / "work"),
        "--out",
        str(tmp_path / "out.json"),
    ]
    (tmp_path / "work").mkdir()
    same_learning.one_run(same_learning._arguments(texts), "timm", 1)
    kept = (tmp_path / "work" / "timm-1.json").read_text()
    same_learning.compare(texts)
    result = json.loads((tmp_path / "out.json").read_text())
    assert (tmp_path / "work" / "timm-1.json").read_text() == kept
    assert result["complete"]
    assert not result["missing"]
    for side in ("ours", "timm"):
        assert set(result[side]["by_seed"]) == {"0", "1"}
        assert all(run["steps"] == 12 for run in result[side]["by_seed"].values())
        assert 0 <= result[side]["top1_mean"] <= 100
    assert result["difference"] == pytest.approx(
        result["ours"]["top1_mean"] - result["timm"]["top1_mean"]
    )
    capsys.readouterr()
    with pytest.raises(ValueError, match="other settings"):
        same_learning.compare([*texts, "--epochs", "5"])


def test_summary_of_a_part_says_so() -> None:
    found = {"ours": {0: {"top1": 50.0}, 1: {"top1": 54.0}}, "timm": {0: {"top1": 51.0}}}
    told = same_learning.summary(found, [0, 1])
    assert not told["complete"]
    assert told["missing"] == ["timm-1"]
    assert told["within"] is None
    found["timm"][1] = {"top1": 55.0}
    told = same_learning.summary(found, [0, 1])
    assert told["complete"]
    assert told["within"] is True
    assert told["difference_in_sd"] == pytest.approx(-1 / np.sqrt(8))


def test_mistakes_are_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rounds: 1"):
        bench_training.bench(["--rounds", "1"])
    with pytest.raises(ValueError, match="seeds: -1"):
        same_learning.compare(["--seeds", "-1", "--work", str(tmp_path)])
    with pytest.raises(OSError, match="nowhere"):
        proxy_network(str(tmp_path / "nowhere.json"), 10)
