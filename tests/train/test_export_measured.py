"""Exports in fewer bits and with preprocessing, run in their runtimes on held-out images."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands import export, predict
from tests.train.exported import CLASSES, coloured, photographs, trained
from tests.train.images import smooth
from train.checkpoint import read_weights, write_weights
from train.export import request
from train.export.onnx_file import write_onnx

ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
OPENVINO = ONNX and importlib.util.find_spec("openvino")
pytestmark = pytest.mark.skipif(not ONNX, reason="needs the extra onnx")
needs_openvino = pytest.mark.skipif(not OPENVINO, reason="needs the extra openvino")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        "plain": trained(folder / "plain", data),
        "outlier": trained(folder / "outlier", data, outlier=True),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[tuple[str, str], Path]:
    """Return a cache of ONNX files by weights, because torch's exporter takes seconds."""
    return {}


@pytest.fixture
def run(runs, files, tmp_path, monkeypatch) -> Callable[[str], Path]:
    """Return a function that copies one of the runs to a new folder in the current folder."""
    monkeypatch.chdir(tmp_path)  # printed paths are relative to it

    def fresh(name: str) -> Path:
        folder = tmp_path / "run"
        folder.mkdir()
        shutil.copy(runs[name] / "best.safetensors", folder)

        def written(path: Path, network, shape, **options) -> None:
            key = (name, path.name)
            if key not in files:
                files[key] = runs[name] / path.name
                write_onnx(files[key], network, shape, **options)
            shutil.copy(files[key], path)

        monkeypatch.setattr(request, "write_onnx", written)
        return folder

    return fresh


def photograph(folder: Path, name: str = "PHOTO.jpg") -> Path:
    """Write a reddish photograph."""
    coloured(99, "red").save(folder / name)
    return folder / name


def printed_command(out: str) -> str:
    return out.splitlines()[-1].strip()


def classified(command: str, folder: Path) -> list[str]:
    """Return the output of an export's program for a photograph, without this project."""
    photograph(folder)
    words = command.split()
    assert words[-1] == "PHOTO.jpg"
    done = subprocess.run(
        [words[0], "-I", *words[1:]], check=True, capture_output=True, text=True, cwd=folder
    )
    return done.stdout.split("\t")


def record_of(path: Path) -> dict:
    return json.loads(path.with_name(f"{path.name}.json").read_text())


@pytest.mark.slow
def test_int8_is_measured_and_recorded(run, tmp_path, capsys):
    folder = run("plain")
    words = [str(folder), "--to", "onnx", "--precision", "int8", "--max-loss", "6"]
    assert export([*words, "--calibration", "24"]) == 0
    out = capsys.readouterr().out
    for text in ("minmax", "entropy", "percentile", "kept", "points of top-1", "in float32 "):
        assert text in out
    record = record_of(folder / "network.int8.onnx")
    assert record["accuracy"]["images"] == 36
    assert record["accuracy"]["points"] <= 6
    assert set(record["int8"]["methods"]) == {"minmax", "entropy", "percentile"}
    kept = record["int8"]["methods"][record["int8"]["calibration"]]
    assert kept["points"] == min(each["points"] for each in record["int8"]["methods"].values())
    for name in ("latency_seconds", "float32_latency_seconds"):
        assert record[name]["low"] <= record[name]["median"] <= record[name]["high"]
    assert record["bytes"] == (folder / "network.int8.onnx").stat().st_size
    assert {path.name for path in folder.iterdir()} == {
        "best.safetensors",
        "network.int8.onnx",
        "network.int8.onnx.json",
        "network.int8.onnx.py",
    }
    said = classified(printed_command(out), tmp_path)
    assert said[0] == "PHOTO.jpg"
    assert said[1].startswith("red (")


