"""Gradients through time against autograd's own, closed forms and finite differences."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import carousel
from carousel.errors import UsageError
from carousel.inspect import carried_gradients, gradients_through_time, jacobians, recurrence, through_time


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_examples() -> None:
    assert doctest.testmod(through_time).failed == 0


def by_hand(cell: nn.Module, x: Tensor, loss: Any, lstm: bool) -> list[Tensor]:
    """(time,) norms of ∂L/∂h_t, and ∂L/∂c_t, by a loop whose states keep their gradients."""
    state, kept = None, []
    for x_t in x:
        state = cell(x_t, state)
        for s in state if lstm else (state,):
            s.retain_grad()
        kept.append(state if lstm else (state,))
    loss(torch.stack([h for h, *_ in kept])).backward()
    return [torch.stack([_rms(step[n]) for step in kept]) for n in range(len(kept[0]))]


def _rms(state: Tensor) -> Tensor:
    return torch.zeros(()).double() if state.grad is None else state.grad.square().sum(1).mean().sqrt()


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_layers_of_pytorch_and_ours_against_a_loop(kind: Any) -> None:
    layer, x = kind(3, 5, dtype=torch.float64), torch.randn(9, 4, 3, dtype=torch.float64)
    cell = {nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell, nn.RNN: nn.RNNCell}[kind](3, 5, dtype=torch.float64)
    ours = getattr(carousel.nn, kind.__name__)(3, 5, dtype=torch.float64)
    for name, p in cell.named_parameters():
        for other in (layer, ours):
            other.get_parameter(f"{name}_l0").data.copy_(p.data)

    def loss(h: Tensor) -> Tensor:
        return (h[-1] ** 2).sum() + h[4].sum()

    expected = by_hand(cell, x, loss, kind is nn.LSTM)
    for net in (layer, ours):
        found = gradients_through_time(net, lambda net=net: loss(net(x)[0]))
        for state, norms in zip(("h", "c"), expected, strict=False):
            torch.testing.assert_close(found.norms[f"{kind.__name__}: {state}"], norms)
    stepped = gradients_through_time(cell, lambda: _looped(cell, x, loss, kind is nn.LSTM))
    for norms, own in zip(stepped.norms.values(), expected, strict=True):
        torch.testing.assert_close(norms, own)


def _looped(cell: nn.Module, x: Tensor, loss: Any, lstm: bool) -> Tensor:
    state, outputs = None, []
    for x_t in x:
        state = cell(x_t, state)
        outputs.append(state[0] if lstm else state)
    return loss(torch.stack(outputs))


def test_a_deep_bidirectional_layer_inside_a_network_that_is_left_as_it_was() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)
            self.last = nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.rnn(x)[0][:, -1])

    net, x = Net(), torch.randn(6, 11, 3)
    net.last.weight.grad = torch.full_like(net.last.weight, 7.0)
    found = gradients_through_time(net, lambda: net(x).mean())
    assert set(found.norms) == {
        f"rnn: {s} of layer {n}{way}" for s in "hc" for n in (1, 2) for way in ("", ", backward")
    }
    assert all(norms.shape == (11,) for norms in found.norms.values())
    last = found.norms["rnn: h of layer 2, backward"]
    assert last[-1] > 0
    assert not last[:-1].any()  # the loss sees only the step where the way back begins
    assert (net.last.weight.grad == 7).all()
    assert net.rnn.weight_ih_l0.grad is None
    assert not net.rnn._forward_hooks
    torch.testing.assert_close(net(x), net(x))


@pytest.mark.parametrize("kind", [nn.GRU, carousel.nn.GRU])
def test_of_sequences_of_several_lengths_each_step_counts_those_that_have_it(kind: Any) -> None:
    layer = kind(3, 5, bidirectional=True, dtype=torch.float64)
    lengths = [7, 4, 1]
    alone = [torch.randn(length, 3, dtype=torch.float64) for length in lengths]

    def loss(output: Tensor) -> Tensor:
        return (output**2).sum()

    each = [gradients_through_time(layer, lambda x=x: loss(layer(x)[0])).norms for x in alone]
    packed = nn.utils.rnn.pack_sequence(alone)
    found = gradients_through_time(layer, lambda: loss(layer(packed)[0].data)).norms
    for name, norms in found.items():
        for step in range(7):
            some = torch.stack([one[name][step] for one, length in zip(each, lengths, strict=True) if length > step])
            torch.testing.assert_close(norms[step], some.square().mean().sqrt())


def test_a_loop_by_hand_and_what_is_refused() -> None:
    step = nn.Linear(6, 4)

    def loss() -> Tensor:
        h = torch.zeros(3, 4)
        for _ in range(8):
            h = step(torch.cat([torch.ones(3, 2), torch.tanh(h)], 1))
        return h.sum()

    found = gradients_through_time(nn.Sequential(step), loss, of=step)
    (norms,) = found.norms.values()
    assert norms.shape == (8,)
    assert norms[-1] == pytest.approx(2.0)  # the sum of four units
    assert found.rate(next(iter(found.norms))) < 1.5
    with pytest.raises(UsageError, match="No recurrent layer"):
        gradients_through_time(nn.Sequential(step), loss)
    layer = nn.GRU(2, 3)
    with pytest.raises(UsageError, match="depends on no state"):
        gradients_through_time(layer, lambda: layer(torch.zeros(4, 1, 2))[0].sum() * 0 + layer.bias_hh_l0.sum())
    with pytest.raises(UsageError, match="one number"):
        gradients_through_time(layer, lambda: layer(torch.zeros(4, 1, 2))[0])


def test_what_is_carried_is_the_product_of_jacobians() -> None:
    layer, x = nn.LSTM(2, 3, dtype=torch.float64), torch.randn(7, 2, dtype=torch.float64)
    states = recurrence(layer).run(x)[0]
    product, spectral, frobenius, of_h = torch.eye(6, dtype=torch.float64), [1.0], [6**0.5], [1.0]
    for J in reversed(jacobians(layer, states[:-1], x).unbind(0)):
        product = product @ J
        spectral.append(float(torch.linalg.matrix_norm(product, 2)))
        frobenius.append(float(product.norm()))
        of_h.append(float(torch.linalg.matrix_norm(product[:3, :3], 2)))
    found = carried_gradients(layer, x)
    assert found.spectral is not None
    assert found.bound is None
    torch.testing.assert_close(found.spectral.flip(0), torch.tensor(spectral).double())
    torch.testing.assert_close(found.frobenius.flip(0), torch.tensor(frobenius).double())
    only_h = carried_gradients(layer, x, part="h").spectral
    assert only_h is not None
    torch.testing.assert_close(only_h.flip(0), torch.tensor(of_h).double())
    with pytest.raises(UsageError, match=r"no part 'z'; it has 'h', 'c'"):
        carried_gradients(layer, x, part="z")


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
@pytest.mark.parametrize("cell", [carousel.cells.RNN, carousel.cells.PreActivationRNN])
def test_the_bound_holds(cell: Any, activation: str) -> None:
    layer = carousel.nn.Recurrent(cell, 2, 12, activation=activation).double()
    found = carried_gradients(layer, 2 * torch.randn(20, 2, dtype=torch.float64))
    assert found.bound is not None
    assert found.spectral is not None
    assert (found.spectral <= found.bound * (1 + 1e-12)).all()
    assert found.bound[-1] == found.spectral[-1] == 1


def test_the_estimate_of_large_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = nn.GRU(2, 20).double(), torch.randn(12, 2)
    exact = carried_gradients(layer, x)
    monkeypatch.setattr(through_time, "EXACT", 0)
    estimated = carried_gradients(layer, x, probes=400)
    assert estimated.spectral is None
    torch.testing.assert_close(estimated.frobenius, exact.frobenius, rtol=0.1, atol=0)
