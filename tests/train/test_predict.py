"""Predictions: the same through torch, timm and onnxruntime, of every kind of image and source."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from search_spaces.network import build
from tests.commands import predict
from tests.train.files import encoded
from tests.train.images import odd_images, write_images
from tests.train.test_export import PLAIN, a_run, exported
from train import PredictConfig, load_network, predict_images
from train.checkpoint import Weights, read_weights, write_weights
from train.data.stores import FileStore
from train.data.streaming import StreamSplit
from train.evaluate import predict as evaluated
from train.export import formats
from train.export.block_strings import timm_network
from train.predict import networks
from train.preprocessing import Preprocessing, preprocess

ONNX = all(importlib.util.find_spec(name) for name in formats.FORMATS["onnx"].needs)
HOSTILE = "a\x1b[2J\nb\u202e.png"
needs_onnx = pytest.mark.skipif(not ONNX, reason="onnx, onnxscript or onnxruntime is missing")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a run."""
    return a_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def exports(run) -> dict[str, Path]:
    """A run and its exports, by their kind."""
    kinds = ["timm", "safetensors", *(["onnx"] if ONNX else [])]
    paths = {kind: exported(run, kind).path for kind in kinds}
    return {"run": run, "weights": run / "best.safetensors", **paths}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """A folder of images of all kinds."""
    folder = tmp_path_factory.mktemp("photographs")
    write_images(folder, odd_images())
    return folder


def predicted(network: Path, *images: object, **options: object):
    config = PredictConfig(
        network=str(network), images=tuple(map(str, images)), device="cpu", **options
    )
    return predict_images(config)


def whole(result) -> np.ndarray:
    """Probabilities [n, classes] in the order of classes."""
    table = np.zeros_like(result.probabilities)
    np.put_along_axis(table, result.labels, result.probabilities, 1)
    return table


def as_evaluated(run: Path, paths: list[Path]) -> np.ndarray:
    """Probabilities [n, classes] as an evaluation of the training computes them."""
    weights = read_weights(run / "best.safetensors")
    network = build(weights.architecture)
    network.load_state_dict(dict(weights.tensors))
    split = StreamSplit(
        FileStore(paths), torch.zeros(len(paths), dtype=torch.int64), np.arange(len(paths))
    )
    how = Preprocessing.of_weights(weights).preparation
    return evaluated(network, split, how, device=torch.device("cpu"))[0].numpy()


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


def test_the_command_prints_a_table_and_writes_files(run, photographs, tmp_path, capsys):
    outs = [tmp_path / f"p{end}" for end in (".csv", ".jsonl", ".parquet")]
    sheet = tmp_path / "sheet.png"
    for out in outs:
        words = [str(run), str(photographs), "--top-k", "2", "--out", str(out), "--device", "cpu"]
        words += ["--contact-sheet", str(sheet)] if out == outs[0] else []
        assert predict(words) == 0
    printed = capsys.readouterr()
    assert "images/s" in printed.out
    assert "12 of 12 images" in printed.err
    with outs[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in outs[1].read_text().splitlines()]
    table = pyarrow.parquet.read_table(outs[2]).to_pylist()
    assert lines == table
    assert list(rows[0]) == ["image", "prediction", "probability", "prediction_2", "probability_2"]
    for row, line in zip(rows, lines, strict=True):
        assert row["prediction"] == line["prediction"]
        assert float(row["probability_2"]) == pytest.approx(line["probability_2"])
        assert f"{line['prediction']} ({100 * line['probability']:.1f}%)" in printed.out
    assert Image.open(sheet).size[0] > 500


def test_options_may_stand_between_the_images(run, photographs, capsys):
    words = [str(run), "--device", "cpu", str(photographs / "tiny.png"), "--batch", "1"]
    assert predict([*words, str(photographs / "grey.jpg")]) == 0
    assert "2 images in" in capsys.readouterr().out


