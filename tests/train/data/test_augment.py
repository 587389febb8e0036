"""Augmentation: torchvision's transforms, with random numbers that depend on seed and position."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from train.data import augment
from train.data.augment import Augmentation, Draws, Preparation, finish, frame, mix, recolour


def images(count: int = 24, side: int = 32, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randint(0, 256, (count, channels, 4, 4), dtype=torch.uint8, generator=generator)
    return F.resize(coarse, [side, side])


def augmented(pixels: torch.Tensor, how: Any, positions: np.ndarray, seed: int = 5) -> torch.Tensor:
    draws = Draws(seed, positions)
    return finish(recolour(frame(pixels, how, draws), how, draws), how, draws)


WAYS = (
    Augmentation(size=32),
    Augmentation(size=24, crop="resized", crop_area=0.5, flip=False),
    Augmentation(size=32, crop="pad"),
    Augmentation(size=40, crop="pad", erasing=0.5),
    Augmentation(size=32, crop="none", policy="randaugment", magnitude=17.3),
    Augmentation(size=32, crop="pad", policy="autoaugment", group=4, erasing=0.5),
    Augmentation(size=32, crop="none", policy="autoaugment-cifar10"),
    Preparation(size=28, crop_share=0.875),
)


@pytest.mark.parametrize("how", WAYS, ids=range(len(WAYS)))
def test_an_image_depends_on_seed_and_position_alone(how: Any) -> None:
    pixels = images()
    before, state = pixels.clone(), torch.get_rng_state()
    whole = augmented(pixels, how, np.arange(24))
    assert whole.shape == (24, 3, how.size, how.size)
    assert whole.dtype == torch.float32
    assert whole.is_contiguous(memory_format=torch.channels_last)
    for part in (slice(0, 10), slice(10, 24), slice(7, 8)):
        assert torch.equal(augmented(pixels[part], how, np.arange(24)[part]), whole[part])
    odd = np.arange(1, 24, 2)
    assert torch.equal(augmented(pixels[odd], how, odd), whole[odd])
    other = augmented(pixels, how, np.arange(24), seed=6)
    assert torch.equal(other, whole) == isinstance(how, Preparation)
    assert torch.equal(pixels, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("how", WAYS, ids=range(len(WAYS)))
def test_no_image_is_no_error_and_grey_images_work(how: Any) -> None:
    assert len(augmented(images(2)[:0], how, np.arange(0))) == 0
    assert augmented(images(4, channels=1), how, np.arange(4)).shape[1] == 1


def test_ways_can_be_pickled_and_compared() -> None:
    for how in WAYS:
        assert pickle.loads(pickle.dumps(how)) == how
        assert hash(how) == hash(dataclasses.replace(how))


def test_half_the_images_are_flipped_and_nothing_else_happens_to_them() -> None:
    pixels = images(1).expand(2000, -1, -1, -1)
    output = frame(pixels, Augmentation(size=32, crop="none"), Draws(0, np.arange(2000)))
    flipped = (output == pixels.flip(-1)).all((1, 2, 3))
    kept = (output == pixels).all((1, 2, 3))
    assert bool((flipped ^ kept).all())
    assert 900 < int(flipped.sum()) < 1100


def test_padded_crops_have_every_offset_equally_often() -> None:
    rows = torch.arange(32, dtype=torch.uint8)
    pixels = torch.stack([rows[:, None].expand(32, 32), rows.expand(32, 32), rows.expand(32, 32)])
    how = Augmentation(size=32, crop="pad", flip=False)
    output = frame(pixels.expand(4050, -1, -1, -1), how, Draws(3, np.arange(4050)))
    top, left = output[:, 0, 10, 0].long() - 10, output[:, 1, 0, 10].long() - 10
    counts = torch.bincount((top + 4) * 9 + left + 4, minlength=81)
    assert top.abs().max() == left.abs().max() == 4
    assert counts.min() > 20
    assert counts.max() < 90
    padded = F.pad(pixels, [4, 4, 4, 4], padding_mode="reflect")
    for index in range(20):
        offset = (int(top[index]) + 4, int(left[index]) + 4)
        assert torch.equal(output[index], F.crop(padded, *offset, 32, 32))


def test_a_gpu_cuts_the_same_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The crops by indexing equal those on a CPU for images of any sides."""
    pixels = F.resize(images(50), [32, 48])
    how, draws = Augmentation(size=32, crop="pad"), Draws(4, np.arange(50))
    on_cpu = frame(pixels, how, draws)
    monkeypatch.setattr(augment, "_cut_in_groups", augment._cut_at_once)
    assert torch.equal(frame(pixels, how, draws), on_cpu)


def test_resized_crops_are_torchvisions() -> None:
    pixels, how = images(6, side=50), Augmentation(size=32, crop_area=0.3, flip=False)
    draws = Draws(9, np.arange(6))
    output = frame(pixels, how, draws)
    transform = v2.RandomResizedCrop(32, scale=(0.3, 1.0))
    for index, seed in enumerate(draws.seeds(1)):
        torch.manual_seed(int(seed))
        assert torch.equal(output[index], transform(pixels[index]))


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (33, 47), (64, 64), (2, 300)])
def test_preparation_is_torchvisions_resize_and_centre_crop(shape: tuple[int, int]) -> None:
    pixels = F.resize(images(3), list(shape))
    how = Preparation(size=28, crop_share=0.875)
    output = augmented(pixels, how, np.arange(3))
    if shape != (2, 300):  # cropped first, otherwise it would become 32 x 4800
        expected = v2.Compose(
            [
                v2.Resize(32),
                v2.CenterCrop(28),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(how.mean, how.std),
            ]
        )(pixels)
        torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    assert output.shape == (3, 3, 28, 28)


