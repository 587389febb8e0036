"""Parts of exports: preprocessing as an ONNX graph, losses, latencies, layers, options."""

from __future__ import annotations

import importlib.util
import itertools
import time
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from tests.commands import export
from tests.train.images import smooth
from train.export import ExportConfig
from train.export.latency import latencies
from train.export.loss import accuracy_loss, as_logits
from train.export.programs import PREPARED
from train.preprocessing import Preprocessing, framed, preprocess
from vbs.config import ConfigError

ONNX = importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime")
needs_onnx = pytest.mark.skipif(not ONNX, reason="needs the extra onnx")
SIZES = (
    (500, 375),
    (100, 100),
    (37, 53),
    (96, 96),
    (96, 97),
    (333, 30),
    (12, 700),
    (20, 17),
    (1, 9),
)


def pixel_graph(how: Preprocessing):
    """Return the preprocessing alone as a function of decoded images."""
    from train.export.onnx_graph import preprocessing_model
    from train.export.runtimes import onnx_function

    return onnx_function(preprocessing_model(how).SerializeToString())


@needs_onnx
@pytest.mark.parametrize(
    "how",
    [
        Preprocessing(resolution=96, crop_share=1.0),
        Preprocessing(resolution=224, crop_share=0.875),
        Preprocessing(resolution=33, crop_share=0.9, channels=1),
    ],
    ids=["96", "224-cropped", "grey"],
)
def test_the_graph_prepares_pixels_to_within_rounding(how):
    function = pixel_graph(how)
    level = 1 / 255 / min(how.channel_std)
    for seed, size in enumerate(SIZES):
        rng = np.random.default_rng(seed)
        noise = rng.integers(0, 256, (*size, how.channels), np.uint8)
        for pixels in (smooth(seed, *size, how.channels), noise):
            answer = function(torch.from_numpy(pixels)[None])[0].numpy()
            off = np.abs(answer - preprocess(pixels, how))
            assert off.max() <= 2.001 * level, size
            assert (off > 1.5 * level).mean() < 0.001, size
            assert (off > level / 2).mean() < 0.05, size


@needs_onnx
@pytest.mark.parametrize("size", SIZES[:6])
def test_the_graph_resizes_as_pillow_does(size):
    how = Preprocessing(resolution=64, mean=(0.0,) * 3, std=(1.0,) * 3)
    pixels = smooth(1, *size)
    answer = 255 * pixel_graph(how)(torch.from_numpy(pixels)[None])[0].permute(1, 2, 0).numpy()
    short = min(size)
    height, width = (64 * length // short for length in size)
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - 64) / 2), round((height - 64) / 2)
    expected = np.asarray(resized.crop((left, top, left + 64, top + 64)), np.float32)
    if size != (333, 30):  # more than 8 times as high as wide, so cropped before resizing
        assert np.abs(answer - expected).max() <= 1.01
    ours = framed(torch.from_numpy(pixels).permute(2, 0, 1)[None], how)[0].permute(1, 2, 0).numpy()
    assert np.abs(answer - ours).max() <= 1.01


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> ModuleType:
    """Return the functions of the exports' programs that prepare photographs."""
    path = tmp_path_factory.mktemp("program") / "prepared.py"
    path.write_text(f"import numpy as np\nfrom PIL import Image, ImageOps\n{PREPARED}")
    known = importlib.util.spec_from_file_location("prepared", path)
    assert known is not None
    assert known.loader is not None
    module = importlib.util.module_from_spec(known)
    known.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "how",
    [
        Preprocessing(resolution=32),
        Preprocessing(resolution=96, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3)),
        Preprocessing(resolution=224, crop_share=0.875),
        Preprocessing(resolution=33, crop_share=0.9, channels=1),
    ],
    ids=["32", "96", "224-cropped", "grey"],
)
def test_the_programs_prepare_photographs_as_the_training_does(how, program, tmp_path):
    # torchvision rounds in another way on processors without AVX2
    exact = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    level = 0 if exact else 1.001 / 255 / min(how.channel_std)
    for seed, size in enumerate([*SIZES, (1200, 900), (how.resolution, how.resolution), (900, 60)]):
        image = Image.fromarray(smooth(seed, *size).astype(np.uint8))
        turned = Image.Exif()
        turned[0x0112] = 1 + seed % 8
        for name, options in (("photo.JPG", {"exif": turned}), ("photo.png", {})):
            path = tmp_path / name
            image.save(path, **options)
            off = program.prepared(path, how.to_dict())[0] - preprocess(path.read_bytes(), how)
            assert np.abs(off).max() <= level, (size, name)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (70, 90, 4), np.uint8)).save(tmp_path / "alpha.png")
    alpha = tmp_path / "alpha.png"
    off = program.prepared(alpha, how.to_dict())[0] - preprocess(alpha.read_bytes(), how)
    assert np.abs(off).max() <= level


