"""Sources: folders, archives, parquet files, named data sets, and one-line errors."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
import torchvision
from PIL import Image

from tests.train.files import all_of, encoded, folder_of, zipped
from train.data import UNLABELLED, Step, load, load_unlabelled
from train.data import decode as images_module
from train.data import stores as stores_module
from train.data.augment import Augmentation
from train.data.in_memory import MemorySplit
from train.data.reading import Reading
from train.data.source import NAMED_SETS, parse
from train.data.torchvision_sets import SETS, data_root


def test_a_folder_reads_as_torchvision_reads_it(tmp_path: Path) -> None:
    place = folder_of(tmp_path, {"train/cat": 4, "train/dog/deep": 3, "train/Ape": 5, "val/dog": 2})
    data = load(f"imagefolder:{place}", minival=0)
    oracle = torchvision.datasets.ImageFolder(str(place / "train"))
    assert data.classes == tuple(oracle.classes) == ("Ape", "cat", "dog")
    assert data.train.targets.tolist() == oracle.targets
    for index in range(len(oracle)):
        assert np.array_equal(data.train.picture(index), np.array(oracle[index][0]))
    assert data.minival is None
    assert data.test is not None
    assert data.test.targets.tolist() == [2, 2]
    assert data.settings["test_lacks"] == ["Ape", "cat"]
    json.dumps(data.settings)


@pytest.mark.parametrize("memory_limit", [2**30, 0])
def test_an_archive_reads_as_its_folder(tmp_path: Path, memory_limit: int) -> None:
    counts = {"train/a": 9, "train/b": 8, "valid/a": 2, "valid/b": 3, "test/a": 4, "test/b": 1}
    place = folder_of(tmp_path / "set", counts)
    archive = zipped(place, tmp_path / "set.zip", "top/inner/")
    first = load(f"imagefolder:{place}", reading=Reading(memory_limit=memory_limit))
    second = load(str(archive), reading=Reading(memory_limit=memory_limit))
    for name, length in (("train", 17), ("minival", 5), ("test", 5)):
        one, other = getattr(first, name), getattr(second, name)
        assert len(one) == len(other) == length
        for workers in (0, 1):
            assert torch.equal(all_of(one)[0], all_of(other, workers=workers)[0])
    assert first.settings["digests"] == second.settings["digests"]


def test_class_folders_alone_are_split_by_seed(tmp_path: Path) -> None:
    place = folder_of(tmp_path, {"a": 20, "b": 40})
    data, again, other = (load(f"imagefolder:{place}", seed=seed) for seed in (0, 0, 1))
    assert data.test is not None
    assert data.minival is not None
    assert again.test is not None
    assert other.test is not None
    assert torch.bincount(data.test.targets).tolist() == [4, 8]
    assert torch.bincount(data.minival.targets).tolist() == [2, 3]
    assert torch.equal(all_of(data.test)[0], all_of(again.test)[0])
    assert not torch.equal(all_of(data.test)[0], all_of(other.test)[0])
    seen = {
        picture.tobytes()
        for split in (data.train, data.minival, data.test)
        for picture in (split.picture(index) for index in range(len(split)))
    }
    assert len(seen) == 60


def parquet_of(place: Path, name: str, labels: list[Any], names: list[str] | None) -> None:
    place.mkdir(parents=True, exist_ok=True)
    rows = [{"bytes": encoded(100 + index), "path": None} for index in range(len(labels))]
    table = pyarrow.table({"image": rows, "label": labels})
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        table = table.replace_schema_metadata(
            {b"huggingface": json.dumps({"info": {"features": features}})}
        )
    pyarrow.parquet.write_table(table, place / name, row_group_size=4)


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        ([1, 0, 1, 0, 1, 0], ["cat", "dog"], ("cat", "dog")),
        ([7, 3, 7, 3, 7, 3], None, ("3", "7")),
        (["b", "a", "b", "a", "b", "a"], None, ("a", "b")),
    ],
)
def test_parquet_files_are_read_with_their_classes(
    tmp_path: Path, labels: list[Any], names: list[str] | None, classes: tuple[str, ...]
) -> None:
    for part in range(2):
        parquet_of(tmp_path / "data", f"train-0000{part}-of-00002.parquet", labels, names)
    parquet_of(tmp_path / "data", "validation-00000.parquet", labels[:2], names)
    for limit in (2**30, 0):
        data = load(f"parquet:{tmp_path}", minival=0, reading=Reading(memory_limit=limit))
        assert data.classes == classes
        assert data.train.targets.tolist() == [1, 0, 1, 0, 1, 0] * 2
        assert data.test is not None
        assert data.test.targets.tolist() == [1, 0]
        expected = np.array(Image.open(io.BytesIO(encoded(105))))
        assert np.array_equal(data.train.picture(11), expected)
        assert np.array_equal(pickle.loads(pickle.dumps(data.train)).picture(5), expected)


def test_cifar_is_read_as_torchvision_reads_it(tmp_path: Path) -> None:
    import pickle as writer

    rng = np.random.default_rng(0)
    place = tmp_path / "cifar-10-batches-py"
    place.mkdir()
    lists = (torchvision.datasets.CIFAR10.train_list, torchvision.datasets.CIFAR10.test_list)
    for name, _ in [*lists[0], *lists[1]]:
        pixels = rng.integers(0, 256, (20, 3072), np.uint8)
        content = {"data": pixels, "labels": [index % 10 for index in range(20)]}
        (place / name).write_bytes(writer.dumps(content))
    names = [f"class {index}" for index in range(10)]
    (place / "batches.meta").write_bytes(writer.dumps({"label_names": names}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
        patch.setattr(
            torchvision.datasets.CIFAR10,
            "meta",
            {"filename": "batches.meta", "key": "label_names", "md5": None},
        )
        data = load("cifar10", root=tmp_path, minival=0.2)
        grey = load("cifar10", root=tmp_path, minival=0, reading=Reading(channels=1))
        oracle = torchvision.datasets.CIFAR10(str(tmp_path))
    assert data.classes == tuple(names)
    assert data.minival is not None
    assert data.test is not None
    assert (len(data.train), len(data.minival), len(data.test)) == (80, 20, 20)
    assert all_of(grey.train)[0].shape == (100, 1, 16, 16)
    pictures = {np.array(image).tobytes() for image, _ in oracle}
    assert all(data.train.picture(index).tobytes() in pictures for index in range(80))


def write_fashion(place: Path, rng: np.random.Generator) -> None:
    place.mkdir(parents=True)
    for name, count in (("train", 30), ("t10k", 10)):
        pixels = rng.integers(0, 256, (count, 28, 28), np.uint8)
        header = struct.pack(">IIII", 2051, count, 28, 28)
        (place / f"{name}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        labels = np.arange(count, dtype=np.uint8) % 10
        header = struct.pack(">II", 2049, count)
        (place / f"{name}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())


def test_fashion_is_read_as_torchvision_reads_it(tmp_path: Path) -> None:
    write_fashion(tmp_path / "FashionMNIST" / "raw", np.random.default_rng(0))
    oracle = torchvision.datasets.FashionMNIST(str(tmp_path))
    for channels in (1, 3):
        data = load(
            "fashion-mnist",
            root=tmp_path,
            minival=0,
            reading=Reading(channels=channels, download=False),
        )
        assert all_of(data.train)[0].shape == (30, channels, 16, 16)
        for index in range(30):
            image, label = oracle[index]
            assert np.array_equal(data.train.picture(index)[:, :, 1], np.array(image))
            assert data.train.targets[index] == label
    assert data.classes[0] == "T-shirt/top"


def test_imagenet_is_read_as_torchvision_lays_it_out(tmp_path: Path) -> None:
    counts = {f"{split}/n0{number}": 4 for split in ("train", "val") for number in range(3)}
    folder_of(tmp_path / "imagenet", counts)
    names = {f"n0{number}": (f"fish {number}", "other") for number in range(3)}
    torch.save((names, []), tmp_path / "imagenet" / "meta.bin")
    data = load("imagenet", root=tmp_path, minival=0.25)
    assert data.classes == ("fish 0", "fish 1", "fish 2")
    assert data.minival is not None
    assert data.test is not None
    assert (len(data.train), len(data.minival), len(data.test)) == (9, 3, 12)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion-mnist", "imagenet"])
def test_a_named_set_that_is_not_there_says_where_to_put_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VBS_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="put there") as caught:
        load(name, reading=Reading(download=False))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"train/a": 3, "val/a": 2}, "holds 1 class folder;"),
        ({"train/a": 3, "train/b": 0, "val/a": 2}, "b holds no images"),
        ({"train/a": 3, "train/b": 3, "val/c": 2}, "class 'c'"),
        ({"train/a": 3, "train/b": 3, "val/a": 0}, "val holds no images"),
        ({"val/a": 3, "test/a": 3}, "no train"),
        ({"train/a": 3, "train/b": 3, "val/a": 1, "valid/a": 1}, "split twice"),
        ({"a": 1, "b": 1}, "too few"),
        ({}, "0 class folders"),
    ],
)
def test_a_folder_that_cannot_be_trained_on_is_refused(
    tmp_path: Path, counts: dict[str, int], message: str
) -> None:
    place = folder_of(tmp_path / "set", counts) if counts else tmp_path
    texts = [f"imagefolder:{place}"]
    if counts:
        texts.append(str(zipped(place, tmp_path / "set.zip")))
    for text in texts:
        with pytest.raises(ValueError, match=message) as caught:
            load(text)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("mnist", {}, "'mnist' is unknown"),
        ("imagefolder:", {}, "is unknown"),
        ("imagefolder:/not/there", {}, "/not/there does not exist"),
        ("/not/there.zip", {}, "there.zip does not exist"),
        ("parquet:/not/there", {}, "/not/there does not exist; use a folder that holds parquet"),
        ("cifar10", {"minival": 1.0}, "minival: 1.0"),
        ("cifar10", {"seed": -1}, "seed: -1"),
        ("cifar10", {"reading": Reading(corrupt_limit=2)}, "corrupt"),
    ],
)
def test_what_cannot_be_loaded_is_refused(text: str, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(text, **options)


def test_a_folder_without_a_kind_is_an_imagefolder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "photos", {"train/cat": 10, "train/dog": 10})
    assert load("photos").classes == load("imagefolder:photos").classes == ("cat", "dog")
    assert str(parse("photos?splits=none").absolute()) == (
        f"imagefolder:{tmp_path}/photos?splits=none"
    )
    folder_of(tmp_path / "cifar10", {"train/cat": 1})  # named sets keep their meaning
    assert parse("cifar10").kind == "named"


def test_a_folder_without_a_kind_that_holds_parquet_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "photos", {"train/cat": 1})
    (tmp_path / "photos" / "data").mkdir()
    (tmp_path / "photos" / "data" / "train.parquet").touch()
    with pytest.raises(ValueError, match="use parquet:photos, or imagefolder:photos for"):
        load("photos")


def test_named_sets_are_those_of_torchvision() -> None:
    assert tuple(SETS) == NAMED_SETS


def test_named_sets_are_in_the_folder_of_all_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VBS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data_root(None) == tmp_path / "vision-baseline-search" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # must be ignored
    assert data_root(None) == Path.home() / ".cache" / "vision-baseline-search" / "data"


def test_other_numbers_of_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="channels: 4 is not allowed"):
        Reading(channels=4)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "/etc/evil.png",
        "a/../../evil.png",
        "a\\..\\..\\b.png",
        "C:\\b.png",
        "\\b.png",
    ],
)
def test_an_archive_with_names_that_leave_it_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/0.png", encoded(0))
        archive.writestr(name, encoded(1))
    with pytest.raises(ValueError, match="must stay in the archive"):
        load(str(path))


def test_members_of_an_archive_are_read_up_to_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a/0", "a/1", "b/0", "b/1", "b/2"):
            archive.writestr(f"{name}.png", encoded(3))
        archive.writestr("a/2.png", b"\0" * 10_000_000)
    for module in (images_module, stores_module):
        monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    data = load(str(path), minival=0, reading=Reading(corrupt_limit=0.5))
    assert any("more than 100000 bytes" in name for name in data.skipped)


def test_an_archive_that_is_none_and_damaged_parquet_are_refused(tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_bytes(b"no archive")
    (tmp_path / "train.parquet").write_bytes(b"no parquet")
    for text in (str(tmp_path / "no.zip"), f"parquet:{tmp_path}"):
        with pytest.raises(ValueError, match="cannot be read as") as caught:
            load(text)
        assert "\n" not in str(caught.value)


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "set", {"train/a": 3, "train/b": 3, "val/a": 2})
    elsewhere = folder_of(tmp_path / "elsewhere", {"c": 4})
    os.symlink(elsewhere / "c", place / "train/c")
    os.symlink(place / "train", place / "train/a/circle")
    os.symlink(tmp_path / "gone.png", place / "train/a/gone.png")
    os.mkfifo(place / "train/a/pipe.png")
    data = load(f"imagefolder:{place}", minival=0)
    assert data.classes == ("a", "b", "c")
    assert (data.train.targets == 2).sum() == 4


def test_unlabelled_images_come_from_any_folder_or_file(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "set", {"x/y/z": 3, "x": 2})
    (place / "top.png").write_bytes(encoded(1))
    archive = zipped(place, tmp_path / "some.zip")
    parquet_of(tmp_path / "rows", "part.parquet", [0] * 6, None)
    for text in (str(place), f"imagefolder:{place}", str(archive), f"parquet:{tmp_path / 'rows'}"):
        split = load_unlabelled(text)
        assert split.targets.tolist() == [UNLABELLED] * 6
        assert all_of(split)[0].shape == (6, 3, 16, 16)
    shutil.rmtree(place / "x")
    (place / "top.png").unlink()
    with pytest.raises(ValueError, match="holds no images"):
        load_unlabelled(str(place))


def test_sign_digits_are_read_from_their_archive(shared_data: Path) -> None:
    data = load(str(shared_data / "sign_digits.zip"), reading=Reading(memory_limit=0))
    assert data.classes == tuple("0123456789")
    assert data.minival is not None
    assert data.test is not None
    assert len(data.train) + len(data.minival) == 1642
    assert len(data.test) == 417
    assert data.skipped == ()
    step = Step(np.arange(8), slice(0, 8), 0)
    images, _ = next(iter(data.train.batches([step], Augmentation(size=64), workers=1)))
    assert images.shape == (8, 3, 64, 64)


def test_a_slice_of_cifar_is_read_from_parquet(shared_data: Path, tmp_path: Path) -> None:
    for name in ("train", "test"):
        with pyarrow.parquet.ParquetFile(shared_data / "cifar10" / f"{name}.parquet") as source:
            some = next(source.iter_batches(300))
        table = pyarrow.Table.from_batches([some], source.schema_arrow)
        pyarrow.parquet.write_table(table, tmp_path / f"{name}.parquet")
    data = load(f"parquet:{tmp_path}")
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    assert isinstance(data.train, MemorySplit)
    assert data.minival is not None
    assert len(data.train) + len(data.minival) == 300
    image = Image.open(io.BytesIO(table["img"][0].as_py()["bytes"]))
    assert data.test is not None
    assert np.array_equal(data.test.picture(0), np.array(image))


def test_a_home_folder_is_meant_by_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for source in (parse("imagefolder:~/photos"), parse("imagefolder:~/photos").absolute()):
        assert str(source) == "imagefolder:/home/me/photos"
