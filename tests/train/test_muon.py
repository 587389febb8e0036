"""Muon: matrices as by torch's own class, all other parameters as by torch's SGD."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from search_spaces.network import build
from tests.train import toys
from train.muon import Muon, orthogonalised
from train.optimizer import optimizer, peak_lr, set_learning_rate
from train.recipe import change, preset

SHAPES = ((6, 10), (10, 6), (6, 10), (7, 7), (1, 4))


def parameters(shapes: tuple[tuple[int, ...], ...] = SHAPES) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(3)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def trained(
    params: list[nn.Parameter], made: torch.optim.Optimizer, grad: Callable[[Tensor, int], Tensor]
) -> None:
    """Take some steps with different learning rates."""
    for step in range(5):
        made.param_groups[0]["lr"] = 0.1 / (step + 1)
        for param in params:
            param.grad = grad(param.detach(), step)
        made.step()


def waves(values: Tensor, step: int) -> Tensor:
    return torch.sin(values * 3 + step)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon")
def test_matrices_are_updated_as_by_torchs_muon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)  # its rounding is coarse
    mine, theirs = parameters(), parameters()
    trained(mine, Muon(mine, lr=0.1, momentum=0.95, weight_decay=0.1), waves)
    trained(theirs, torch.optim.Muon(theirs, momentum=0.95, weight_decay=0.1), waves)
    for own, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


def test_convolution_weights_are_matrices_in_any_memory_format() -> None:
    matrix = parameters(((8, 27),))
    convolution = [
        nn.Parameter(
            matrix[0].detach().reshape(8, 3, 3, 3).contiguous(memory_format=torch.channels_last)
        )
    ]
    for params in (matrix, convolution):
        trained(params, Muon(params, lr=0.1, momentum=0.9), waves)
    torch.testing.assert_close(convolution[0].reshape(8, 27), matrix[0])


@pytest.mark.parametrize(("momentum", "decay"), [(0.9, 0.01), (0.5, 0.0)])
def test_other_parameters_are_updated_as_by_torchs_sgd(momentum: float, decay: float) -> None:
    mine, theirs = parameters(), parameters()
    group = {"params": mine, "matrices": False}
    trained(mine, Muon([group], lr=0.1, momentum=momentum, weight_decay=decay), waves)
    reference = torch.optim.SGD(
        theirs, lr=0.1, momentum=momentum, weight_decay=decay, nesterov=True
    )
    trained(theirs, reference, waves)
    for own, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(own, other)


def test_singular_values_become_about_one_and_vectors_stay() -> None:
    matrices = torch.randn(3, 20, 50, generator=torch.Generator().manual_seed(0))
    for each in (matrices, matrices.mT):
        u, _, v = torch.linalg.svd(each, full_matrices=False)
        inside = u.mT @ orthogonalised(each) @ v.mT
        values = inside.diagonal(dim1=1, dim2=2)
        assert 0.65 < float(values.min()) <= float(values.max()) < 1.2
        assert float((inside - torch.diag_embed(values)).abs().max()) < 1e-4
    assert not orthogonalised(torch.zeros(1, 3, 4)).any()


def test_each_parameter_has_the_rule_and_the_learning_rate_of_its_kind() -> None:
    network = build(toys.NETWORK)
    recipe = change(
        preset("proxy"), ["optimizer=muon", "muon_lr=0.06", "lr=0.3", "norm_bias_factor=8"]
    )
    made = optimizer(recipe, network)
    set_learning_rate(made, 0.5 * peak_lr(recipe))
    names = {param: name for name, param in network.named_parameters()}
    groups = [
        ({names[param] for param in group["params"]}, group["matrices"], group["lr"])
        for group in made.param_groups
    ]
    (weights, muon, lr), (biases, muon2, lr2), (norms, muon3, lr3), (matrices, muon4, lr4) = groups
    assert (muon, muon2, muon3, muon4) == (False, False, False, True)
    assert (lr, lr2, lr3, lr4) == pytest.approx((0.15, 0.15, 1.2, 0.03))
    assert {"classifier.weight", "blocks.0.0.conv_dw.weight"} == weights - {
        "blocks.0.1.conv_dw.weight"
    }
    assert {"conv_stem.weight", "conv_head.weight", "blocks.0.0.conv_pw.weight"} < matrices
    assert "classifier.bias" in biases
    assert "bn1.weight" in biases
    assert "bn1.bias" in norms
    assert sum(len(group[0]) for group in groups) == len(names)


def test_parameters_without_gradients_are_left_alone() -> None:
    params = parameters()
    before = [param.detach().clone() for param in params]
    made = Muon(
        [{"params": params[:2]}, {"params": params[2:], "matrices": False}], lr=1, momentum=0
    )
    made.step()
    params[0].grad = torch.ones_like(params[0])
    assert made.step(lambda: 3.0) == 3.0
    changed = [not torch.equal(a, b) for a, b in zip(params, before, strict=True)]
    assert changed == [True, False, False, False, False]