@pytest.mark.slow
def test_int8_weights_have_a_scale_for_each_channel(run):
    import onnx
    from onnx import numpy_helper

    folder = run("plain")
    words = [str(folder), "--to", "onnx", "--precision", "int8", "--max-loss", "100"]
    assert export([*words, "--calibration", "8", "--float-layers", "se,head"]) == 0
    model = onnx.load(folder / "network.int8.onnx")
    tensors = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    kinds = {each.name: each.op_type for each in model.graph.node}
    made_by = {name: node for node in model.graph.node for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    quantised = 0
    for node in convolutions:
        source = made_by.get(node.input[1])
        in_float = ".se." in node.name or node.name.startswith(("conv_head", "bn2"))
        assert (source is None) == in_float, node.name
        if source is not None:
            assert tensors[source.input[0]].dtype == np.int8
            assert tensors[source.input[1]].shape == (tensors[source.input[0]].shape[0],)
            quantised += 1
    assert quantised == 9  # the stem, two of the first block, three of each other
    assert "QuantizeLinear" in kinds.values()
    notes = {each.key: json.loads(each.value) for each in model.metadata_props}
    assert (notes["precision"], notes["input"], notes["output"]) == ("int8", "float", "logits")
    assert notes["preprocessing"]["interpolation"] == "bilinear"
    assert notes["classes"] == list(CLASSES)


@pytest.mark.slow
def test_a_loss_fails_with_the_layers_that_hurt(run, capsys):
    folder = run("outlier")
    words = [str(folder), "--to", "onnx", "--precision", "int8", "--calibration", "24"]
    assert export([*words, "--max-loss", "5"]) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if "train.export: " in line]
    assert len(error) == 1
    assert "more than --max-loss 5; it was removed" in error[0]
    assert "the layers that hurt most" in error[0]
    assert "--float-layers blocks.1.0," in error[0]
    assert [path.name for path in folder.iterdir()] == ["best.safetensors"]
    assert export([*words, "--max-loss", "5", "--float-layers", "blocks.1.0"]) == 0
    (folder / "network.int8.onnx").unlink()
    (folder / "network.int8.onnx.json").unlink()
    (folder / "network.int8.onnx.py").unlink()
    assert export([*words, "--max-loss", "5", "--float-layers", "auto"]) == 0
    record = record_of(folder / "network.int8.onnx")
    assert record["int8"]["float_layers"] == ["blocks.1.0"]
    assert record["int8"]["layers"]["blocks.1.0"]["points"] < 5


def test_pixels_of_any_size_go_in_and_probabilities_come_out(run, tmp_path, capsys):
    import onnxruntime

    folder = run("plain")
    words = [str(folder), "--to", "onnx", "--with-preprocessing", "--softmax"]
    assert export(words) == 0
    out = capsys.readouterr().out
    assert "decoded: largest difference" in out
    session = onnxruntime.InferenceSession(str(folder / "network.onnx"))
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.type, given.shape) == ("tensor(uint8)", [1, "height", "width", 3])
    assert answer.name == "probabilities"
    pixels = np.asarray(Image.open(photograph(tmp_path)))
    (probabilities,) = session.run(None, {given.name: pixels[None]})
    assert probabilities.shape == (1, 3)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    record = record_of(folder / "network.onnx")
    assert abs(record["accuracy"]["points"]) < 3
    assert record["accuracy"]["after"] > 90
    assert predict([str(folder / "network.onnx"), str(tmp_path / "PHOTO.jpg")]) == 2
    assert "a file with the preprocessing in it" in capsys.readouterr().err
    assert classified(printed_command(out), tmp_path)[1].startswith("red (")


def test_int8_takes_pixels_too(run, capsys):
    folder = run("plain")
    words = [str(folder), "--to", "onnx", "--with-preprocessing", "--precision", "int8"]
    assert export([*words, "--calibration", "8", "--max-loss", "10"]) == 0
    assert record_of(folder / "network.int8.onnx")["accuracy"]["after"] > 80


def test_probabilities_of_a_file_are_not_softmaxed_again(run, tmp_path, capsys):
    folder = run("plain")
    assert export([str(folder), "--to", "onnx", "--softmax"]) == 0
    name = str(photograph(tmp_path))
    found = []
    for source in (folder, folder / "network.onnx"):
        out = tmp_path / f"{source.name}.jsonl"
        assert predict([str(source), name, "--out", str(out)]) == 0
        found.append(json.loads(out.read_text().splitlines()[0]))
    first, second = (list(each.values()) for each in found)
    assert [value for value in first if not isinstance(value, float)] == [
        value for value in second if not isinstance(value, float)
    ]
    numbers = zip(first, second, strict=True)
    assert all(a == pytest.approx(b, abs=1e-4) for a, b in numbers if isinstance(a, float))


@pytest.mark.slow
def test_fp16_halves_the_file(run, capsys):
    folder = run("plain")
    assert export([str(folder), "--to", "onnx", "--precision", "fp16"]) == 0
    record = record_of(folder / "network.fp16.onnx")
    assert abs(record["accuracy"]["points"]) < 3
    assert record["compared"]["equal"]
    import onnx

    model = onnx.load(folder / "network.fp16.onnx")
    kinds = {each.data_type for each in model.graph.initializer if len(each.dims) == 4}
    assert kinds == {onnx.TensorProto.FLOAT16}


