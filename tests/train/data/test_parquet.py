"""Columns, types and splits of parquet files as Hugging Face, pandas and polars write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from tests.train.files import all_of, encoded
from train.data import Data, load, load_unlabelled
from train.data.reading import Reading

COUNT = 8
IMAGES = [encoded(index) for index in range(COUNT)]
STRUCTS = [{"bytes": image, "path": None} for image in IMAGES]
ZEROS_AND_ONES = [index % 2 for index in range(COUNT)]
CLASS = {"_type": "ClassLabel"}


def write(place: Path, columns: dict[str, Any], features: dict[str, Any] | None = None) -> str:
    """Write the same rows as train and test split; return the text for --data."""
    table = pyarrow.table(columns)
    if features:
        metadata = {b"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(metadata)
    place.mkdir(parents=True, exist_ok=True)
    for name in ("train", "test"):
        pyarrow.parquet.write_table(table, place / f"{name}-00000-of-00001.parquet")
    return f"parquet:{place}"


def opened(text: str, **options: Any) -> Data:
    return load(text, minival=0, **options)


def names(*classes: str) -> dict[str, Any]:
    return {**CLASS, "names": list(classes)}


def test_the_label_is_the_column_that_is_called_so(tmp_path: Path) -> None:
    features = {"sex": names("f", "m"), "label": names("cat", "dog"), "image": {"_type": "Image"}}
    columns = {"sex": [0] * COUNT, "mask": STRUCTS[::-1], "label": ZEROS_AND_ONES, "image": STRUCTS}
    data = opened(write(tmp_path, columns, features))
    assert data.classes == ("cat", "dog")
    assert data.train.targets.tolist() == ZEROS_AND_ONES
    assert np.array_equal(data.train.picture(1), _picture(1))
    assert data.notes == (
        "columns: image 'image' and label 'label'; not used: 'mask', 'sex' "
        "(?image=...&label=... chooses)",
    )


def _picture(index: int) -> np.ndarray:
    import io

    from PIL import Image

    return np.array(Image.open(io.BytesIO(IMAGES[index])))


def test_fine_labels_come_before_coarse_ones(tmp_path: Path) -> None:
    features = {"coarse_label": names("x", "y"), "fine_label": names("a", "b")}
    columns = {
        "img": IMAGES,
        "coarse_label": [0, 0, 0, 0, 1, 1, 1, 1],
        "fine_label": ZEROS_AND_ONES,
    }
    assert opened(write(tmp_path, columns, features)).classes == ("a", "b")


@pytest.mark.parametrize(
    ("columns", "features", "message"),
    [
        (
            {"image": IMAGES, "sex": ZEROS_AND_ONES, "age": ZEROS_AND_ONES},
            None,
            "the label: sex, age",
        ),
        (
            {"image": IMAGES, "hair": ZEROS_AND_ONES, "eyes": ZEROS_AND_ONES},
            {"hair": names("a", "b"), "eyes": names("c", "d")},
            "the label: hair, eyes",
        ),
        (
            {"image": IMAGES, "breed": ZEROS_AND_ONES, "target": ZEROS_AND_ONES},
            {"breed": names("a", "b")},
            "the label: breed, target",
        ),
        (
            {"left": IMAGES, "right": IMAGES, "label": ZEROS_AND_ONES},
            None,
            "the image: left, right",
        ),
        ({"image": IMAGES, "label": [0.5] * COUNT}, None, r"no label column.*label \(double\)"),
        ({"image": ["path"] * COUNT, "label": ZEROS_AND_ONES}, None, "no image column"),
    ],
)
def test_columns_that_are_not_plain_are_refused_with_what_to_say(
    tmp_path: Path, columns: dict[str, Any], features: dict[str, Any] | None, message: str
) -> None:
    text = write(tmp_path, columns, features)
    with pytest.raises(ValueError, match=message) as caught:
        opened(text)
    assert "\n" not in str(caught.value)
    if "several" in str(caught.value):
        assert opened(str(caught.value).split('--data "')[1].rstrip('"')).test is not None


def test_the_user_says_which_columns(tmp_path: Path) -> None:
    columns = {"image": IMAGES, "photo": IMAGES[::-1], "label": [0] * COUNT, "sex": ZEROS_AND_ONES}
    text = write(tmp_path, columns)
    data = opened(f"{text}?image=photo&label=sex")
    assert data.train.targets.tolist() == ZEROS_AND_ONES
    assert np.array_equal(data.train.picture(0), _picture(COUNT - 1))
    assert len(load_unlabelled(f"{text}?image=photo")) == 2 * COUNT
    with pytest.raises(ValueError, match="no label column 'age'; use one of label, sex"):
        opened(f"{text}?label=age")
    with pytest.raises(ValueError, match="no image column 'sex' of type int64; use one of image"):
        opened(f"{text}?image=sex")


STRINGS = ["b" if value else "a" for value in ZEROS_AND_ONES]
LABELS = {
    "int8": pyarrow.array(ZEROS_AND_ONES, pyarrow.int8()),
    "uint64": pyarrow.array(ZEROS_AND_ONES, pyarrow.uint64()),
    "bool": pyarrow.array([bool(value) for value in ZEROS_AND_ONES]),
    "string": pyarrow.array(STRINGS),
    "large_string": pyarrow.array(STRINGS, pyarrow.large_string()),
    "string_view": pyarrow.array(STRINGS, pyarrow.string_view()),
    "dictionary": pyarrow.array(STRINGS[::-1]).dictionary_encode().take(list(range(COUNT))[::-1]),
    "large dictionary": pyarrow.array(STRINGS, pyarrow.large_string()).dictionary_encode(),
}
PICTURES = {
    "binary": pyarrow.array(IMAGES),
    "large_binary": pyarrow.array(IMAGES, pyarrow.large_binary()),
    "binary_view": pyarrow.array(IMAGES, pyarrow.binary_view()),
    "struct": pyarrow.array(STRUCTS),
    "struct of large": pyarrow.array(
        STRUCTS,
        pyarrow.struct([("bytes", pyarrow.large_binary()), ("path", pyarrow.large_string())]),
    ),
    "struct of view": pyarrow.array(
        STRUCTS, pyarrow.struct([("bytes", pyarrow.binary_view()), ("path", pyarrow.string_view())])
    ),
}


@pytest.mark.parametrize("label", list(LABELS))
def test_labels_of_every_type_are_read(tmp_path: Path, label: str) -> None:
    data = opened(write(tmp_path, {"image": IMAGES, "label": LABELS[label]}))
    assert data.classes in (("0", "1"), ("a", "b"), ("False", "True"))
    assert data.train.targets.tolist() == ZEROS_AND_ONES


@pytest.mark.parametrize("picture", list(PICTURES))
def test_images_of_every_type_are_read(tmp_path: Path, picture: str) -> None:
    text = write(tmp_path, {"image": PICTURES[picture], "label": ZEROS_AND_ONES})
    for limit in (2**30, 0):
        split = opened(text, reading=Reading(memory_limit=limit)).train
        assert all(np.array_equal(split.picture(row), _picture(row)) for row in range(COUNT))


def test_what_pandas_writes_is_read(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"image": IMAGES, "breed": pandas.Categorical(STRINGS)})
    frame.index = [index + 5 for index in range(COUNT)]  # which pandas writes as a column
    for name in ("train", "validation"):
        frame.to_parquet(tmp_path / f"{name}.parquet")
    data = opened(f"parquet:{tmp_path}")
    assert data.classes == ("a", "b")
    assert data.train.targets.tolist() == ZEROS_AND_ONES


@pytest.mark.parametrize("missing", [-1, None])
def test_a_split_without_labels_is_not_used(tmp_path: Path, missing: int | None) -> None:
    columns: dict[str, Any] = {"image": IMAGES, "label": ZEROS_AND_ONES}
    text = write(tmp_path, columns, {"label": names("a", "b")})
    table = pyarrow.table({**columns, "label": pyarrow.array([missing] * COUNT, pyarrow.int64())})
    pyarrow.parquet.write_table(table, tmp_path / "test-00000-of-00001.parquet")
    data = opened(text)
    assert data.settings["split"].startswith("one split")
    assert "no labels" in data.notes[0]
    table = pyarrow.table({**columns, "label": [*ZEROS_AND_ONES[1:], -1]})
    pyarrow.parquet.write_table(table, tmp_path / "test-00000-of-00001.parquet")
    with pytest.raises(ValueError, match="test split has the label -1"):
        opened(text)
    pyarrow.parquet.write_table(
        pyarrow.table({**columns, "label": [-1] * COUNT}), tmp_path / "train-00000-of-00001.parquet"
    )
    with pytest.raises(ValueError, match="training images have no labels"):
        opened(text)


def test_classes_of_splits_in_another_order_are_matched_by_name(tmp_path: Path) -> None:
    write(tmp_path / "one", {"image": IMAGES, "label": ZEROS_AND_ONES}, {"label": names("a", "b")})
    flipped = {"image": IMAGES, "label": [1 - value for value in ZEROS_AND_ONES]}
    write(tmp_path / "two", flipped, {"label": names("b", "a")})
    (tmp_path / "two" / "test-00000-of-00001.parquet").rename(tmp_path / "one" / "test.parquet")
    (tmp_path / "one" / "test-00000-of-00001.parquet").unlink()
    data = opened(f"parquet:{tmp_path / 'one'}")
    assert data.test is not None
    assert data.test.targets.tolist() == data.train.targets.tolist() == ZEROS_AND_ONES
    write(tmp_path / "three", flipped, {"label": names("b", "c")})
    (tmp_path / "three" / "test-00000-of-00001.parquet").rename(tmp_path / "one" / "test.parquet")
    with pytest.raises(ValueError, match="test split has the label 'c'"):
        opened(f"parquet:{tmp_path / 'one'}")


@pytest.mark.parametrize(
    "files",
    [
        ("train.parquet", "testing.parquet"),
        ("training.parquet", "dev.parquet"),
        ("data/Train-0.parquet", "data/eval-0.parquet"),
        ("birds_train.parquet", "birds_test.parquet"),
        ("train/0000.parquet", "test/0000.parquet"),
        ("data/train/0.parquet", "data/valid/0.parquet"),
    ],
)
def test_files_are_splits_in_every_spelling(tmp_path: Path, files: tuple[str, str]) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        table = pyarrow.table({"image": IMAGES, "label": ZEROS_AND_ONES})
        pyarrow.parquet.write_table(table, tmp_path / name)
    other = (tmp_path / files[0]).with_name("extra.parquet")
    if "/0" not in files[0]:
        pyarrow.parquet.write_table(table, other)
    data = opened(f"parquet:{tmp_path}")
    assert data.test is not None
    assert (len(data.train), len(data.test)) == (COUNT, COUNT)
    assert any("extra.parquet" in note for note in data.notes) == other.exists()


def test_rows_without_an_image_are_unreadable(tmp_path: Path) -> None:
    images = [None, *STRUCTS[1:]]
    text = write(tmp_path, {"image": images, "label": ZEROS_AND_ONES})
    data = opened(text, reading=Reading(corrupt_limit=0.2))
    assert data.skipped[0].endswith("row 0 (no image in this row)")
    assert all_of(data.train)[0].shape[0] == COUNT - 1
