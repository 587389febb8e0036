"""Image folders of the experiments that shrink a pretrained parent."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from experiments.lib.parents import CASES, CIFAR10_IMAGES, chosen_case


def options(source: str, work: Path) -> argparse.Namespace:
    return argparse.Namespace(case="cifar10", data=source, out=work / "result.json", work=work)


@pytest.mark.parametrize("prefix", ["", "parquet:"])
def test_images_of_cifar10_are_written_into_a_folder(prefix: str, tmp_path: Path) -> None:
    rows = []
    for label in range(10):
        content = io.BytesIO()
        Image.new("RGB", (4, 4), (25 * label, 0, 0)).save(content, "png")
        rows += [{"img": {"bytes": content.getvalue()}, "label": label}] * (CIFAR10_IMAGES + 1)
    for split in ("train", "test"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"{split}.parquet")
    args = options(f"{prefix}{tmp_path}", tmp_path / "work")
    assert chosen_case(args) == CASES["cifar10"]
    assert args.out == tmp_path / "work" / "result_cifar10.json"
    folder = Path(args.data.removeprefix("imagefolder:"))
    for split in ("train", "val"):
        assert [len([*place.iterdir()]) for place in (folder / split).iterdir()] == [200] * 10
    with Image.open(folder / "train" / "3" / "0.png") as image:
        assert image.getpixel((0, 0)) == (75, 0, 0)


def test_a_folder_without_parquet_files_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--data: .* has no train.parquet; use the folder of"):
        chosen_case(options(str(tmp_path), tmp_path / "work"))
    assert not (tmp_path / "work_cifar10").exists()
