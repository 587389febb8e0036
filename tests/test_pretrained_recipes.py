"""Recipes that do not fit the initial weights are refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scaling.baseline import BaselineConfig, run_baseline
from tests.commands import (
    fidelity,
    grid,
    noisy_student,
    ray_tune,
    search,
    train_run,
    training_aware,
)
from tests.train.files import folder_of
from train.recipe import PRESETS, preset
from train.start import needs_weights

Command = Callable[[list[str]], int]
COMMANDS: dict[str, tuple[Command, list[str]]] = {
    "nas.search": (search, ["--evaluator", "proxy", "--target-flops", "4M"]),
    "nas.fidelity": (fidelity, []),
    "train.ray_tune": (ray_tune, ["--architectures", "efficientnet_b0"]),
    "scaling.grid": (grid, ["--base", "efficientnet_b0"]),
    "scaling.training_aware": (training_aware, []),
}
WEIGHTLESS = [["--recipe", "finetune"], ["--recipe", "linear-probe"], ["--set", "train=classifier"]]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"imagefolder:{folder_of(tmp_path_factory.mktemp('images'), {'a': 20, 'b': 20})}"


@pytest.mark.parametrize("words", WEIGHTLESS, ids=" ".join)
@pytest.mark.parametrize("name", COMMANDS)
def test_commands_that_give_no_weights_refuse_and_name_remedies(
    images: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    run, more = COMMANDS[name]
    assert run([*more, "--data", images, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{' '.join(words)}: needs pretrained weights, but" in line
    assert "starts every network from random weights; use --recipe scratch" in line
    assert "--init WEIGHTS" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", WEIGHTLESS, ids=" ".join)
def test_a_single_training_asks_for_weights(
    images: str, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert train_run(["efficientnet_b0", "--data", images, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"train.run: --init is missing: {' '.join(words)} needs pretrained")
    assert "--init timm:NAME" in line
    assert "--recipe scratch" in line


@pytest.mark.parametrize("stem", ["whitened", "frozen"])
def test_pretrained_weights_are_not_replaced(
    images: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    stem: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = "package:efficientnet_lite0"
    common = ["--data", images, "--set", f"stem={stem}"]
    assert train_run(["tf_efficientnet_lite0", "--init", given, *common]) == 2
    assert search(["--parent", given, "--target-flops", "20M", "--resolution", "64", *common]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert f"stem: {stem} is not allowed for a network that starts from given weights" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", WEIGHTLESS, ids=" ".join)
def test_a_student_starts_from_random_weights(
    images: str, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    student = ["--teacher", "x", "--student", "efficientnet_b0", "--unlabelled", images]
    assert noisy_student([*student, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "needs pretrained weights, but train.noisy_student starts" in line


def test_a_new_baseline_starts_from_random_weights(images: str, tmp_path: Path) -> None:
    config = BaselineConfig(data=images, target_flops=4e6, changes=("train=classifier",))
    with pytest.raises(ValueError, match="train=classifier: needs pretrained weights"):
        run_baseline(config, out=tmp_path / "out")


def test_scores_without_training_accept_any_recipe() -> None:
    assert [name for name in PRESETS if needs_weights(preset(name))] == ["finetune", "linear-probe"]
