"""All commands use the same rule for the length of a training in optimizer steps."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.evaluators.proxy import Fidelity, fitted
from nas.fidelity.plan import ladder, longest_of
from nas.lengths import fidelity_of, length_lines
from nas.search.config import SearchConfig
from nas.search.job import plan_of
from nas.search.setup import prepare
from scaling.options import ComparisonOptions
from scaling.trainings import measuring_of, usual_fidelity
from tests.commands import train_run
from tests.train.files import folder_of
from train.length import (
    FIRST_JUDGED,
    described,
    enough_epochs,
    first_judged,
    lengthened,
    too_short,
)
from train.recipe import PRESETS, change, preset

PHOTOGRAPHS, CIFAR10 = 648, 45_000  # training images without a minival of a tenth


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of 720 training images in 12 classes."""
    counts = {
        f"{split}/class{n:02}": count
        for n in range(12)
        for split, count in (("train", 60), ("test", 1))
    }
    return f"imagefolder:{folder_of(tmp_path_factory.mktemp('photographs'), counts)}"


def steps_of(epochs: int, images: int, batch: int = 128) -> int:
    return epochs * max(1, images // batch)


def test_small_data_get_more_epochs_and_large_data_the_recipes() -> None:
    proxy = preset("proxy")
    assert enough_epochs(proxy, CIFAR10) == proxy.epochs == 10
    assert enough_epochs(proxy, PHOTOGRAPHS) == 60
    assert enough_epochs(proxy, 200) == 300
    for name in ("efficientnet", "efficientnetv2"):
        assert enough_epochs(preset(name), 5000) == preset(name).epochs, "as published"
    for name in PRESETS:
        recipe = preset(name)
        for count in (40, PHOTOGRAPHS, CIFAR10):
            longer = lengthened(recipe, count)
            assert steps_of(longer.epochs, count, recipe.batch) >= recipe.least_steps
            assert longer.warmup_epochs / longer.epochs == pytest.approx(
                recipe.warmup_epochs / recipe.epochs
            )


@pytest.mark.parametrize(
    ("epochs", "per_epoch", "judged"),
    [(10, 351, 2), (60, 5, 20), (300, 1, 100), (8, 70, 2), (9, 70, 2), (3, 5, 20), (1, 1000, 1)],
)
def test_trainings_are_judged_after_enough_steps(epochs: int, per_epoch: int, judged: int) -> None:
    assert first_judged(epochs, per_epoch) == judged
    assert judged * per_epoch >= FIRST_JUDGED


def test_lengths_are_printed_in_steps() -> None:
    recipe = lengthened(preset("proxy"), PHOTOGRAPHS)
    assert described(recipe, PHOTOGRAPHS, judged=20) == (
        "60 epochs x 5 steps = 300 optimizer steps; first compared after 100"
    )
    assert described(recipe, PHOTOGRAPHS) == "60 epochs x 5 steps = 300 optimizer steps"
    short = change(preset("proxy"), ["epochs=3"])
    assert described(short, PHOTOGRAPHS, judged=20).endswith(
        "15 optimizer steps; none is stopped early"
    )
    assert too_short(recipe, PHOTOGRAPHS) == ""
    assert "15 optimizer steps are few: recipe proxy needs about 300" in too_short(short, 648)
    assert too_short(short, 648).endswith("use --set epochs=60")


def test_named_epochs_win_and_get_a_warning() -> None:
    recipe = preset("proxy")
    for text, changes in (("epochs=3", []), ("", ["epochs=3"]), ("share=0.5", ["epochs=3"])):
        own = change(recipe, changes)
        found = fidelity_of(text, own, changes, images=PHOTOGRAPHS)
        assert found.epochs == 3
        _, warning = length_lines(fitted(own, found, images=PHOTOGRAPHS), found, images=PHOTOGRAPHS)
        assert "optimizer steps are few" in warning
        assert f"--fidelity epochs={150 if found.share < 1 else 60},share=" in warning
    assert fidelity_of("share=0.5", recipe, [], images=PHOTOGRAPHS) == Fidelity(150, 0.5)
    assert fidelity_of("", recipe, [], images=CIFAR10) == Fidelity(10)


def search_config(images: str, **more: Any) -> SearchConfig:
    return SearchConfig(
        evaluator="proxy", data=images, target_flops=4e6, budget=4, resolution=32, **more
    )


def test_all_commands_train_a_folder_of_photographs_equally_long(images: str) -> None:
    """nas.search once used 50 steps, compared after 10, where scaling.baseline used 300."""
    config, measuring, _ = prepare(search_config(images))
    assert config.fidelity == "epochs=60,share=1"
    asha = plan_of(config, measuring).asha
    assert asha is not None
    assert asha.rungs[0] * 5 == FIRST_JUDGED
    grid = ComparisonOptions(data=images)
    assert measuring_of(grid).fidelity == measuring.fidelity
    whole = measuring_of(replace(grid, fidelity=""))
    assert whole.fidelity == measuring.fidelity
    assert longest_of(preset("proxy"), images=PHOTOGRAPHS) == measuring.fidelity
    assert lengthened(preset("proxy"), PHOTOGRAPHS).epochs == 60


def test_a_grace_that_the_user_names_is_kept(images: str) -> None:
    config, measuring, _ = prepare(search_config(images, grace=3))
    asha = plan_of(config, measuring).asha
    assert asha is not None
    assert asha.first == 3


def test_defaults_on_cifar10_are_those_of_the_experiments() -> None:
    assert str(usual_fidelity(preset("proxy"), CIFAR10, 10)) == "epochs=8,share=0.2"
    assert str(longest_of(preset("proxy"), images=CIFAR10)) == "epochs=10,share=0.44"


@pytest.mark.parametrize("count", [130, 400, PHOTOGRAPHS, 3000, CIFAR10])
def test_cheaper_fidelities_have_enough_steps_to_be_compared(count: int) -> None:
    longest = longest_of(preset("proxy"), images=count)
    assert steps_of(longest.epochs, round(longest.share * count)) >= 300
    for cheaper in ladder(longest, images=count, side=32, batch=128):
        assert steps_of(cheaper.epochs, round(cheaper.share * count)) >= FIRST_JUDGED


@pytest.mark.slow
def test_a_run_on_few_images_says_how_many_steps_it_takes(
    images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["mobilenet_v2", "--data", images, "--resolution", "32", "--width", "0.1"]
    assert (
        train_run(
            [
                *words,
                "--set",
                "epochs=1",
                "--set",
                "warmup_epochs=0",
                "--out",
                str(tmp_path / "named"),
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    said = capsys.readouterr().err
    assert "recipe proxy: 1 epoch x 5 steps = 5 optimizer steps, of batch 128" in said
    assert "warning: 5 optimizer steps are few: recipe proxy needs about 300" in said


def test_recipes_of_earlier_versions_have_no_least_length() -> None:
    fields = preset("proxy").to_dict()
    del fields["least_steps"]
    old = type(preset("proxy")).from_dict(fields)
    assert lengthened(old, PHOTOGRAPHS) == old
    assert dataclasses.replace(old, least_steps=300) == preset("proxy")
