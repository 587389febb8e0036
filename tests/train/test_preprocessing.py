"""Preprocessing gives the pixels of an evaluation in training for any kind of image."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.train.images import odd_images, smooth, write_images
from tests.train.toys import NETWORK
from train.checkpoint import Weights
from train.data import evaluation_steps
from train.data.decode import Unreadable, decode
from train.data.in_memory import MemorySplit
from train.data.stores import FileStore
from train.data.streaming import StreamSplit
from train.preprocessing import Preprocessing, preprocess

HOW = Preprocessing(resolution=24, crop_share=0.875, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
GREY = Preprocessing(resolution=24, crop_share=0.875, mean=HOW.mean, std=HOW.std, channels=1)


@pytest.mark.parametrize("how", [HOW, GREY], ids=["colour", "grey"])
def test_every_kind_of_image_is_prepared_as_an_evaluation_prepares_it(tmp_path, how):
    images = odd_images()
    store = FileStore(write_images(tmp_path, images))
    split = StreamSplit(
        store, torch.zeros(len(store), dtype=torch.int64), np.arange(len(store)),
        channels=how.channels,
    )  # fmt: skip
    (expected, _), *_ = split.batches(evaluation_steps(len(split), 64), how.preparation)
    for name, content, batch in zip(images, images.values(), expected, strict=True):
        for given in (content, Image.open(io.BytesIO(content))):
            found = preprocess(given, how)
            assert found.dtype == np.float32
            assert found.shape == (how.channels, 24, 24)
            np.testing.assert_array_equal(found, batch.numpy(), err_msg=name)


@pytest.mark.parametrize("shape", [(31, 45), (24, 24), (27, 27), (9, 100)])
def test_images_in_memory_are_prepared_as_an_evaluation_prepares_them(shape):
    arrays = [smooth(seed, *shape) for seed in range(5)]
    pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    split = MemorySplit(pixels, torch.zeros(5, dtype=torch.int64))
    (expected, _), *_ = split.batches(evaluation_steps(5, 8), HOW.preparation)
    for array, batch in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(preprocess(array, HOW), batch.numpy())


def test_the_steps_are_those_that_the_documentation_names():
    array = smooth(1, 40, 60)
    enlarged = Image.fromarray(array).resize((40, 27), Image.Resampling.BILINEAR)
    assert HOW.side == 27
    left, top = round((40 - 24) / 2), round((27 - 24) / 2)
    cropped = enlarged.crop((left, top, left + 24, top + 24))
    expected = (np.asarray(cropped) / 255 - HOW.mean) / HOW.std
    found = preprocess(array, HOW).transpose(1, 2, 0)
    assert np.abs(found - expected).max() <= 1.01 / 255 / min(HOW.std)  # one step of a uint8


def test_grey_arrays_and_alpha_are_images_too():
    grey = smooth(1, 30, 30, 1)
    np.testing.assert_array_equal(preprocess(grey, HOW), preprocess(grey[..., 0], HOW))
    np.testing.assert_array_equal(
        preprocess(grey, HOW), preprocess(np.repeat(grey, 3, axis=2), HOW)
    )
    opaque = np.concatenate([smooth(2, 30, 30), np.full((30, 30, 1), 255, np.uint8)], axis=2)
    np.testing.assert_array_equal(preprocess(opaque, HOW), preprocess(opaque[..., :3], HOW))


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_other_arrays_are_refused(array):
    with pytest.raises(ValueError, match=r"image: .* is not allowed; use uint8"):
        preprocess(array, HOW)


def test_a_broken_file_is_unreadable():
    with pytest.raises(Unreadable, match="text"):
        preprocess(b"no image at all", HOW)


def test_a_pillow_image_gives_the_pixels_of_its_file():
    for content in odd_images().values():
        opened = Image.open(io.BytesIO(content))
        opened.load()
        again = preprocess(opened, HOW)
        np.testing.assert_array_equal(again, preprocess(content, HOW))
        assert decode(content, 3).shape[0] == 3


def test_it_is_the_same_through_json():
    for how in (HOW, GREY):
        fields = json.loads(json.dumps(how.to_dict()))
        assert Preprocessing.from_dict(fields) == how
    old = {name: fields[name] for name in ("mean", "std", "resolution", "crop_share")}
    assert Preprocessing.from_dict(old, channels=1) == GREY
    assert Preprocessing.from_dict(old).channels == 3


def test_it_is_made_of_weights():
    network = replace(NETWORK, in_channels=1, classes=2, resolution=32)
    weights = Weights({}, network, ("a", "b"), HOW.mean, HOW.std, 24, 0.875, {})
    assert Preprocessing.of_weights(weights) == GREY
    assert GREY.channel_mean == pytest.approx((0.4,))
    assert GREY.channel_std == pytest.approx((0.25,))
    assert HOW.channel_mean == HOW.mean


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 0}, "resolution: 0 is not allowed; use a whole number from 1 to 4096"),
        ({"resolution": 10**9}, "resolution"),
        ({"resolution": 24.0}, "resolution"),
        ({"crop_share": 1.5}, "crop_share"),
        ({"crop_share": float("nan")}, "crop_share"),
        ({"interpolation": "bicubic"}, "interpolation: 'bicubic' is not allowed; use bilinear"),
        ({"mean": [0.5, 0.5]}, "mean: .* use three numbers"),
        ({"mean": 0.5}, "mean"),
        ({"std": [0.0, 1.0, 1.0]}, "std"),
        ({"std": [True, 1.0, 1.0]}, "std"),
        ({"channels": 4}, "channels: 4 is not allowed; use 3, or 1 for grey"),
        ({"channels": [3]}, "channels"),
        ({"interpolation": ["bilinear"]}, "interpolation"),
    ],
)
def test_invalid_descriptions_are_refused(change, message):
    with pytest.raises(ValueError, match=f"preprocessing: .*{message}"):
        Preprocessing.from_dict({**HOW.to_dict(), **change})


def test_an_incomplete_description_says_what_is_missing():
    fields = HOW.to_dict()
    del fields["crop_share"], fields["resolution"]
    with pytest.raises(ValueError, match="preprocessing: resolution is missing"):
        Preprocessing.from_dict(fields)
    with pytest.raises(ValueError, match="not an object"):
        Preprocessing.from_dict([1])  # type: ignore[arg-type]