def test_a_loss_is_paired():
    targets = torch.arange(200) % 2
    before = torch.nn.functional.one_hot(targets, 2).float()
    after = before.clone()
    after[:6] = before[:6].flip(1)  # 6 of 200 are lost
    found = accuracy_loss(before, after, targets)
    assert (found.before, found.after, found.points) == (100, 97, 3)
    assert found.error == pytest.approx(100 * (7 / 202 - (6 / 202) ** 2) ** 0.5 / 202**0.5)
    low, high = found.interval
    assert 0 < low < 3 < high
    assert found.divergence > 0
    same = accuracy_loss(before, before, targets)
    assert (same.points, same.divergence) == (0, 0)
    assert same.error > 0  # of 200 images, not of all there are


def test_probabilities_are_compared_as_logits():
    logits = torch.randn(4, 5)
    back = as_logits(logits.softmax(1), probabilities=True)
    torch.testing.assert_close(back.softmax(1), logits.softmax(1))
    assert as_logits(logits, probabilities=False) is logits
    assert as_logits(torch.tensor([[0.0, 1.0]]), probabilities=True).isfinite().all()


def test_latencies_are_taken_in_turns():
    order: list[str] = []

    def slow() -> None:
        order.append("slow")
        time.sleep(0.012)

    def quick() -> None:
        order.append("quick")
        time.sleep(0.003)

    found = latencies({"slow": slow, "quick": quick}, seconds=0.1)
    assert found["slow"].median > 2 * found["quick"].median > 0
    assert all(each.low <= each.median <= each.high for each in found.values())
    assert found["slow"].calls >= 15
    turns = sum(a != b for a, b in itertools.pairwise(order))
    assert turns > 4
    assert " ms (" in str(found["quick"])


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ("conv_stem/Conv_0", "stem"),
        ("bn1/Conv_0", "stem"),
        ("blocks.3.1.conv_dw/Conv_12", "blocks.3.1"),
        ("blocks.3.1.se.conv_reduce/Conv_13", "blocks.3.1"),
        ("conv_head/Conv_40", "head"),
        ("/ReduceMean_4", "head"),
        ("classifier/Gemm_50", "classifier"),
    ],
)
@needs_onnx
def test_nodes_belong_to_layers(node, layer):
    from train.export.quantise import layer_matches, layer_of

    assert layer_of(node) == layer
    assert layer_matches(node, layer)
    assert layer_matches(node, "se") == (".se." in node)
    assert layer_matches(node, "blocks.3") == layer.startswith("blocks.3")
    assert not layer_matches(node, "blocks") or layer.startswith("blocks")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"to": "timm", "precision": "int8"}, "--precision int8 is for --to onnx and openvino"),
        ({"to": "openvino", "with_preprocessing": True}, "--with-preprocessing is for --to onnx"),
        ({"to": "torchscript", "softmax": True}, "--softmax is for --to onnx and openvino"),
        ({"to": "onnx", "float_layers": "stem"}, "--float-layers is for --precision int8"),
        ({"to": "onnx", "push": "me/net"}, "--push is for --to hub"),
        ({"to": "hub", "push": "net"}, "use USER/NAME"),
        ({"to": "hub", "push": "a/b; rm"}, "use USER/NAME"),
        ({"to": "hub", "license": "MIT Licence\n"}, "apache-2.0"),
        ({"to": "onnx", "precision": "int4"}, "precision"),
        ({"to": "onnx", "max_loss": -1.0}, "max_loss"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(values, said):
    with pytest.raises((ValueError, ConfigError)) as error:
        ExportConfig(run="runs/a", **values)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_help_names_the_formats(capsys):
    with pytest.raises(SystemExit):
        export(["--help"])
    assert "openvino" in capsys.readouterr().out
