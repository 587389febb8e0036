"""Recipes: published numbers, changes from the command line, schedules, progressive learning."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from timm.optim import RMSpropTF as TimmRMSprop

from train.optimizer import MovingAverage, RMSpropTF, learning_rate, optimizer, peak_lr
from train.progressive import phase
from train.recipe import FIELDS, PRESETS, Recipe, change, preset


def test_efficientnet_is_as_published() -> None:
    assert preset("efficientnet", network="tf_efficientnet_b7").dropout == 0.5
    recipe = preset("efficientnet", network="efficientnet_b7")
    assert (recipe.epochs, recipe.batch, recipe.ema_decay, recipe.weight_decay) == (
        350,
        4096,
        0.9999,
        1e-5,
    )
    assert peak_lr(recipe) == pytest.approx(0.256)
    assert (recipe.policy, recipe.dropout, recipe.drop_path) == ("autoaugment", 0.5, 0.2)
    assert (recipe.rms_decay, recipe.momentum, recipe.eps) == (0.9, 0.9, 1e-3)


@pytest.mark.parametrize(
    ("network", "sizes"),
    [("s", (300, 384)), ("m", (380, 480)), ("b0", (192, 224)), ("b3", (240, 300))],
)
def test_efficientnetv2_trains_and_is_evaluated_at_the_published_sizes(network, sizes) -> None:
    for prefix in ("", "tf_"):
        recipe = preset("efficientnetv2", network=f"{prefix}efficientnetv2_{network}")
        assert (recipe.resolution, recipe.eval_resolution) == sizes


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json(name: str) -> None:
    recipe = preset(name)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("variant", "network", "sizes", "magnitudes", "dropouts"),
    [
        ("paper", "efficientnetv2_s", (128, 185, 243, 300), (5, 15), (0.1, 0.3)),
        ("paper", "efficientnetv2_m", (128, 212, 296, 380), (5, 20), (0.1, 0.4)),
        ("google", "efficientnetv2_s", (171, 214, 257, 300), (6.25, 10), (0.2, 0.2)),
        ("google", "efficientnetv2_l", (191, 254, 317, 380), (8.75, 20), (0.4, 0.4)),
    ],
)
def test_both_published_progressive_schedules(variant, network, sizes, magnitudes, dropouts):
    recipe = preset("efficientnetv2", network=network, variant=variant)
    phases = [phase(recipe, epoch) for epoch in (0, 100, 200, 349)]
    assert tuple(now.resolution for now in phases) == sizes
    assert (phases[0].magnitude, phases[-1].magnitude) == pytest.approx(magnitudes)
    assert (phases[0].dropout, phases[-1].dropout) == pytest.approx(dropouts)
    stages = [phase(recipe, epoch).stage for epoch in range(recipe.epochs)]
    assert stages == sorted(stages)
    assert {stages.count(stage) for stage in range(4)} <= {87, 88}


def test_changes_are_read_in_the_type_of_their_field() -> None:
    changed = change(
        preset("proxy"),
        ["epochs=3", "lr=1e-1", "flip=False", "policy=autoaugment", "mean=0.5,0.5,.5"],
    )
    assert (changed.epochs, changed.lr, changed.flip) == (3, 0.1, False)
    assert (changed.policy, changed.mean) == ("autoaugment", (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch=3", ("no field 'epoch'; did you mean epochs or decay_epochs or warmup_epochs?",)),
        ("epochs=3.5", ("epochs is a whole number", "'3.5'")),
        ("zzz=3", ("no field 'zzz'; fields: epochs, batch",)),
        ("epochs=0", ("epochs: 0 is not allowed", "from 1")),
        ("epochs", ("write it as field=value",)),
        ("flip=maybe", ("true or false",)),
        ("mean=1,2", ("mean", "three numbers")),
        ("std=1,0,1", ("std", "1e-06 to 1000")),
        ("lr=nan", ("lr: nan", "a number from 0")),
        ("lr=fast", ("lr is a number", "'fast'")),
        ("optimizer=adam", ("rmsprop, sgd, adamw, muon",)),
        ("stem=white", ("stem", "random, whitened, frozen")),
        ("device_batch=48", ("does not divide",)),
        ("stages=4", ("min_resolution",)),
        ("stages=11", ("min_resolution",)),
        ("name=mine", ("no field 'name'",)),
        ("warmup_epochs=10", ("warmup_epochs: 10 is not below 10 epochs",)),
        ("dropout=1", ("dropout: 1.0",)),
    ],
)
def test_an_impossible_change_says_what_is_possible(text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="--set") as error:
        change(preset("proxy"), [text])
    assert "\n" not in str(error.value)
    assert not ("did you mean" in str(error.value) and "fields: " in str(error.value))
    for word in words:
        assert word in str(error.value)


def test_a_warm_up_fits_into_fewer_epochs() -> None:
    whole = preset("finetune")
    assert change(whole, ["epochs=2"]).warmup_epochs == whole.warmup_epochs == 1.0
    assert change(whole, ["epochs=1"]).warmup_epochs == pytest.approx(1 / 15)
    assert change(whole, ["epochs=1", "warmup_epochs=0.5"]).warmup_epochs == 0.5
    with pytest.raises(ValueError, match="warmup_epochs: 1 is not below 1 epoch;"):
        change(whole, ["epochs=1", "warmup_epochs=1"])


def test_fields_of_later_versions_are_stored_only_if_they_are_used() -> None:
    later = ("muon_lr", "muon_weight_decay", "norm_bias_factor", "stem", "alternating_flip")
    assert not {*change(preset("proxy"), ["optimizer=sgd"]).to_dict()} & {*later}
    used = change(
        preset("proxy"),
        ["optimizer=muon", "norm_bias_factor=64", "stem=frozen", "alternating_flip=true"],
    )
    assert {*later} < {*used.to_dict()}
    assert Recipe.from_dict(used.to_dict()) == used


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["optimizer=muon", "lr=0"], "lr: 0 is not allowed with muon"),
        (["alternating_flip=true", "flip=false"], "alternating_flip: true is not allowed"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changes: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        change(preset("proxy"), changes)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"nme": 1}, "no field 'nme'"),
        ({"name": "x", "epochs": 1}, "batch is missing"),
        ({"name": "x", "epochs": "3", "batch": 1}, "epochs: '3' is not allowed"),
    ],
)
def test_a_stored_recipe_is_checked(fields: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Recipe.from_dict(fields)


def test_unknown_presets_and_variants_are_named() -> None:
    with pytest.raises(ValueError, match="did you mean proxy"):
        preset("proxi")
    with pytest.raises(ValueError, match="variant: 'googel'"):
        preset("efficientnetv2", variant="googel")


def test_every_number_of_a_recipe_has_a_range() -> None:
    for name, kind in FIELDS.items():
        if kind in (int, float):
            with pytest.raises(ValueError, match=name):
                dataclasses.replace(preset("proxy"), **{name: kind(-1)})


def test_learning_rate_warms_up_and_decays_as_published() -> None:
    recipe = preset("efficientnet")
    steps = 312
    rates = [learning_rate(recipe, epoch * steps, steps) for epoch in range(350)]
    assert rates[0] == pytest.approx(0.256 / (5 * steps))
    assert rates[5] == pytest.approx(0.256 * 0.97 ** (5 // 2.4))
    assert rates[240] == pytest.approx(0.256 * 0.97**100)
    assert max(rates) <= 0.256


@pytest.mark.parametrize(("schedule", "half"), [("cosine", 0.5), ("linear", 0.5), ("constant", 1)])
def test_schedules_reach_half_and_end(schedule: str, half: float) -> None:
    recipe = change(preset("proxy"), [f"schedule={schedule}", "epochs=12", "warmup_epochs=2"])
    peak = peak_lr(recipe)
    assert learning_rate(recipe, 70, 10) == pytest.approx(half * peak)
    end = learning_rate(recipe, 119, 10)
    assert end == pytest.approx(peak) if schedule == "constant" else end < 0.02 * peak


def parameters(seed: int) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(n, 3, generator=generator)) for n in (1, 7)]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rmsprop_is_timms(momentum: float) -> None:
    mine, theirs = parameters(0), parameters(0)
    own = RMSpropTF(
        [{"params": mine, "weight_decay": 1e-2}], lr=0.1, decay=0.9, momentum=momentum, eps=1e-3
    )
    reference = TimmRMSprop(
        theirs, lr=0.1, alpha=0.9, momentum=momentum, eps=1e-3, weight_decay=1e-2
    )
    for step in range(5):
        for group in (own, reference):
            group.param_groups[0]["lr"] = 0.1 / (step + 1)
        for a, b in zip(mine, theirs, strict=True):
            a.grad = torch.sin(a.detach() * 3 + step)
            b.grad = torch.sin(b.detach() * 3 + step)
        own.step()
        reference.step()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_biases_and_norms_do_not_decay() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    made = optimizer(change(preset("efficientnet"), ["batch=256"]), network)
    decays = {len(group["params"]): group["weight_decay"] for group in made.param_groups}
    assert decays == {1: 1e-5, 3: 0.0}


def test_the_moving_average_ramps_up() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    average = MovingAverage(network, 0.5)
    expected = 0.0
    for n in range(12):
        torch.nn.init.constant_(network.weight, float(n))
        average.update(network, n)
        keep = min(0.5, (1 + n) / (10 + n))
        expected = keep * expected + (1 - keep) * n
    assert float(average.network.weight) == pytest.approx(expected, rel=1e-5)