@needs_openvino
@pytest.mark.parametrize(
    "precision",
    [
        pytest.param("float32", marks=pytest.mark.slow),
        pytest.param("fp16", marks=pytest.mark.slow),
        "int8",
    ],
)
def test_openvino_computes_the_network(precision, run, tmp_path, capsys):
    folder = run("plain")
    words = [str(folder), "--to", "openvino", "--softmax", "--precision", precision]
    assert export([*words, "--calibration", "8", "--max-loss", "10"]) == 0
    out = capsys.readouterr().out
    name = "network.xml" if precision == "float32" else f"network.{precision}.xml"
    assert (folder / name).with_suffix(".bin").is_file()
    record = record_of(folder / name)
    assert record["runtime"] == "openvino"
    assert record["accuracy"]["after"] > 80
    assert classified(printed_command(out), tmp_path)[1].startswith("red (")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "imagefolder:{tmp}/none"], "none"),
        (["--data", "imagefolder:{tmp}/other"], "class 0 is 'cat', the network's is 'dark'"),
        (["--data", "imagefolder:{tmp}/two"], "2 classes, the network has 3"),
        (["--float-layers", "blocks.9"], "--float-layers: 'blocks.9' is unknown"),
        (["--float-layers", ","], "--float-layers names no layer"),
    ],
)
def test_mistakes_about_int8_are_one_line(arguments, said, run, tmp_path, capsys):
    folder = run("plain")
    for name, classes in (("other", ("cat", "light", "red")), ("two", ("dark", "red"))):
        for label in classes:
            place = tmp_path / name / label
            place.mkdir(parents=True)
            for index in range(4):
                Image.fromarray(smooth(index, 30, 30)).save(place / f"{index}.png")
    given = [each.format(tmp=tmp_path) for each in arguments]
    words = [str(folder), "--to", "onnx", "--precision", "int8", "--calibration", "4"]
    assert export([*words, *given]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if "train.export: " in line]
    assert len(error) == 1
    assert said in error[0]
    assert [path.name for path in folder.iterdir()] == ["best.safetensors"]


def test_a_damaged_recipe_in_the_weights_is_one_line(run, data, capsys):
    folder = run("plain")
    weights = read_weights(folder / "best.safetensors")
    about = {**weights.about, "recipe": {"seed": "x"}}
    write_weights(folder / "best.safetensors", replace(weights, about=about))
    words = [str(folder), "--to", "onnx", "--precision", "int8", "--data", data]
    assert export(words) == 2
    error = capsys.readouterr().err
    assert "network: the recorded recipe of " in error
    assert "is damaged (seed: 'x'" in error
    assert error.count("\n") == 1


def test_int8_without_images_is_one_line(run, data, capsys):
    folder = run("plain")
    shutil.move(data.removeprefix("imagefolder:"), f"{data.removeprefix('imagefolder:')}-moved")
    try:
        assert export([str(folder), "--to", "onnx", "--precision", "int8"]) == 2
    finally:
        shutil.move(f"{data.removeprefix('imagefolder:')}-moved", data.removeprefix("imagefolder:"))
    error = capsys.readouterr().err
    assert "int8 needs images to calibrate on; name them by --data" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.jpg", "gone.jpg does not exist"),
        ("photos", "photos holds no photographs"),
        ("deep", "deep/7/half.PNG cannot be read as a photograph ("),
        ("README.md", "README.md cannot be read as a photograph (cannot identify image file "),
        ("half.png", "half.png cannot be read as a photograph ("),
    ],
)
def test_a_program_names_a_file_that_is_no_photograph(name, message, tmp_path):
    from train.export.programs import program_of

    program = tmp_path / "network.onnx.py"
    program.write_text(program_of("onnx", "network.onnx"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "README.md").write_text("no image")
    Image.fromarray(smooth(3, 90, 120)).save(tmp_path / "half.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "half.png").read_bytes()[:2000])
    (tmp_path / "deep" / "7").mkdir(parents=True)
    shutil.copy(tmp_path / "half.png", tmp_path / "deep" / "7" / "half.PNG")
    shutil.copy(tmp_path / "README.md", tmp_path / "deep")  # no image, not read
    (tmp_path / "photos" / "notes.txt").touch()
    done = subprocess.run(
        [sys.executable, str(program), name],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_programs_are_python_whatever_the_file_is_called():
    from train.export.programs import PROGRAMS, program_of

    for kind in PROGRAMS:
        for name in ("network.onnx", 'it\'s "quoted".onnx', "new\nline{x}\\.onnx", '"""'):
            compile(program_of(kind, name), "program", "exec")
        name = 'PROGRAM" FILE IMPORTS NEEDS.onnx'  # words of the programs' own templates
        if "FILE" in PROGRAMS[kind]:
            assert f"with_name({name!a})" in program_of(kind, name)