def test_a_broken_image_is_named_and_skipped(run, photographs, tmp_path, capsys):
    (tmp_path / "page.jpg").write_text("<html>")
    content = (photographs / "colour.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    out = tmp_path / "p.jsonl"
    words = [str(run), str(photographs), str(tmp_path), f"{tmp_path}/gone.jpg", "--out", str(out)]
    assert predict([*words, "--device", "cpu"]) == 2
    assert "gone.jpg: no such file or folder" in capsys.readouterr().err
    assert predict([*words[:3], *words[4:], "--device", "cpu"]) == 1
    err = capsys.readouterr().err
    assert f"skipped {tmp_path}/page.jpg (not an image but a web page)" in err
    assert f"skipped {tmp_path}/cut.jpg" in err
    assert "2 of 14 images could not be read and were skipped" in err
    assert len(out.read_text().splitlines()) == 12


def test_where_all_are_broken_nothing_is_written(run, tmp_path, capsys):
    for index in range(12):
        (tmp_path / f"{index:02}.png").write_bytes(b"")
    out = tmp_path / "p.csv"
    assert predict([str(run), str(tmp_path), "--out", str(out), "--device", "cpu"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "none of 12 can be read, as" in lines[-1]
    assert "the file is empty" in lines[-1]
    assert "skipped 12 unreadable images in all" in lines
    assert not out.exists()


def test_hostile_names_are_text(tmp_path, capsys):
    weights = read_weights(a_run(tmp_path / "run") / "best.safetensors")
    names = ("=1+1", "a\x1b]0;b\x07", "c\nd", "e", "f")
    write_weights(
        tmp_path / "run" / "best.safetensors", Weights(**{**vars(weights), "classes": names})
    )
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / HOSTILE).write_bytes(encoded(1))
    (tmp_path / "images" / os.fsdecode(b"\xff.png")).write_bytes(encoded(2))
    (tmp_path / "images" / "\x1b[31mbroken.png").write_bytes(b"")
    for end in ("csv", "jsonl", "parquet"):
        words = [str(tmp_path / "run"), str(tmp_path / "images"), "--out", f"{tmp_path}/p.{end}"]
        words += ["--top-k", "5", "--device", "cpu", "--contact-sheet", f"{tmp_path}/s.png"]
        assert predict(words) == 1
    printed = capsys.readouterr()
    for text in printed:
        assert not set(text) & {"\x1b", "\x07", "\u202e"}
    stored = pyarrow.parquet.read_table(tmp_path / "p.parquet")["image"].to_pylist()
    assert any(name.endswith(HOSTILE) for name in stored)
    assert any(name.endswith("\\udcff.png") for name in stored)
    text = (tmp_path / "p.csv").read_text()
    assert "\x1b" not in text
    assert ",=1" not in text


@pytest.mark.parametrize("given", ["{folder}", "parquet:{folder}", "{rows}?image=image", "{link}"])
def test_no_image_is_replaced(run, tmp_path, capsys, given):
    folder = tmp_path / "images"
    folder.mkdir()
    picture, rows = folder / "a.png", folder / "rows.parquet"
    picture.write_bytes(encoded(1))
    pyarrow.parquet.write_table(pyarrow.table({"image": [encoded(1)]}), rows)
    (tmp_path / "link.png").symlink_to(picture)
    before = picture.read_bytes(), rows.read_bytes()
    source = given.format(folder=folder, rows=rows, link=tmp_path / "link.png")
    read = rows if "parquet" in source else picture
    option = "--out" if read == rows else "--contact-sheet"
    words = [str(run), source, "--device", "cpu", option]
    assert predict([*words, str(read)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{option}: {read} is read from; give another file" in line
    assert (picture.read_bytes(), rows.read_bytes()) == before
    other = folder / f"new{read.suffix}"
    for _ in range(2):  # the second time it is replaced
        assert predict([*words[:2], "--device", "cpu", option, str(tmp_path / other.name)]) == 0


@pytest.mark.parametrize("option", ["--out", "--contact-sheet"])
def test_a_place_that_cannot_be_written_is_reported_before_the_work(
    run, photographs, tmp_path, capsys, option
):
    name = "x" * 240 + (".csv" if option == "--out" else ".png")
    assert predict([str(run), str(photographs), option, f"{tmp_path}/{name}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(": File name too long")
    assert not list(tmp_path.iterdir())


def test_a_sheet_that_is_not_drawn_is_not_said_to_be_written(
    run, photographs, tmp_path, capsys, monkeypatch
):
    def fails(*given: object) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr("train.pictures.picture_sheet", fails)
    words = ["--out", f"{tmp_path}/p.csv", "--contact-sheet", f"{tmp_path}/s.png"]
    assert predict([str(run), str(photographs), *words, "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert "no fonts" in printed.err
    assert "p.csv" in printed.out
    assert "s.png" not in printed.out


def test_links_to_themselves_are_passed_over(run, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(1))
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "here").symlink_to(".")
    assert len(predicted(run, tmp_path)) == 1


def test_load_network_gives_module_preprocessing_and_classes(run, exports):
    weights = read_weights(run / "best.safetensors")
    images = torch.randn(2, 3, 33, 33)
    expected = None
    for kind, source in exports.items():
        if kind == "onnx":
            continue
        trained = load_network(source)
        assert trained.preprocessing == Preprocessing.of_weights(weights), kind
        assert trained.classes == weights.classes
        assert not trained.module.training
        with torch.no_grad():
            logits = trained.module(images)
        expected = logits if expected is None else expected
        torch.testing.assert_close(logits, expected)


def test_load_network_names_what_is_missing(exports, tmp_path):
    content = exports["safetensors"].read_bytes()
    about = json.loads(exports["safetensors"].with_suffix(".json").read_text())
    path = tmp_path / "network.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^network: .*no architecture"):
        load_network(path)
    path.with_suffix(".json").write_text(json.dumps({"architecture": about["architecture"]}))
    with pytest.raises(ValueError, match=r"^network: .*how its images are prepared is unknown"):
        load_network(path)
    for change, message in (
        ({"resolution": -1}, "preprocessing: resolution: -1 is not allowed"),
        ({"channels": 1}, "preprocessing: channels: 1 is not allowed; the network takes 3"),
        ({"interpolation": "bicubic"}, "use bilinear"),
    ):
        changed = {**about, "preprocessing": {**about["preprocessing"], **change}}
        path.with_suffix(".json").write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=message):
            load_network(path)
    path.with_suffix(".json").write_text(json.dumps({**about, "classes": ["one"]}))
    with pytest.raises(ValueError, match="1 names of classes for 5 classes"):
        load_network(path)
    del about["classes"]
    path.with_suffix(".json").write_text(json.dumps(about))
    assert load_network(path).classes == ("0", "1", "2", "3", "4")
    with pytest.raises(ValueError, match=r"network: .*: no such file or folder; give a run"):
        load_network(tmp_path / "gone")
    (tmp_path / "x.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="is a pickle"):
        load_network(tmp_path / "x.pt")


def test_a_network_of_one_channel_gets_grey_images(tmp_path, photographs):
    run = a_run(tmp_path / "run", replace(PLAIN, in_channels=1))
    result = predicted(run, photographs, top_k=5)
    how = load_network(run).preprocessing
    assert how.channels == 1
    with torch.no_grad():
        image = preprocess((photographs / "cmyk.jpg").read_bytes(), how)
        logits = load_network(run).module(torch.from_numpy(image)[None])
    names = [record["image"] for record in result.records()]
    at = names.index(str(photographs / "cmyk.jpg"))
    np.testing.assert_allclose(whole(result)[at], logits.softmax(1)[0].numpy(), atol=2e-6)


@needs_onnx
@pytest.mark.slow
def test_an_onnx_file_of_one_channel_gets_grey_images(tmp_path, photographs):
    run = a_run(tmp_path / "run", replace(PLAIN, in_channels=1))
    found = [predicted(each, photographs, top_k=5) for each in (run, exported(run, "onnx").path)]
    np.testing.assert_allclose(whole(found[0]), whole(found[1]), atol=2e-6)


@needs_onnx
def test_onnx_files_of_other_tools_are_refused(exports, photographs, tmp_path, capsys):
    import onnx

    def refused(change, *words: str) -> str:
        model = onnx.load(str(exports["onnx"]))
        change(model)
        onnx.save(model, str(tmp_path / "other.onnx"))
        assert predict([str(tmp_path / "other.onnx"), str(photographs), *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    def without(*names: str):
        def change(model) -> None:
            kept = [entry for entry in model.metadata_props if entry.key not in names]
            del model.metadata_props[:]
            model.metadata_props.extend(kept)

        return change

    def with_value(name: str, value: str):
        def change(model) -> None:
            (entry,) = [entry for entry in model.metadata_props if entry.key == name]
            entry.value = value

        return change

    everything = without("classes", "preprocessing", "architecture")
    assert "another tool: its metadata lack classes and preprocessing; give" in refused(everything)
    assert "metadata lack preprocessing" in refused(without("preprocessing"))
    assert "are damaged" in refused(with_value("classes", "[1"))
    assert "not a list of names" in refused(with_value("classes", "[1]"))
    assert "resolution is missing" in refused(with_value("preprocessing", "{}"))
    assert "are supported" in refused(with_value("classes", '["a", "b"]'))

    def with_batch(size: int):
        def change(model) -> None:
            for each in (*model.graph.input, *model.graph.output):
                each.type.tensor_type.shape.dim[0].dim_value = size

        return change

    assert "there are none" in refused(with_value("classes", "[]"))
    assert "cannot be computed (" in refused(with_batch(7), "--loaders", "0")
    (tmp_path / "text.onnx").write_text("no model")
    assert predict([str(tmp_path / "text.onnx"), str(photographs)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be read as ONNX" in line


@needs_onnx
def test_an_onnx_file_with_other_outputs_than_it_declares_is_refused(tmp_path, photographs):
    import onnx
    from onnx import TensorProto, helper

    # [batch, 2] is declared, [1, 2] computed
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0, 2, 3], keepdims=0),
        helper.make_node("Gather", ["mean", "rows"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor("rows", TensorProto.INT64, [1, 2], [0, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    about = {"classes": ["a", "b"], "preprocessing": Preprocessing(resolution=32).to_dict()}
    texts = {name: json.dumps(value) for name, value in about.items()}
    helper.set_model_props(model, texts)
    onnx.save(model, str(tmp_path / "x.onnx"))
    with pytest.raises(ValueError, match=r"gives outputs \[1, 2\] for 12 images"):
        predicted(tmp_path / "x.onnx", photographs)


def test_where_onnxruntime_is_missing_the_extra_is_named(tmp_path, photographs, monkeypatch):
    (tmp_path / "network.onnx").write_bytes(b"")
    monkeypatch.setattr(networks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'vision-baseline-search\[onnx\]'"):
        predicted(tmp_path / "network.onnx", photographs)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "RUN_OR_EXPORT is missing"),
        (["{run}"], "IMAGES are missing"),
        (["{run}", "{empty}"], "holds no images (.jpg"),
        (["{run}", "{heic}"], "1 .heic files are not read"),
        (["{run}", "{tmp}/none.zip"], "no such file or folder"),
        (["{run}", "{tmp}/none.parquet"], "no such file or folder"),
        (["{run}", "{photos}", "--out", "p.txt"], "must end in .csv, .jsonl, .parquet"),
        (["{run}", "{photos}", "--out", "{tmp}/none/p.csv"], "no such folder"),
        (["{run}", "{photos}", "--contact-sheet", "p.jpg"], "must end in .png"),
        (["{run}", "{rows}", "--out", "{rows}"], "is read from; give another file"),
        (["{run}", "{photos}", "--top-k", "0"], "--top-k: 0 is not allowed"),
        (["{run}", "{photos}", "--device", "tpu"], "device"),
        (["{tmp}/none", "{photos}"], "no such file or folder; give a run, its weights"),
        (["{tmp}/none.onnx", "{photos}"], "no such file"),
        (["{empty}", "{photos}"], "has no best.safetensors"),
    ],
)
def test_mistakes_are_one_line(run, photographs, tmp_path, capsys, words, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "heic").mkdir()
    (tmp_path / "heic" / "a.heic").write_bytes(b"")
    rows = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"image": [encoded(1)]}), rows)
    places = {"run": run, "photos": photographs, "tmp": tmp_path, "rows": rows}
    places |= {"empty": tmp_path / "empty", "heic": tmp_path / "heic"}
    assert predict([word.format(**places) for word in words]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    (line,) = printed.err.splitlines()
    assert line.startswith("train.predict: ")
    assert message in line
    assert rows.stat().st_size
