"""Common names of folders for splits and classes are recognised; ambiguous ones are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torchvision

from tests.commands import train_run as run
from tests.train.files import all_of, encoded, folder_of, zipped
from train.data import load
from train.data.find import find
from train.data.listing import Found
from train.data.reading import Reading
from train.data.source import parse
from train.data.split_names import by_split, split_of


def found_in(place: Path, query: str = "") -> Found:
    return find(f"imagefolder:{place}{query}", seed=0, root=None, download=False)


def names_of(listing: Any) -> set[str]:
    """Return the folders of the images in a listing, without image numbers."""
    return {str(Path(listing.images.name(int(row))).parent) for row in listing.rows}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("TRAIN", "train"),
        ("train2017", "train"),
        ("training_set", "train"),
        ("trainset", "train"),
        ("train_images", "train"),
        ("seg_train", "train"),
        ("Train-Data", "train"),
        ("images.train", "train"),
        ("val", "val"),
        ("valid", "val"),
        ("Validation", "val"),
        ("val2017", "val"),
        ("dev", "val"),
        ("devset", "val"),
        ("test", "test"),
        ("Testing", "test"),
        ("TestImages", "test"),
        ("test_set", "test"),
        ("eval", "test"),
        ("evaluation", "test"),
        ("holdout", "test"),
        ("hold-out", "test"),
        ("trainer", None),
        ("steam_train", None),
        ("testarossa", None),
        ("contest", None),
        ("values", None),
        ("device", None),
        ("medieval", None),
        ("attest", None),
        ("set", None),
        ("train_test", None),
        ("cat", None),
        ("2017", None),
        ("", None),
    ],
)
def test_names_of_splits_are_known_in_every_spelling(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_eval_beside_test_is_the_validation() -> None:
    assert by_split(["train", "eval"]) == {"train": ["train"], "test": ["eval"]}
    assert by_split(["train", "eval", "test"]) == {
        "train": ["train"],
        "val": ["eval"],
        "test": ["test"],
    }


PAIRS = [
    ("train", "testing"),
    ("training", "testing"),
    ("Training", "Testing"),
    ("train", "eval"),
    ("train", "dev"),
    ("train2017", "val2017"),
    ("training_set", "test_set"),
    ("train", "valid"),
    ("TRAIN", "HoldOut"),
    ("my_train", "my_test"),
    ("asl_alphabet_train", "asl_alphabet_test"),
]


@pytest.mark.parametrize(("train", "test"), PAIRS)
@pytest.mark.parametrize("archive", [False, True])
def test_images_to_test_are_never_trained_on(
    tmp_path: Path, train: str, test: str, archive: bool
) -> None:
    counts = {f"{train}/a": 3, f"{train}/b": 3, f"{test}/a": 2, f"{test}/b": 1}
    place = folder_of(tmp_path / "set", counts)
    source = str(zipped(place, tmp_path / "set.zip")) if archive else f"imagefolder:{place}"
    found = find(source, seed=0, root=None, download=False)
    assert found.classes == ("a", "b")
    assert found.val is None
    assert found.test is not None
    assert (found.train.labels.tolist(), found.test.labels.tolist()) == (
        [0] * 3 + [1] * 3,
        [0, 0, 1],
    )
    assert not names_of(found.train) & names_of(found.test)
    assert found.notes == ()
    if not archive:
        oracle = torchvision.datasets.ImageFolder(str(place / train))
        rows = [found.train.images.name(int(row)) for row in found.train.rows]  # type: ignore[union-attr]
        assert [(path, label) for path, label in oracle.samples] == list(
            zip(rows, found.train.labels.tolist(), strict=True)
        )


def test_three_splits_in_any_spelling(tmp_path: Path) -> None:
    counts = {f"{split}/{name}": 3 for split in ("Train", "eval", "Test_Set") for name in "ab"}
    found = found_in(folder_of(tmp_path, counts))
    assert found.val is not None
    assert found.test is not None
    assert names_of(found.val) == {str(tmp_path / "eval" / name) for name in "ab"}
    assert names_of(found.test) == {str(tmp_path / "Test_Set" / name) for name in "ab"}


def test_splits_below_classes_are_splits(tmp_path: Path) -> None:
    counts = {f"{name}/{split}": 4 for name in ("cat", "dog") for split in ("train", "test")}
    found = found_in(folder_of(tmp_path, counts))
    assert found.classes == ("cat", "dog")
    assert found.test is not None
    assert names_of(found.train) == {str(tmp_path / name / "train") for name in ("cat", "dog")}
    assert names_of(found.test) == {str(tmp_path / name / "test") for name in ("cat", "dog")}
    assert found.test.labels.tolist() == [0] * 4 + [1] * 4
    assert "splits below" in found.how


def test_folders_doubled_by_an_archive_are_entered(tmp_path: Path) -> None:
    counts = {f"seg_{split}/seg_{split}/{name}": 3 for split in ("train", "test") for name in "ab"}
    found = found_in(folder_of(tmp_path, {**counts, "seg_pred/seg_pred": 4}))
    assert found.test is not None
    assert found.classes == ("a", "b")
    assert len(found.test.labels) == 6
    assert any("seg_pred (4 images)" in note for note in found.notes)


@pytest.mark.parametrize(
    "classes",
    [
        ("bus", "car", "train"),
        ("bus", "car", "test"),
        ("car", "train"),
        ("bus", "car", "test", "train"),
    ],
)
def test_a_class_called_train_beside_others_is_a_class(
    tmp_path: Path, classes: tuple[str, ...]
) -> None:
    found = found_in(folder_of(tmp_path, dict.fromkeys(classes, 5)))
    assert found.classes == classes
    assert "used as class folders" in found.how
    place = folder_of(
        tmp_path / "split", {f"{s}/{n}": 2 for s in ("train", "val") for n in classes}
    )
    assert found_in(place).classes == classes


def test_every_folder_that_is_not_used_is_named(tmp_path: Path) -> None:
    counts = {"train/a": 3, "train/b": 3, "test/a": 2, "masks": 4, "unlabelled/x": 7, "train": 1}
    place = folder_of(tmp_path, counts)
    (place / "notes").mkdir()
    (place / "train/a/one.HEIC").write_bytes(b"")
    notes = found_in(place).notes
    assert "masks (4 images), notes (0 images), unlabelled (7 images)" in notes[0]
    assert "1 images" in notes[1]
    assert "no class folder" in notes[1]
    assert "1 .heic files are not read" in notes[2]
    # images to test that are in no class folder have no labels
    flat = folder_of(tmp_path / "flat", {"train/a": 5, "train/b": 5, "test": 3})
    found = found_in(flat)
    assert "test (3 images)" in found.notes[0]
    assert found.how.startswith("one split")


def test_a_command_names_what_it_does_not_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "set", {"train/a": 9, "train/b": 9, "test/a": 2, "sp\x1b[31mare/a": 2})
    words = [
        "efficientnet_lite0",
        "--data",
        "imagefolder:set",
        "--resolution",
        "32",
        "--width",
        ".1",
    ]
    few = ["--set", "epochs=1", "--set", "batch=4", "--set", "warmup_epochs=0"]
    assert run([*words, *few, "--set", "minival=0.2"]) == 0
    error = capsys.readouterr().err
    assert "not used: folders sp" in error
    assert "\x1b[31m" not in error


@pytest.mark.parametrize(
    ("counts", "names"),
    [
        ({"train/steam": 3, "train/diesel": 3, "bus": 4, "car": 4}, ["is a split", "train=train"]),
        ({"train": 4, "test": 4}, ["are splits", "one folder for each class"]),
        ({"train": 4, "test": 4, "extra": 4}, ["are splits"]),
        ({"trainval/a": 4, "trainval/b": 4, "test/a": 4, "test/b": 4}, ["train=trainval"]),
        ({"train": 4, "test/a": 4, "test/b": 4}, ["train"]),
    ],
)
def test_what_may_be_read_in_two_ways_is_refused_with_both(
    tmp_path: Path, counts: dict[str, int], names: list[str]
) -> None:
    place = folder_of(tmp_path / "set", counts)
    for source in (f"imagefolder:{place}", str(zipped(place, tmp_path / "set.zip"))):
        with pytest.raises(ValueError, match="two ways") as caught:
            find(source, seed=0, root=None, download=False)
        for name in (*names, "splits=none"):
            assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    assert len(found_in(place, "?splits=none").classes) == len(
        {name.split("/")[0] for name in counts}
    )


@pytest.mark.parametrize(
    "counts",
    [
        {"a/train": 3, "a/test": 2, "b": 4},
        {"a/x/test": 3, "b": 4},
        {"a/test": 3, "b/train": 4},
        {"train/a/test": 2, "train/a": 2, "train/b": 3, "val/a": 2},
    ],
)
def test_a_split_that_some_classes_hold_is_refused(tmp_path: Path, counts: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="may be the test split of the class") as caught:
        found_in(folder_of(tmp_path, counts))
    assert "splits=none" in str(caught.value)


def test_the_user_says_which_folder_is_which(tmp_path: Path) -> None:
    counts = {f"{split}/{name}": 3 for split in ("fit", "check", "more") for name in "ab"}
    place = folder_of(tmp_path, counts)
    found = found_in(place, "?train=fit&test=check")
    assert found.test is not None
    assert names_of(found.train) == {str(place / "fit" / name) for name in "ab"}
    assert names_of(found.test) == {str(place / "check" / name) for name in "ab"}
    assert "more (6 images)" in found.notes[0]
    folder_of(place, {"train/a": 5, "train/b": 5, "test/a": 2, "test/c": 2})
    with pytest.raises(ValueError, match="class 'c'"):
        found_in(place)
    assert found_in(place, "?test=none").how.startswith("one split")
    with pytest.raises(ValueError, match=r"train: .* holds no folder 'nowhere'.*check, fit, more"):
        found_in(place, "?train=nowhere")
    for query in ("?train=fit&splits=none", "?splits=some", "?trian=fit", "?train=", "?train"):
        with pytest.raises(ValueError, match=r"data: .*use|after the question mark"):
            found_in(place, query)


def test_a_text_of_data_keeps_its_options_in_every_folder(tmp_path: Path) -> None:
    text = f"imagefolder:{tmp_path}/x?train=fit&corrupt_limit=0.5"
    assert str(parse(text)) == str(parse(text).absolute()) == text
    assert str(parse("parquet:x?image=img").absolute()) == f"parquet:{Path.cwd()}/x?image=img"
    assert str(parse("x.zip?splits=none").absolute()) == f"{Path.cwd()}/x.zip?splits=none"
    assert str(parse("cifar10").absolute()) == "cifar10"
    odd = tmp_path / "what?"
    odd.mkdir()
    assert parse(f"imagefolder:{odd}").place == str(odd)
    with pytest.raises(ValueError, match="corrupt_limit: '2'"):
        load("cifar10?corrupt_limit=2", root=tmp_path, reading=Reading(download=False))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"a": 2, "b": 2}, "needs a class with 3 images or more, and there are 2 of 'a', 2 of 'b'"),
        ({f"{n:02}": 1 for n in range(9)}, "1 of '04' and 4 more classes; add images"),
    ],
)
def test_too_few_images_are_counted_by_class(
    tmp_path: Path, counts: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match="too few to split into two") as caught:
        found_in(folder_of(tmp_path, counts))
    assert message in str(caught.value)


def test_classes_without_test_images_and_a_minival_of_none_are_reported(tmp_path: Path) -> None:
    place = folder_of(tmp_path, {"a": 9, "b": 2})
    assert "no image of classes with fewer than 3: 2 of 'b'" in found_in(place).notes[0]
    folder_of(tmp_path / "few", {"train/a": 3, "train/b": 2, "test/a": 1})
    with pytest.raises(
        ValueError, match=r"a class needs 5\), .* 2 of 'b', 3 of 'a'; use e.g. 0.17"
    ):
        load(f"imagefolder:{tmp_path / 'few'}")
    data = load(f"imagefolder:{tmp_path / 'few'}", minival=0.17)
    assert data.minival is not None


def test_the_share_of_unreadable_files_is_set_as_the_message_says(tmp_path: Path) -> None:
    place = folder_of(tmp_path, {"train/a": 10, "train/b": 10, "val/a": 2, "val/b": 2})
    for number in (2, 3):
        (place / f"train/a/00{number}.png").write_bytes(b"no image")
    for memory_limit in (2**30, 0):
        with pytest.raises(ValueError, match=r"not an image but text.*corrupt_limit=0.1") as caught:
            load(f"imagefolder:{place}", minival=0, reading=Reading(memory_limit=memory_limit))
        text = str(caught.value).split('--data "')[1].rstrip('"')
        assert len(load(text, minival=0, reading=Reading(memory_limit=memory_limit)).skipped) == 2
    for number in (1, 3, 5):
        (place / f"train/b/00{number}.png").write_bytes(encoded(1)[:300])
    split = load(
        f"imagefolder:{place}?corrupt_limit=.1", minival=0, reading=Reading(memory_limit=0)
    ).train
    with (
        pytest.warns(UserWarning, match="truncated"),
        pytest.raises(ValueError, match=r"001\.png \(.*truncated.*corrupt_limit=0\.15"),
    ):
        all_of(split)
