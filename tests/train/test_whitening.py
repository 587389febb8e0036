"""Whitened stems: uncorrelated responses, computed again with numpy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from search_spaces.architecture import Architecture
from search_spaces.network import build
from tests.train import toys
from train.data import Data, evaluation_steps
from train.data.augment import Preparation
from train.data.blended import blend
from train.data.in_memory import MemorySplit
from train.loop import train
from train.whitening import EPS, patch_covariance, whiten_stem


def blurred(count: int = 80, channels: int = 3) -> MemorySplit:
    """Return noise whose neighbouring pixels and channels are correlated."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(count, channels, 18, 18))
    noise = noise[..., 2:, :] + 2 * noise[..., 1:-1, :] + noise[..., :-2, :]
    noise = (
        noise[..., 2:]
        + 2 * noise[..., 1:-1]
        + noise[..., :-2]
        + noise.mean(1, keepdims=True)[..., 1:-1]
    )
    images = np.clip(110 + 22 * noise, 0, 255).astype(np.uint8)
    return MemorySplit(torch.from_numpy(images), torch.arange(count) % 3)


def covariances(
    split: MemorySplit, preparation: Preparation, weight: torch.Tensor, stride: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the covariance of the patches and that of their responses."""
    steps = evaluation_steps(len(split), 100)
    images = np.concatenate([images.numpy() for images, _ in split.batches(steps, preparation)])
    kernel = weight.shape[-1]
    windows = sliding_window_view(images.astype(np.float64), (kernel, kernel), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride].transpose(0, 2, 3, 1, 4, 5)
    patches = windows.reshape(-1, weight[0].numel())
    responses = patches @ weight.detach().numpy().reshape(len(weight), -1).T
    return np.cov(patches.T, ddof=0), np.cov(responses.T, ddof=0)


@pytest.mark.parametrize(
    ("kernel", "stride", "stem", "channels"),
    [(3, 2, 24, 3), (3, 1, 40, 3), (3, 2, 64, 3), (5, 2, 16, 3), (3, 2, 20, 1)],
)
def test_responses_of_patches_are_white(kernel: int, stride: int, stem: int, channels: int) -> None:
    architecture = dataclasses.replace(
        toys.NETWORK, stem=stem, stem_kernel=kernel, stem_stride=stride, in_channels=channels
    )
    split, look = blurred(channels=channels), Preparation(size=16)
    torch.manual_seed(4)
    network = build(architecture)
    random = network.conv_stem.weight.detach().clone()
    whiten_stem(network, split, look)
    weight = network.conv_stem.weight.detach()
    size = channels * kernel**2
    used = min(size, stem)
    patches, responses = covariances(split, look, weight, stride)
    variances = np.linalg.eigvalsh(patches)[::-1][:used]
    expected = np.diag(variances / (variances + EPS))
    np.testing.assert_allclose(responses[:used, :used], expected, atol=1e-4)
    assert np.abs(responses[:used, :used] - np.eye(used)).max() < 0.25
    copies = min(stem - used, size)
    assert torch.equal(weight[used : used + copies], -weight[:copies])
    assert torch.equal(weight[used + copies :], random[used + copies :])
    assert not torch.equal(weight[:used], random[:used])


def test_images_of_two_sources_are_whitened_together() -> None:
    both, look = blurred(), Preparation(size=16)
    parts = blend(both.select(np.arange(40)), both.select(np.arange(40, 80)), ratio=1)
    one, other = (patch_covariance(split, look, kernel=3, stride=2) for split in (both, parts))
    torch.testing.assert_close(one, other)


def data() -> Data:
    return dataclasses.replace(toys.data(), train=blurred(96))


def stem_after(*changes: str, network: Architecture = toys.NETWORK) -> torch.Tensor:
    result = train(network, data(), toys.recipe("epochs=1", *changes), execution=toys.CPU)
    assert result.failed == ""
    assert result.network is not None
    return result.network.conv_stem.weight.detach()


def test_a_frozen_stem_keeps_its_filters_and_a_whitened_one_is_trained() -> None:
    look = toys.recipe()
    network = build(toys.NETWORK)
    preparation = Preparation(size=16, mean=look.mean, std=look.std)
    whiten_stem(network, data().train, preparation)
    frozen = stem_after("stem=frozen", "optimizer=muon")
    assert torch.equal(frozen, network.conv_stem.weight.detach())
    assert torch.equal(frozen, stem_after("stem=frozen", "seed=3"))
    trained = stem_after("stem=whitened", "lr=0.001", "weight_decay=0")
    assert not torch.equal(trained, frozen)
    torch.testing.assert_close(trained, frozen, atol=0.1, rtol=0.1)


def test_it_is_refused_for_given_weights_and_tiny_images() -> None:
    with pytest.raises(ValueError, match="stem: whitened is not allowed for a network that starts"):
        train(
            toys.NETWORK,
            data(),
            toys.recipe("stem=whitened"),
            execution=toys.CPU,
            initial=build(toys.NETWORK),
        )
    with pytest.raises(ValueError, match="images of 2 px are smaller than the kernel of 3 px"):
        whiten_stem(build(toys.NETWORK), blurred(), Preparation(size=2))
