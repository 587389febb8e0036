"""Simulated int8 equals onnxruntime's for all activations and gates."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from search_spaces.architecture import Architecture, Stage
from search_spaces.catalog import zoo
from search_spaces.network import Network, build
from train.export.int8_network import int8_function
from train.export.runtimes import Function
from train.int8_simulation import simulated_int8

onnxruntime = pytest.importorskip("onnxruntime")


def small(activation: str, se: float) -> Architecture:
    stages = (
        Stage("mbconv", 1, 3, 1, 1, 16, se=se),
        Stage("mbconv", 2, 3, 2, 4, 24, se=se),
        Stage("fused", 1, 3, 2, 4, 32),
    )
    return Architecture(
        stages=stages, stem=16, head=64, resolution=32, classes=10, activation=activation
    )


def without_integer_kernels(model: bytes) -> Function:
    """Return a quantised network in onnxruntime, with every rounding but in float32 arithmetic.

    The integer kernels of processors without VNNI saturate, so that their errors are larger.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    given = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {given: images.numpy()})[0])


def trained_like(network: Network) -> Network:
    """Set batch norms to statistics and scales that differ by channel, as after training."""
    generator = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(20):
        network(torch.randn(16, 3, 32, 32, generator=generator))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.2, 1.5, generator=generator)
            module.bias.data.uniform_(-0.5, 0.5, generator=generator)
    return network.eval()


@pytest.mark.parametrize(
    ("activation", "se", "least"),
    [
        ("relu6", 0.0, 0.5),
        pytest.param("relu", 0.0, 0.5, marks=pytest.mark.slow),
        pytest.param("silu", 0.0, 0.4, marks=pytest.mark.slow),
        ("hard_swish", 0.25, 0.1),
    ],
)
def test_errors_are_those_of_onnxruntime(
    activation: str, se: float, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal in size and correlated: the last bit of a range changes many roundings."""
    monkeypatch.setattr("train.export.int8_network.onnx_function", without_integer_kernels)
    torch.manual_seed(0)
    network = trained_like(build(small(activation, se)))
    images = torch.randn(64, 3, 32, 32)
    batches = [images[:32], images[32:]]
    with torch.inference_mode():
        exact = network(images)
        simulated = simulated_int8(network, batches)(images) - exact
    computed = int8_function(network, batches)(images) - exact
    assert computed.square().mean() > 0
    ratio = float(simulated.square().mean() / computed.square().mean())
    assert 0.4 < ratio < 2.5
    both = torch.stack([simulated.flatten(), computed.flatten()])
    assert float(torch.corrcoef(both)[0, 1]) > least


def test_the_network_itself_is_not_changed() -> None:
    network = build(replace(zoo("mobilenet_v2"), resolution=32, classes=3)).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        exact = network(images)
        simulated_int8(network, [images])
        assert torch.equal(network(images), exact)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_channel_that_batch_norm_switches_off_does_no_harm() -> None:
    network = build(small("relu6", 0.0)).eval()
    with torch.no_grad():
        network.bn1.weight[0] = 0.0
        simulated = simulated_int8(network, [torch.randn(4, 3, 32, 32)])
        assert torch.isfinite(simulated(torch.randn(4, 3, 32, 32))).all()


def test_without_images_nothing_is_known() -> None:
    with pytest.raises(ValueError, match="batches: there are no images"):
        simulated_int8(build(small("relu6", 0.0)), [])
