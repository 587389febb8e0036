"""Sources of networks for predictions, and `load_network`."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.commands import predict
from tests.train.predict.helpers import needs_onnx, predicted, whole
from tests.train.test_export import PLAIN, a_run, exported
from train import load_network
from train.checkpoint import read_weights, write_weights
from train.predict import networks
from train.preprocessing import Preprocessing, preprocess


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
    with pytest.raises(ValueError, match=r"network: .* does not exist; give a run"):
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


def test_outputs_that_are_not_finite_are_refused(run, photographs, tmp_path):
    weights = read_weights(run / "best.safetensors")
    tensors = {name: tensor.clone() for name, tensor in weights.tensors.items()}
    tensors["classifier.weight"].fill_(3e38)  # finite, but its products are not
    write_weights(tmp_path / "best.safetensors", replace(weights, tensors=tensors))
    with pytest.raises(ValueError, match=r"^network: its outputs for .*\.\w+ are not finite"):
        predicted(tmp_path / "best.safetensors", photographs)
