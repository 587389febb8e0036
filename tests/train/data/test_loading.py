"""Splits: batches that do not depend on the process that computes them, and damaged images."""

from __future__ import annotations

import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.train.files import PLAIN, all_of, encoded, folder_of
from train.data import UNLABELLED, Split, Step, blend, evaluation_steps, load
from train.data import decode as images_module
from train.data.augment import Augmentation, Preparation
from train.data.decode import Unreadable, decode
from train.data.in_memory import MemorySplit
from train.data.reading import Reading
from train.data.stores import FileStore
from train.data.streaming import StreamSplit


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Split, Split]:
    """Return the same 60 images in memory and streamed."""
    place = folder_of(tmp_path_factory.mktemp("pair"), {"train/a": 30, "train/b": 30, "test/a": 2})
    text = f"imagefolder:{place}"
    memory = load(text, minival=0).train
    stream = load(text, minival=0, reading=Reading(memory_limit=0)).train
    assert isinstance(memory, MemorySplit)
    assert isinstance(stream, StreamSplit)
    return memory, stream


STRONG = Augmentation(size=20, policy="randaugment", group=4, erasing=0.5)
PADDED = Augmentation(size=16, crop="pad", policy="autoaugment")


@pytest.mark.parametrize("how", [STRONG, PADDED, Preparation(size=20)])
def test_memory_stream_workers_and_parts_make_the_same_step(
    pair: tuple[Split, Split], how: Any
) -> None:
    memory, stream = pair
    order = memory.order(np.random.default_rng(0), 20)
    assert np.array_equal(order, stream.order(np.random.default_rng(0), 20))
    steps = [Step(row, slice(0, 20), seed) for seed, row in enumerate(order)]
    parts = [Step(s.indices, some, s.seed) for s in steps for some in (slice(0, 13), slice(13, 20))]
    state = torch.get_rng_state()
    expected = list(memory.batches(steps, how))
    others = [
        (steps, stream, 0),
        (steps, stream, 2),
        (parts, memory, 0),
        (parts, stream, 0),
        (steps[1:], memory, 0),
        (steps[1:], stream, 1),
    ]
    for some, split, workers in others:
        got = list(split.batches(some, how, workers=workers))
        wanted = expected[1:] if len(some) == len(steps) - 1 else expected
        assert torch.equal(torch.cat([x for x, _ in got]), torch.cat([x for x, _ in wanted]))
        assert torch.equal(torch.cat([y for _, y in got]), torch.cat([y for _, y in wanted]))
    assert torch.equal(torch.get_rng_state(), state)
    images, targets = expected[0]
    assert images.shape == (20, 3, how.size, how.size)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(targets, memory.targets[torch.from_numpy(order[0])])


def test_an_epoch_is_a_permutation_without_the_rest(pair: tuple[Split, Split]) -> None:
    order = pair[0].order(np.random.default_rng(1), 8)
    assert order.shape == (7, 8)
    assert order.dtype == np.int64
    assert len(set(order.ravel().tolist())) == 56
    with pytest.raises(ValueError, match="use 1 to 60"):
        pair[0].order(np.random.default_rng(1), 61)


def test_evaluation_sees_every_image_once_in_order() -> None:
    steps = evaluation_steps(10, 4)
    assert np.concatenate([step.indices[step.part] for step in steps]).tolist() == list(range(10))
    assert [len(step.indices) for step in steps] == [4, 4, 2]


@pytest.mark.parametrize("which", [0, 1])
def test_selections_share_images_and_may_repeat(pair: tuple[Split, Split], which: int) -> None:
    split = pair[which]
    chosen = split.select([5, 5, 40, 0]).select([0, 2, 3, 1])
    images, targets = all_of(split)
    some, labels = all_of(chosen)
    assert torch.equal(some, images[[5, 40, 0, 5]])
    assert torch.equal(labels, targets[[5, 40, 0, 5]])
    soft = chosen.with_targets(torch.full((4, 2), 0.5))
    assert torch.equal(all_of(soft)[1], torch.full((4, 2), 0.5))
    assert np.array_equal(pickle.loads(pickle.dumps(soft)).picture(1), split.picture(40))
    assert split.picture(3).shape == (16, 16, 3)
    assert split.picture(3, 5).shape == (5, 5, 3)
    with pytest.raises(ValueError, match="shape"):
        split.with_targets(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="int64"):
        split.with_targets(torch.zeros(len(split)))


