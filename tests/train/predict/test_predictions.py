"""Predictions by torch, timm and onnxruntime are equal for every kind of image and source."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.train.files import encoded
from tests.train.images import odd_images
from tests.train.predict.helpers import ONNX, as_evaluated, needs_onnx, predicted, whole
from train import load_network
from train.export.block_strings import timm_network
from train.preprocessing import Preprocessing, preprocess


def test_every_kind_of_network_predicts_what_an_evaluation_does(run, exports, photographs):
    paths = sorted(photographs.iterdir())
    expected = as_evaluated(run, paths)
    for kind, network in exports.items():
        result = predicted(network, photographs, top_k=9, batch=5, loaders=0)
        assert len(result) == len(paths)
        assert [result.store.name(row) for row in result.rows] == list(map(str, paths))
        np.testing.assert_allclose(whole(result), expected, atol=2e-6, err_msg=kind)
        assert (np.diff(result.probabilities) <= 0).all()
    assert "onnxruntime" in result.runtime or not ONNX


def test_timms_own_network_predicts_the_same(exports, photographs):
    description = json.loads((exports["timm"] / "timm.json").read_text())
    theirs = timm_network(description).eval()
    theirs.load_state_dict(load_file(exports["timm"] / "model.safetensors"))
    how = load_network(exports["timm"]).preprocessing
    images = [preprocess(path.read_bytes(), how) for path in sorted(photographs.iterdir())]
    with torch.no_grad():
        expected = theirs(torch.from_numpy(np.stack(images))).softmax(1).numpy()
    result = predicted(exports["timm"], photographs, top_k=9)
    np.testing.assert_allclose(whole(result), expected, atol=2e-6)


@needs_onnx
def test_a_loop_by_hand_over_the_onnx_file_predicts_the_same(exports, photographs):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exports["onnx"]))
    metadata = session.get_modelmeta().custom_metadata_map
    how = Preprocessing.from_dict(json.loads(metadata["preprocessing"]))
    result = predicted(exports["onnx"], photographs, top_k=1)
    classes = json.loads(metadata["classes"])
    for path, record in zip(sorted(photographs.iterdir()), result.records(), strict=True):
        images = preprocess(Image.open(path), how)[None]
        (logits,) = session.run(["logits"], {"images": images})
        assert record["prediction"] == classes[int(logits[0].argmax())]


def test_loader_processes_and_batches_change_nothing(run, photographs):
    first = predicted(run, photographs, loaders=0, batch=32)
    other = predicted(run, photographs, loaders=2, batch=3)
    np.testing.assert_array_equal(first.labels, other.labels)
    np.testing.assert_allclose(first.probabilities, other.probabilities, atol=1e-6)


def test_files_folders_archives_and_parquet_files_are_one_list(run, photographs, tmp_path):
    images = odd_images()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "x.png").write_bytes(encoded(1))
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("within/y.png", encoded(2))
    structs = [{"bytes": encoded(3), "path": "z.png"}, {"bytes": encoded(4), "path": None}]
    table = pyarrow.table({"photo": structs, "label": [0, 1]})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    both = table.append_column("mask", pyarrow.array([encoded(6)] * 2, pyarrow.binary()))
    pyarrow.parquet.write_table(both, tmp_path / "two.parquet")
    (tmp_path / "set").mkdir()
    pyarrow.parquet.write_table(table, tmp_path / "set" / "train-0.parquet")
    single = photographs / "colour.jpg"
    result = predicted(
        run,
        single,
        photographs / "grey.jpg",
        tmp_path / "deep",
        tmp_path / "some.zip",
        tmp_path / "rows.parquet",
        f"{tmp_path}/two.parquet?image=mask",
        f"parquet:{tmp_path}/set",
        tmp_path / "set",
    )
    names = [record["image"] for record in result.records()]
    assert names == [
        str(single),
        str(photographs / "grey.jpg"),
        f"{tmp_path}/deep/er/x.png",
        f"{tmp_path}/some.zip/within/y.png",
        *[f"{tmp_path}/rows.parquet, row {row}" for row in range(2)],
        *[f"{tmp_path}/two.parquet, row {row}" for row in range(2)],
        *[f"{tmp_path}/set/train-0.parquet, row {row}" for row in range(2)] * 2,
    ]
    rows = result.probabilities
    np.testing.assert_array_equal(rows[4:6], rows[8:10])
    assert images["colour.jpg"] == result.store.read(0)


def test_links_to_themselves_are_passed_over(run, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(1))
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "here").symlink_to(".")
    assert len(predicted(run, tmp_path)) == 1
