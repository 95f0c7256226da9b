"""The peephole LSTM's gradients equal the backward pass derived by hand in `peephole_backward.py`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import carousel
from carousel.cells import LSTM
from carousel.nn import Recurrent

from .cases import fill, normal
from .helpers import assert_near
from .peephole_backward import peephole_backward


def _near(got: torch.Tensor, expected: np.ndarray, terms: int) -> None:
    # Sums of `terms` products, in another order than torch's.
    assert_near(got.detach(), torch.from_numpy(np.ascontiguousarray(expected)), terms * 2.2e-16)


@pytest.mark.parametrize(("time", "batch", "inputs", "n"), [(1, 1, 1, 1), (2, 33, 3, 7), (12, 3, 4, 5), (257, 2, 2, 3)])
def test_every_gradient(time: int, batch: int, inputs: int, n: int) -> None:
    # The last 4n inputs enter the four pre-activations with weight one, so that their gradient *is* ∂L/∂a of the gates.
    layer = Recurrent(LSTM, inputs + 4 * n, n, peephole=True).double()
    fill(layer)
    (cell,) = layer.cells
    with torch.no_grad():
        cell.weight_ih[:, inputs:] = torch.eye(4 * n)
    x = normal(time, batch, inputs + 4 * n, seed=1)
    x[..., inputs:] = 0
    h0, c0 = normal(batch, n, seed=2), normal(batch, n, seed=3)
    asked_y, asked_h, asked_c = normal(time, batch, n, seed=4), normal(batch, n, seed=5), normal(batch, n, seed=6)

    w = {name: p.detach().numpy() for name, p in cell.named_parameters()}
    by_hand = peephole_backward(w, *(v.numpy() for v in (x, h0, c0, asked_y, asked_h, asked_c)))

    for v in (x, h0, c0):
        v.requires_grad_()
    output, (h, c), trajectory = layer(x, (h0[None], c0[None]), trajectory=True)
    ((output * asked_y).sum() + (h[0] * asked_h).sum() + (c[0] * asked_c).sum()).backward()

    terms = 10 * (inputs + 4 * n) + time * batch
    _near(output, by_hand.y, terms)
    _near(c[0], by_hand.c_last, terms)
    _near(trajectory.gradients("h"), by_hand.dh, terms)
    _near(trajectory.gradients("c"), by_hand.dc, terms)
    assert x.grad is not None
    assert h0.grad is not None
    assert c0.grad is not None
    _near(x.grad[..., inputs:], by_hand.da, terms)
    _near(x.grad, by_hand.dx, terms)
    _near(h0.grad, by_hand.dh0, terms)
    _near(c0.grad, by_hand.dc0, terms)
    names = [name for name, _ in cell.named_parameters()]
    assert sorted(names) == sorted(by_hand.weights)
    for name in names:
        assert by_hand.weights[name].any(), name
        _near(cell.get_parameter(name).grad, by_hand.weights[name], terms)


def test_the_drop_in_layer_has_the_same_gradients() -> None:
    layer = carousel.nn.LSTM(3, 4, peephole=True).double()
    fill(layer)
    x, h0, c0 = normal(6, 2, 3, seed=1), normal(2, 4, seed=2), normal(2, 4, seed=3)
    asked = normal(6, 2, 4, seed=4)
    w = {name.removesuffix("_l0"): p.detach().numpy() for name, p in layer.named_parameters()}
    nothing = np.zeros((2, 4))
    by_hand = peephole_backward(w, x.numpy(), h0.numpy(), c0.numpy(), asked.numpy(), nothing, nothing)
    output, _ = layer(x, (h0[None], c0[None]))
    (output * asked).sum().backward()
    for name, expected in by_hand.weights.items():
        _near(layer.get_parameter(f"{name}_l0").grad, expected, 200)