@pytest.mark.parametrize("ratio", [3.0, 0.25])
def test_a_blend_keeps_its_ratio_and_its_images(pair: tuple[Split, Split], ratio: float) -> None:
    memory, stream = pair
    pseudo = stream.select(range(50)).with_targets(torch.full((50, 2), 0.5))
    both = blend(memory, pseudo, ratio=ratio)
    order = both.order(np.random.default_rng(0), 20)
    labelled = (order < 60).sum(1)
    assert set(labelled.tolist()) == {round(20 / (1 + ratio))}
    own = order[order < 60]
    assert len(set(own.tolist())) == len(own) > 60 - labelled[0]
    counts = np.bincount(order[order >= 60] - 60, minlength=50)
    assert counts.max() - counts.min() <= 1
    assert np.array_equal(order, both.order(np.random.default_rng(0), 20))
    step = Step(order[0], slice(0, 20), 7)
    images, targets = next(iter(both.batches([step], PADDED)))
    # the same images at the same places of a step of one split
    alone = next(iter(memory.batches([step._replace(indices=order[0] % 60)], PADDED)))[0]
    assert torch.equal(images, alone)
    assert torch.equal(targets.sum(1), torch.ones(20))
    halves = [Step(order[0], part, 7) for part in (slice(0, 1), slice(1, 20))]
    assert torch.equal(torch.cat([x for x, _ in both.batches(halves, PADDED)]), images)
    assert np.array_equal(both.picture(63), memory.picture(3))


def test_a_blend_needs_targets_and_both_kinds(pair: tuple[Split, Split]) -> None:
    bare = pair[0].with_targets(torch.full((60,), UNLABELLED))
    with pytest.raises(ValueError, match="with_targets"):
        blend(pair[0], bare, ratio=3)
    with pytest.raises(ValueError, match="batch: 2 gives 0 labelled"):
        blend(*pair, ratio=9).order(np.random.default_rng(0), 2)
    with pytest.raises(ValueError, match="ratio"):
        blend(*pair, ratio=0)


# --- what images look like


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_modes_of_images_become_rgb() -> None:
    grey = Image.new("L", (5, 4), 77)
    clear = Image.new("RGBA", (5, 4), (255, 0, 0, 0))
    deep = Image.fromarray(np.full((4, 5), 77 * 256 + 3, np.uint16))
    palette = Image.new("P", (5, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    cases = [
        (saved(grey), (77, 77, 77)),
        (saved(clear), (255, 255, 255)),
        (saved(deep), (77, 77, 77)),
        (saved(palette), (10, 20, 30)),
        (saved(palette, transparency=1), (255, 255, 255)),
        (saved(grey.convert("1")), None),
        (saved(grey.convert("LA")), (77, 77, 77)),
        (saved(Image.new("CMYK", (5, 4), (0, 0, 0, 255)), "JPEG"), (0, 0, 0)),
        (saved(grey, "GIF"), (77, 77, 77)),
        (saved(deep, "TIFF"), (77, 77, 77)),
    ]
    for data, colour in cases:
        pixels = decode(data, 3)
        assert pixels.shape == (3, 4, 5)
        assert pixels.dtype == torch.uint8
        if colour:
            assert (pixels.float().mean((1, 2)) - torch.tensor(colour)).abs().max() <= 1
        assert decode(data, 1).shape == (1, 4, 5)


def test_photographs_are_turned_as_their_exif_says() -> None:
    image = Image.new("RGB", (6, 4), (255, 0, 0))
    exif = Image.Exif()
    exif[274] = 6
    assert decode(saved(image, "JPEG", exif=exif), 3).shape == (3, 6, 4)
    assert decode(saved(image, "PNG", exif=exif), 3).shape == (3, 6, 4)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no image",
        encoded(0)[:300],
        encoded(0, kind="JPEG")[:200],
        encoded(0)[:20],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ],
    ids=["empty", "text", "cut-png", "cut-jpeg", "cut-header", "postscript"],
)
def test_damage_is_unreadable_in_one_line(data: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        decode(data, 3)
    assert "\n" not in str(caught.value)


def test_bombs_are_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "MAX_PIXELS", 200)
    with pytest.raises(Unreadable, match="16 x 16 pixels"):
        decode(encoded(0), 3)


# --- damage


