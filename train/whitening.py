"""Whitening weights of a network's first convolution, computed from training images.

The filters are the eigenvectors of the covariance of image patches, divided by the roots of their
eigenvalues: their responses are uncorrelated and have variance 1. Source: cifar10-airbench (Jordan
2024, arXiv 2404.00498, section 3.2), after Page 2019. There the stem has a fixed size; here it
keeps the architecture's, and has as many of the filters as it has channels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.network import Network
from train.data import Split, Step
from train.data.augment import Preparation, one_thread

IMAGES = 1000  # number of images whose patches are used
BATCH = 32
EPS = 5e-4  # added to the eigenvalues; a twentieth of a percent of the variance of the images


def whiten_stem(
    network: Network, split: Split, preparation: Preparation, *, loaders: int = 0
) -> None:
    """Replace the stem's random weights by whitening filters of patches of the images.

    loaders  processes that decode streamed images.

    The first channels get the eigenvectors in order of decreasing eigenvalues, the next ones their
    negatives, and all others keep their weights. The result depends only on the images and the
    shape of the stem. Raises ValueError if the images are smaller than the kernel.
    """
    stem = network.conv_stem
    covariance = patch_covariance(
        split,
        preparation,
        kernel=stem.kernel_size[0],
        stride=stem.stride[0],
        loaders=loaders,
    )
    filters = whitening_filters(covariance)
    chosen = torch.cat([filters, -filters])[: stem.out_channels]
    with torch.no_grad():
        stem.weight[: len(chosen)] = chosen.reshape(-1, *stem.weight.shape[1:]).to(stem.weight)


def patch_covariance(
    split: Split, preparation: Preparation, *, kernel: int, stride: int, loaders: int = 0
) -> Tensor:
    """Return the covariance of patches of at most `IMAGES` images, float64 [size, size].

    A patch is a window of a prepared image in the order of a convolution's weights, [channels,
    kernel, kernel]; padding is not included. The images are evenly spread over the split.
    """
    if preparation.size < kernel:
        raise ValueError(
            f"stem: images of {preparation.size} px are smaller than the kernel of {kernel} px, so "
            "they have no patches; use --set stem=random"
        )
    count = min(IMAGES, len(split))
    chosen = np.linspace(0, len(split) - 1, count).astype(np.int64)
    steps = [Step(chosen[at : at + BATCH], slice(None), 0) for at in range(0, count, BATCH)]
    total, products, patches = torch.zeros(1), torch.zeros(1), 0
    batches = split.batches(steps, preparation, workers=loaders)
    # one thread and one device, so that all processes get the same eigenvectors
    with one_thread():
        for images, _ in batches:
            columns = F.unfold(images.double(), kernel, stride=stride)
            columns = columns.transpose(0, 1).flatten(1)
            total = total + columns.sum(1)
            products = products + columns @ columns.T
            patches += columns.shape[1]
    mean = total / patches
    return products / patches - mean[:, None] * mean


def whitening_filters(covariance: Tensor) -> Tensor:
    """Return the whitening filters of a covariance [size, size], as rows of a [size, size] tensor.

    They are in order of decreasing variance. The sign of an eigenvector is arbitrary; here the
    element with the largest absolute value is positive.
    """
    with one_thread():
        values, vectors = torch.linalg.eigh(covariance)
    rows = vectors.T.flip(0)
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return rows * largest.sign() / (values.flip(0).clamp(min=0)[:, None] + EPS).sqrt()
