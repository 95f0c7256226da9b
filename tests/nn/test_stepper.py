"""Step by step is the sequence at once: values, states and gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

import carousel
from carousel.cells import GRU, LSTM, REGISTRY, MultiTapRNN
from carousel.errors import CellError
from carousel.nn import Recurrent, Stepper

TIME, BATCH = 11, 3


def _near(a: Tensor, b: Tensor) -> bool:
    """Some tens of float64 roundings: the kernels multiply all steps at once."""
    return a.shape == b.shape and bool(((a - b).abs().max() <= 1e-14 * b.abs().max().clamp(min=1)).item())


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("name", REGISTRY)
def test_every_cell(name: str, skip: bool) -> None:
    entry = REGISTRY[name]
    layer = Recurrent(entry.cell_class, 2, 4, 2, skip=skip, **entry.options).double()
    x = torch.randn(TIME, BATCH, 2, dtype=torch.float64)
    _, state = layer(x)
    output, final = layer(x, state)
    stepper = Stepper(layer, BATCH, state)
    outputs = torch.stack([stepper(x_t) for x_t in x])
    assert _near(outputs, output)
    assert all(_near(a, b) for a, b in zip(stepper.state, final, strict=True))
    w = torch.randn_like(output)
    parameters = [p for p in layer.parameters() if p.requires_grad]
    expected = torch.autograd.grad((output * w).sum(), parameters, retain_graph=True, allow_unused=True)
    got = torch.autograd.grad((outputs * w).sum(), parameters, allow_unused=True)
    for g, e in zip(got, expected, strict=True):
        assert (g is None) == (e is None)
        assert g is None or torch.allclose(g, e, rtol=0, atol=1e-13 * max(1, e.abs().max().item()))


def test_cells_that_differ_and_drop_in_layers() -> None:
    x = torch.randn(TIME, BATCH, 2, dtype=torch.float64)
    for layer in (Recurrent([LSTM(2, 4), MultiTapRNN(4, 3)]).double(), carousel.nn.LSTM(2, 4, 2, proj_size=3).double()):
        stepper = Stepper(layer, BATCH)
        output, _ = layer(x)
        assert _near(torch.stack([stepper(x_t) for x_t in x]), output)


def test_it_survives_a_copy_of_its_layer() -> None:
    layer = carousel.nn.GRU(2, 4).double()
    x = torch.randn(TIME, BATCH, 2, dtype=torch.float64)
    stepper = Stepper(layer, BATCH)
    outputs = [stepper(x[0])]
    copy.deepcopy(layer)
    outputs += [stepper(x_t) for x_t in x[1:]]
    assert _near(torch.stack(outputs), layer(x)[0])


def test_errors() -> None:
    with pytest.raises(CellError, match="both directions needs the whole sequence at once"):
        Stepper(Recurrent(GRU, 2, 4, bidirectional=True), BATCH)
    with pytest.raises(CellError, match=r"State 'h' has shape \(1, 2, 4\); expected \(1, 3, 4\)"):
        Stepper(Recurrent(GRU, 2, 4), BATCH, (torch.zeros(1, 2, 4),))