@pytest.mark.parametrize("memory_limit", [2**30, 0])
def test_unreadable_files_are_skipped_counted_and_named(tmp_path: Path, memory_limit: int) -> None:
    place = folder_of(tmp_path, {"train/a": 10, "train/b": 10, "val/a": 2, "val/b": 2})
    (place / "train/a/003.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"1 of 20 images.*003\.png"):
        load(f"imagefolder:{place}", reading=Reading(memory_limit=memory_limit))
    data = load(
        f"imagefolder:{place}",
        minival=0,
        reading=Reading(memory_limit=memory_limit, corrupt_limit=0.05),
    )
    assert len(data.skipped) == data.settings["skipped"] == 1
    assert "a/003.png" in data.skipped[0]
    assert data.train.targets.tolist() == [0] * 9 + [1] * 10
    other = np.array(Image.open(place / "train/a/004.png"))
    assert np.array_equal(data.train.picture(3), other)


@pytest.mark.parametrize("workers", [0, 2])
def test_damage_met_while_streaming_takes_the_next_image(tmp_path: Path, workers: int) -> None:
    place = folder_of(tmp_path, {"train/a": 10, "train/b": 10, "val/a": 2, "val/b": 2})
    for name in ("a/009", "b/004"):
        path = place / "train" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:400])
    split = load(
        f"imagefolder:{place}", minival=0, reading=Reading(memory_limit=0, corrupt_limit=0.1)
    ).train
    with pytest.warns(UserWarning, match="unreadable") as caught:
        images, targets = all_of(split, workers=workers)
    assert sum("unreadable" in str(warning.message) for warning in caught) == 2  # torch warns too
    assert torch.equal(images[9], images[10])
    assert torch.equal(images[14], images[15])
    assert targets.tolist() == [0] * 9 + [1] * 11
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # each is named once
        assert torch.equal(all_of(split.select(range(20)))[0], images)
    strict = load(
        f"imagefolder:{place}", minival=0, reading=Reading(memory_limit=0, corrupt_limit=0.05)
    ).train
    with pytest.warns(match="unreadable"), pytest.raises(ValueError, match="2 of 20"):
        all_of(strict, workers=workers)
    names = tuple(str(place / "train" / f"{name}.png") for name in ("a/009", "b/004"))
    assert split.unreadable == names
    assert split.select(range(10)).unreadable == names[:1]
    both = blend(
        split.select([0, 9]), split.select([9, 14]).with_targets(torch.ones(2, 2)), ratio=1
    )
    assert both.unreadable == names


def test_pictures_are_those_of_batches_whatever_is_damaged(tmp_path: Path) -> None:
    place = folder_of(tmp_path, {"train/a": 10, "train/b": 10, "val/a": 2, "val/b": 2})
    for path in (place / "train/a").iterdir():
        path.write_bytes(path.read_bytes()[:400])
    reading = Reading(memory_limit=0, corrupt_limit=0)
    split = load(f"imagefolder:{place}", minival=0, reading=reading).train
    assert split.unreadable == ()
    with pytest.warns(UserWarning, match="unreadable"):
        picture = split.picture(9)
    assert np.array_equal(picture, split.picture(10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # each is named once
        assert np.array_equal(split.picture(9, 8), split.picture(10, 8))
    assert split.unreadable == (str(place / "train/a/009.png"),)
    with pytest.raises(ValueError, match="1 of 20"):
        all_of(split.select([9, 10]))  # more than is allowed, known before or not
    with pytest.warns(UserWarning, match="unreadable"):
        assert not split.select([0, 1]).picture(1, 8).any()
    assert MemorySplit(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.zeros(1)).unreadable == ()


def test_nothing_readable_is_one_line(tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / f"{index}.png").write_bytes(encoded(index)[:400])
    store = FileStore([tmp_path / f"{index}.png" for index in range(3)])
    split = StreamSplit(store, torch.zeros(3, dtype=torch.int64), np.arange(3), limit=1.0)
    with pytest.warns(match="unreadable"), pytest.raises(ValueError, match="3 of 3") as caught:
        all_of(split, workers=1)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_odd_sizes_are_streamed(tmp_path: Path) -> None:
    place = folder_of(
        tmp_path, {"train/a": 5, "train/b": 5, "test/a": 2}, lambda n: (1 + n % 7 * 9, 40 - n % 5)
    )
    data = load(f"imagefolder:{place}", minival=0)
    assert isinstance(data.train, StreamSplit)
    for how in (STRONG, PADDED, PLAIN, Augmentation(size=8, crop="none")):
        assert all_of(data.train, how)[0].shape == (10, 3, how.size, how.size)
