"""Short trainings as evaluations of a search: curves, resume, caching, and refused settings."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.evaluators.base import Point
from nas.evaluators.proxy import Fidelity, Proxy, fitted
from nas.storage.cache import Cache
from search_spaces.catalog import space
from search_spaces.staged import StagedSpace
from tests.nas.toys import tiny_space
from tests.train import toys
from train import loop
from train.data import Data
from train.execution import Execution
from vbs.failures import DataLost, InfrastructureError

TWO = Fidelity(2)


def toy_space(classes: int = 3) -> StagedSpace:
    return space("compact", resolution=16, classes=classes, width=0.5, small_images=True)


GENOTYPE = toy_space().sample(1, np.random.default_rng(0))[0]


def known_data(**changes: Any) -> Data:
    """Return toys with an identity, as loaded data have."""
    data = toys.data()
    loaded = {"minival": 0.1, "channels": 3, "seed": 0}
    return replace(data, settings=data.settings | loaded, **changes)


def proxy(
    fidelity: Fidelity = TWO,
    *changes: str,
    data: Data | None = None,
    cache: Cache | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Proxy:
    recipe = toys.recipe("resolution=0", *changes)
    on_cpu = Execution(device="cpu")
    return Proxy(data or toys.data(), recipe, fidelity, on_cpu, cache=cache, clock=clock)


def points_of(of: Proxy, **options: Any) -> list[Point]:
    return list(of.curve(toy_space(), GENOTYPE, **options))


def accuracies(points: list[Point]) -> list[float]:
    return [point.accuracy for point in points]


def test_a_curve_has_a_point_for_every_epoch() -> None:
    three = proxy(Fidelity(3))
    points = points_of(three)
    assert [point.step for point in points] == [1, 2, 3]
    assert three.steps == 3
    seconds = [point.seconds for point in points]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    thirtieths = np.array(accuracies(points)) * len(toys.data().minival or ()) / 100
    assert np.allclose(thirtieths, thirtieths.round())


def test_a_seed_decides_the_curve() -> None:
    first, again, other = (accuracies(points_of(proxy(), seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_an_evaluation_that_was_left_goes_on_from_its_folder(tmp_path: Path) -> None:
    whole = points_of(proxy(Fidelity(3)), seed=4)
    begun = proxy(Fidelity(3)).curve(toy_space(), GENOTYPE, seed=4, folder=tmp_path)
    left = next(begun)
    begun.close()  # type: ignore[attr-defined]
    resumed = points_of(proxy(Fidelity(3)), seed=4, folder=tmp_path)
    assert accuracies(resumed) == accuracies(whole)
    assert resumed[0].accuracy == left.accuracy
    assert points_of(proxy(Fidelity(3)), seed=4, folder=tmp_path)[-1].accuracy == whole[-1].accuracy


def test_seconds_are_by_the_clock_that_was_given(tmp_path: Path) -> None:
    timeless = proxy(clock=lambda: 7.0)
    assert [point.seconds for point in points_of(timeless, folder=tmp_path)] == [0.0, 0.0]
    resumed = points_of(timeless, folder=tmp_path)  # now by what the checkpoint knows
    assert 0 < resumed[0].seconds < resumed[1].seconds


def test_what_was_trained_before_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = {"cache": Cache(tmp_path), "data": known_data()}
    first = points_of(proxy(**cached), seed=1)

    def fails(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("trained again")

    monkeypatch.setattr(loop, "train_by_epochs", fails)
    assert points_of(proxy(**cached), seed=1) == first
    for other in (proxy(TWO, "lr=0.2", **cached), proxy(Fidelity(3), **cached)):
        with pytest.raises(AssertionError, match="trained again"):
            points_of(other, seed=1)
    with pytest.raises(AssertionError, match="trained again"):
        points_of(proxy(**cached), seed=2)


def test_an_evaluation_that_was_left_is_not_cached(tmp_path: Path) -> None:
    begun = proxy(cache=Cache(tmp_path), data=known_data()).curve(toy_space(), GENOTYPE)
    next(begun)
    begun.close()  # type: ignore[attr-defined]
    assert not list(tmp_path.rglob("*.json"))


def test_a_cache_needs_data_that_say_which_they_are(tmp_path: Path) -> None:
    nameless = proxy(cache=Cache(tmp_path), data=replace(toys.data(), settings={}))
    with pytest.raises(ValueError, match="has no 'channels' in its settings"):
        points_of(nameless)
    assert points_of(proxy(data=replace(toys.data(), settings={})))


def test_share_and_resolution_are_those_of_the_fidelity(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, ...]] = []
    train_by_epochs = loop.train_by_epochs

    def watched(architecture: Any, data: Data, recipe: Any, **options: Any) -> Any:
        seen.append((data.train, recipe))
        return train_by_epochs(architecture, data, recipe, **options)

    monkeypatch.setattr(loop, "train_by_epochs", watched)
    for seed in (0, 1):
        points_of(proxy(Fidelity(1, share=0.25, resolution=8)), seed=seed)
    (images, recipe), (same, _) = seen
    assert len(images) == 24
    assert (images.rows == same.rows).all()
    assert len(set(images.rows)) == 24
    assert (recipe.resolution, recipe.epochs) == (8, 1)


def test_the_warm_up_is_shortened_with_the_epochs_and_stages_are_off() -> None:
    recipe = toys.recipe("epochs=10", "warmup_epochs=2", "stages=4", "min_resolution=8")
    short = fitted(recipe, Fidelity(5), images=96)
    assert (short.epochs, short.warmup_epochs, short.stages) == (5, 1.0, 1)
    assert fitted(short, Fidelity(5), images=96) == short


def test_a_training_that_fails_is_told_with_its_reason() -> None:
    answers = proxy(TWO, "lr=1000", "lr_batch=1").evaluate(toy_space(), GENOTYPE[None])
    assert answers.error is not None
    assert "loss is" in answers.error[0]
    assert np.isnan(answers.accuracy[0])


@pytest.mark.parametrize(
    ("changes", "fidelity", "message"),
    [
        ({"minival": None}, TWO, "there are no held-out images"),
        ({"classes": ("red",)}, TWO, "has one class; there is nothing to learn"),
        ({}, Fidelity(2, share=0.1), "leaves 10 of 96 training images, less than the batch of 16"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(
    changes: dict[str, Any], fidelity: Fidelity, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        proxy(fidelity, data=replace(toys.data(), **changes))


def test_spaces_of_other_classes_or_networks_are_refused() -> None:
    proxy().check(toy_space())
    with pytest.raises(ValueError, match="the space has 4, but toys has 3"):
        proxy().check(toy_space(classes=4))
    with pytest.raises(ValueError, match="decodes to tuple, which cannot be trained"):
        proxy().check(tiny_space())


@pytest.mark.parametrize(
    ("text", "fidelity"),
    [
        ("", Fidelity(7)),
        ("share=0.2", Fidelity(7, 0.2)),
        ("epochs=9, share=0.5, resolution=24", Fidelity(9, 0.5, 24)),
    ],
)
def test_a_fidelity_is_read_as_it_is_written(text: str, fidelity: Fidelity) -> None:
    assert Fidelity.parse(text, epochs=7) == fidelity
    assert Fidelity.parse(str(fidelity), epochs=1) == fidelity


WRONG = (
    "epochs=0",
    "epochs=1.5",
    "share=0",
    "share=nan",
    "share=1.1",
    "resolution=4",
    "size=3",
    "epochs",
    "epochs=3;share=1",
)


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_fidelity_is_told_in_a_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"fidelity: .*(not allowed|not understood); ") as caught:
        Fidelity.parse(text, epochs=7)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncated", "other"])
def test_a_training_with_a_useless_checkpoint_begins_again(tmp_path: Path, damage: str) -> None:
    three = proxy(Fidelity(3))
    whole = accuracies(points_of(three))
    left = three.curve(toy_space(), GENOTYPE, folder=tmp_path)
    next(left)
    left.close()
    state = tmp_path / "last.safetensors"
    if damage == "truncated":
        state.write_bytes(state.read_bytes()[:-100])
    else:
        list(proxy(Fidelity(2)).curve(toy_space(), GENOTYPE, seed=1, folder=tmp_path / "b"))
        (tmp_path / "b" / "last.safetensors").replace(state)
    assert accuracies(points_of(three, folder=tmp_path)) == whole


def test_images_that_are_gone_are_no_failure_of_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> Any:
        raise DataLost("data: 30 of 30 images are unreadable, as /data/1.png")

    one = proxy()
    monkeypatch.setattr(type(one.data.train), "pictures", gone)
    with pytest.raises(InfrastructureError, match=r"/data/1\.png"):
        one.evaluate(toy_space(), GENOTYPE[None])
    monkeypatch.setattr(type(one.data.train), "pictures", lambda *_, **__: 1 / 0)
    assert "ZeroDivisionError" in one.evaluate(toy_space(), GENOTYPE[None]).error[0]
