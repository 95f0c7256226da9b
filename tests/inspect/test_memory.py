"""Memory length against systems whose memory is known."""

from __future__ import annotations

import doctest
import math

import pytest
import torch
from torch import Tensor, nn

import carousel
from carousel.errors import UsageError
from carousel.inspect import memory, memory_by_gradient, memory_by_intervention


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_examples() -> None:
    assert doctest.testmod(memory).failed == 0


class DelayLine(carousel.Cell):
    """y_t = x_{t-k}."""

    def __init__(self, input_size: int, hidden_size: int, k: int):
        super().__init__(input_size, hidden_size)
        self.delays = {"h": (k,)}

    def step(self, x: Tensor, state: tuple[tuple[Tensor, ...], ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        ((old,),) = state
        return old + 0, (x,)


@pytest.mark.parametrize("k", [1, 7, 30])
def test_a_line_of_k_delays_remembers_k_steps(k: int) -> None:
    layer, x = carousel.nn.Recurrent(DelayLine, 2, 2, k=k), torch.randn(50, 3, 2)
    found = memory_by_gradient(layer, x)
    assert found.length() == k
    assert found.influence.nonzero().tolist() == [[k]]
    assert found.influence[k] == pytest.approx(math.sqrt(2))
    changed = memory_by_intervention(layer, x, lags=100)
    assert changed.length() == k
    assert changed.lags[changed.influence > 0].tolist() == [k]


def test_a_leaky_unit_remembers_its_time_constant() -> None:
    layer, x = nn.RNN(1, 1, nonlinearity="relu", bias=False), 1 + torch.rand(80, 5, 1)
    with torch.no_grad():
        layer.weight_ih_l0.fill_(1.0)
        layer.weight_hh_l0.fill_(0.9)
    by_gradient = memory_by_gradient(layer, x)
    torch.testing.assert_close(by_gradient.influence, 0.9 ** torch.arange(80.0))
    assert by_gradient.length() == math.floor(-1 / math.log(0.9))
    assert by_gradient.length(0.5) == math.floor(math.log(0.5) / math.log(0.9))
    changed = memory_by_intervention(layer, x, lags=20)
    difference = (x.flip(0) - x.flip(0).roll(-1, 1)).square().mean((1, 2)).sqrt()
    torch.testing.assert_close(changed.influence, difference[changed.lags] * 0.9**changed.lags, rtol=1e-3, atol=1e-4)
    assert changed.lags[0] == 0
    assert changed.lags[-1] == 79


def test_frobenius_norms_with_few_and_many_outputs() -> None:
    layer, x = nn.GRU(2, 40).double(), torch.randn(6, 1, 2, dtype=torch.float64)
    rows = torch.autograd.functional.jacobian(lambda x: layer(x)[0][-1, 0], x)[:, :, 0]
    exact = memory_by_gradient(layer, x, probes=40).influence
    torch.testing.assert_close(exact, rows.square().sum((0, 2)).sqrt().flip(0))
    torch.testing.assert_close(memory_by_gradient(layer, x, probes=39).influence, exact, rtol=0.4, atol=0)


def test_tokens_dropout_and_what_is_refused() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read, self.drop, self.rnn = nn.Embedding(5, 4), nn.Dropout(0.5), nn.LSTM(4, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.drop(self.rnn(self.read(x))[0])

    net, tokens = Net(), torch.randint(5, (12, 30))
    found = memory_by_intervention(net, tokens)
    assert net.training
    assert net.drop.training
    torch.testing.assert_close(found.influence, memory_by_intervention(net, tokens).influence)
    assert found.influence[0] == found.influence.max()
    assert memory_by_gradient(torch.zeros_like, torch.randn(4, 2, 3)).length() == 0
    with pytest.raises(UsageError, match="at least two sequences"):
        memory_by_intervention(net, tokens[:, :1])
    with pytest.raises(UsageError, match="an output for each step"):
        memory_by_gradient(lambda x: x[-1], torch.randn(4, 2, 3))
