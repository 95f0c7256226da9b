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


@pytest.mark.parametrize("name", REGISTRY)
def test_compiled_steps_and_gradients_take_turns(name: str) -> None:
    entry = REGISTRY[name]
    layer = Recurrent(entry.cell_class, 2, 4, 2, **entry.options).double()
    x = torch.randn(TIME, BATCH, 2, dtype=torch.float64)
    expected, final = layer(x)
    stepper, outputs = Stepper(layer, BATCH), []
    for t, x_t in enumerate(x):
        with torch.inference_mode(t > 8), torch.set_grad_enabled(t in (4, 5)):
            outputs.append(stepper(x_t))
            assert all(steps is None for steps in stepper._steps) == (t in (4, 5))
    assert _near(torch.stack(outputs), expected)
    assert all(_near(a, b) for a, b in zip(stepper.state, final, strict=True))


def test_a_changed_parameter_is_seen() -> None:
    layer = Recurrent(LSTM, 2, 4)
    stepper, reference = Stepper(layer, BATCH), Stepper(layer, BATCH)
    x = torch.randn(5, BATCH, 2)
    changes = [
        lambda p: None,
        lambda p: p.mul_(2),
        lambda p: setattr(p, "data", p.data + 1),
        lambda p: setattr(layer.cells[0], "weight_hh", torch.nn.Parameter(p / 3)),
        lambda p: layer.cells[0].to(torch.float32),
    ]
    for x_t, change in zip(x, changes, strict=True):
        with torch.no_grad():
            change(layer.cells[0].weight_hh)
            got = stepper(x_t)
        assert stepper._steps[0] is not None
        assert torch.allclose(got, reference(x_t), atol=1e-6)


def test_results_are_the_callers() -> None:
    layer, x = Recurrent(LSTM, 2, 4), torch.randn(BATCH, 2)
    with torch.no_grad():
        stepper = Stepper(layer, BATCH)
        first, state = stepper(x), stepper.state
        kept = [first.clone(), *(s.clone() for s in state)]
        assert not torch.equal(stepper(x), first)
    assert all(torch.equal(a, b) for a, b in zip(kept, [first, *state], strict=True))


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
    with pytest.raises(CellError, match=r"shape \(1, 2\); expected \(batch, features\) \(3, 2\)"):
        Stepper(Recurrent(GRU, 2, 4), BATCH)(torch.zeros(1, 2))
