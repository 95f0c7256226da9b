"""Threshold, maxout, Gaussian and highway units against their equations."""

from __future__ import annotations

import pytest
import torch

from carousel.errors import UsageError
from carousel.nn import Gaussians, Highway, Maxout, Threshold


def test_threshold_and_its_two_gradients() -> None:
    a = torch.tensor([-2.0, -1.0, -0.1, 0.0, 0.5, 1.0, 1.1], dtype=torch.float64, requires_grad=True)
    y = Threshold()(a)
    assert y.tolist() == [0, 0, 0, 1, 1, 1, 1]
    (gradient,) = torch.autograd.grad((y * torch.arange(1, 8)).sum(), a)
    assert gradient.tolist() == [0, 2, 3, 4, 5, 6, 0]
    assert not Threshold(through=False)(a).requires_grad


def test_threshold_units_make_a_convex_region() -> None:
    """Three half planes and an "and" are a triangle (the lecture's construction, weights by hand)."""
    sides = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    points = torch.tensor([[0.2, 0.2], [0.9, 0.9], [-0.1, 0.5], [0.5, 0.5], [0.0, 0.0]])
    inside = Threshold()(points @ sides.T + torch.tensor([0.0, 0.0, 1.0]))
    assert Threshold()(inside.sum(1) - 2.5).tolist() == [1, 0, 0, 1, 1]


@pytest.mark.parametrize("shape", [(2, 12), (1, 6, 5), (3, 6, 4, 5)])
@pytest.mark.parametrize("pieces", [2, 3, 6])
def test_maxout(shape: tuple[int, ...], pieces: int) -> None:
    a = torch.randn(*shape)
    y = Maxout(pieces)(a)
    for j in range(shape[1] // pieces):
        torch.testing.assert_close(y[:, j], a[:, j * pieces : (j + 1) * pieces].max(1).values)


def test_maxout_of_the_wrong_size() -> None:
    with pytest.raises(UsageError, match=r"Maxout\(4\) got 6 features; give a multiple of 4"):
        Maxout(4)(torch.zeros(1, 6))
    with pytest.raises(UsageError, match="at least 2"):
        Maxout(1)


def test_two_maxout_pieces_are_the_absolute_value() -> None:
    a = torch.linspace(-2, 2, 9).unsqueeze(1)
    torch.testing.assert_close(Maxout(2)(torch.cat([a, -a], 1)), a.abs())


def test_gaussians_are_their_formula_and_have_its_gradient() -> None:
    layer = Gaussians(3, 5).double()
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    away = (x.unsqueeze(1) - layer.center).square().sum(2)
    torch.testing.assert_close(layer(x), torch.exp(-away / (2 * layer.width**2)))
    assert torch.autograd.gradcheck(layer, x)
    assert float(layer(layer.center.detach()).diagonal().detach().min()) == pytest.approx(1)


def test_gaussians_are_placed_on_different_rows() -> None:
    x = torch.randn(30, 2).repeat(2, 1)
    layer = Gaussians(2, 7).place(x, torch.Generator().manual_seed(3))
    away = torch.cdist(layer.center, layer.center).fill_diagonal_(torch.inf)
    torch.testing.assert_close(layer.width, away.amin(1) / 2)
    assert float(torch.cdist(layer.center.detach(), x).amin(1).max()) == 0
    again = Gaussians(2, 7).place(x, torch.Generator().manual_seed(3))
    assert torch.equal(layer.center, again.center)
    one = Gaussians(2, 1).place(x)
    assert 0 < one.width.item() < 10


@pytest.mark.parametrize("x", [torch.ones(50, 2), torch.randn(3, 2), torch.randn(50, 3), torch.randn(50)])
def test_gaussians_without_enough_rows(x: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"expected \(examples, 2\) with at least 7 different ones"):
        Gaussians(2, 7).place(x)


def test_highway_is_its_formula() -> None:
    layer, x = Highway(6, gate_bias=-1.0).double(), torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    gate = torch.sigmoid(x @ layer.gate.weight.T - 1)
    expected = gate * torch.relu(x @ layer.new.weight.T + layer.new.bias) + (1 - gate) * x
    torch.testing.assert_close(layer(x), expected)
    assert torch.autograd.gradcheck(layer, x)