@pytest.mark.parametrize(
    "name", ["ShearX", "Rotate", "TranslateY", "Color", "Solarize", "Posterize"]
)
@pytest.mark.parametrize(("papers", "torchvisions"), [(0, 0), (5, 15), (10, 30)])
def test_a_magnitude_of_ten_is_torchvisions_top(name: str, papers: int, torchvisions: int) -> None:
    from train.data.augment import _RandAugment

    mine, theirs = _RandAugment(1, papers, (0, 0, 0)), v2.RandAugment(1, torchvisions)
    strength = mine._AUGMENTATION_SPACE[name][0](31, 64, 64)[0]
    expected = theirs._AUGMENTATION_SPACE[name][0](31, 64, 64)[torchvisions]
    assert strength == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("name", "strength"),
    [
        ("ShearX", 0.75),
        ("Rotate", 75),
        ("Color", 2.25),
        ("TranslateX", 150 / 331 * 64),
        ("Posterize", 4),
        ("Solarize", 0),
    ],
)
def test_magnitudes_above_ten_grow_or_stop(name: str, strength: float) -> None:
    from train.data.augment import _RandAugment

    space = _RandAugment(2, 25, (0, 0, 0))._AUGMENTATION_SPACE
    assert space[name][0](31, 64, 64)[0] == pytest.approx(strength)
    assert set(space) == set(v2.RandAugment._AUGMENTATION_SPACE)


def test_fractions_of_a_magnitude_count() -> None:
    outputs = [
        augmented(
            images(),
            Augmentation(
                size=32, crop="none", flip=False, policy="randaugment", magnitude=magnitude
            ),
            np.arange(24),
        )
        for magnitude in (9.0, 9.5, 10.0)
    ]
    assert not torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[1], outputs[2])


def test_the_strongest_policies_run_on_every_operation() -> None:
    how = Augmentation(size=16, policy="randaugment", magnitude=30, layers=4)
    output = augmented(images(200), how, np.arange(200))
    assert bool(torch.isfinite(output).all())


def test_a_group_shares_its_draw() -> None:
    pixels = images(1).expand(32, -1, -1, -1)
    how = Augmentation(size=32, crop="none", flip=False, policy="randaugment", erasing=0.5, group=8)
    output = augmented(pixels, how, np.arange(32))
    firsts = output[::8].repeat_interleave(8, 0)
    assert torch.equal(output, firsts)
    assert len({group.numpy().tobytes() for group in output[::8]}) == 4


def test_erasing_happens_as_often_as_given_and_leaves_the_mean() -> None:
    pixels = torch.full((1000, 3, 16, 16), 255, dtype=torch.uint8)
    how = Augmentation(size=16, crop="none", erasing=0.3)
    output = augmented(pixels, how, np.arange(1000))
    erased = (output == 0).all(1)
    assert 240 < int(erased.any((1, 2)).sum()) < 360
    assert bool(((output == 0).all(1) | (output > 2).all(1)).all())


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 0.0), (0.0, 1.0), (0.8, 1.0), (0.0, 0.0)])
@pytest.mark.parametrize("soft", [False, True])
def test_mixing_keeps_the_sum_of_targets_and_is_seeded(
    mixup: float, cutmix: float, soft: bool
) -> None:
    pixels = images(8).float().contiguous(memory_format=torch.channels_last)
    labels = torch.arange(8) % 5
    targets = torch.nn.functional.one_hot(labels, 5).float() if soft else labels
    state = torch.get_rng_state()
    results = [mix(pixels, targets, 5, mixup=mixup, cutmix=cutmix, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    mixed, shares = results[0]
    assert shares.shape == (8, 5)
    torch.testing.assert_close(shares.sum(1), torch.ones(8))
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(mixed, results[1][0])
    assert torch.equal(mixed, results[2][0]) == (mixup == cutmix == 0)
    # the share of the targets is the share of the pictures
    share = shares[0, 0]
    if mixup and not cutmix:
        torch.testing.assert_close(mixed[0], pixels[0] * share + pixels[7] * (1 - share))
    elif cutmix and not mixup:
        inside = (mixed[0] != pixels[0]).any(0)
        assert float(inside.float().mean()) == pytest.approx(1 - float(share), abs=0.05)


def test_both_kinds_of_mixing_take_turns() -> None:
    pixels = images(4).float()
    kinds = []
    for seed in range(40):
        mixed, _ = mix(pixels, torch.arange(4), 4, mixup=1.0, cutmix=1.0, seed=seed)
        kinds.append(bool(((mixed == pixels) | (mixed == pixels.roll(1, 0))).all()))
    assert 10 < sum(kinds) < 30


@pytest.mark.parametrize(
    ("field", "value", "right"),
    [
        ("size", 0, "at least 1"),
        ("size", 32.0, "integer"),
        ("crop", "random", "resized"),
        ("crop_area", 0, "above 0"),
        ("crop_area", 1.5, "to 1"),
        ("flip", 1, "True or False"),
        ("policy", "trivial", "randaugment"),
        ("magnitude", 31, "to 30"),
        ("magnitude", None, "30"),
        ("layers", -1, "at least 0"),
        ("erasing", float("nan"), "to 1"),
        ("group", 0, "at least 1"),
        ("mean", (0.5,), "three"),
        ("std", (0.1, 0.0, 0.1), "above 0"),
        ("std", [1, 1, 1], "tuple"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(field: str, value: Any, right: str) -> None:
    with pytest.raises(ValueError, match=field) as caught:
        Augmentation(**{"size": 32, field: value})
    assert repr(value) in str(caught.value)
    assert right in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [("size", "32"), ("crop_share", 0), ("mean", None)])
def test_a_wrong_field_of_a_preparation_is_named(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        Preparation(**{"size": 32, field: value})
