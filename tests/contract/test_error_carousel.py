"""The constant error carousel carries the error back unchanged but for its gates: exactly, to the last bit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from carousel.cells import ConstantErrorCarousel
from carousel.nn import Recurrent

from .cases import fill, normal


def _layer(hidden: int, *, forget: bool, dtype: torch.dtype) -> Recurrent:
    layer = Recurrent(ConstantErrorCarousel, 3, hidden, forget=forget)
    fill(layer)
    return layer.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("time", "hidden"), [(1, 1), (2, 7), (257, 3)])
def test_the_gradient_is_the_product_of_the_gates(time: int, hidden: int, dtype: torch.dtype) -> None:
    layer = _layer(hidden, forget=True, dtype=dtype)
    (cell,) = layer.cells
    with torch.no_grad():
        cell.bf.add_(4.0)  # so that the product over 257 steps is still a float32
    x, start = normal(time, 2, 3, seed=1, dtype=dtype), normal(1, 2, hidden, seed=2, dtype=dtype)
    _, (c,), trajectory = layer(x, (start,), trajectory=True)
    c.sum().backward()
    f = [torch.sigmoid(F.linear(x_t, cell.wf, cell.bf)).detach() for x_t in x]
    expected = [torch.ones(2, hidden, dtype=dtype)]  # ∂c_T/∂c_T, then one gate per step back, in the loop's order
    for gate in reversed(f[1:]):
        expected.append(expected[-1] * gate)
    assert torch.equal(trajectory.gradients("c"), torch.stack(expected[::-1]))
    assert 0 < expected[-1].max() <= 1


@pytest.mark.parametrize("forget", [True, False])
def test_the_whole_jacobian(forget: bool) -> None:
    layer = _layer(4, forget=forget, dtype=torch.float64)
    (cell,) = layer.cells
    x, start = normal(50, 1, 3, seed=1), normal(1, 1, 4, seed=2)
    jacobian = torch.func.jacrev(lambda c: layer(x, (c,))[1][0])(start).view(4, 4)
    expected = torch.ones(4, dtype=torch.float64)
    if forget:
        for x_t in x.flip(0):
            expected = expected * torch.sigmoid(F.linear(x_t[0], cell.wf, cell.bf)).detach()
        # sigmoid of a matrix and of a row may take different vector code: one rounding per step
        assert torch.allclose(jacobian.diagonal(), expected, rtol=50 * 2.2e-16, atol=0)
    else:
        assert torch.equal(jacobian.diagonal(), expected)
    assert torch.equal(jacobian, torch.diag(jacobian.diagonal()))


@pytest.mark.parametrize("time", [1, 2, 1000])
def test_without_forget_gate_the_gradient_is_one(time: int) -> None:
    layer = _layer(7, forget=False, dtype=torch.float32)
    _, (c,), trajectory = layer(normal(time, 3, 3, seed=1, dtype=torch.float32), trajectory=True)
    c.sum().backward()
    assert torch.equal(trajectory.gradients("c"), torch.ones(time, 3, 7))
