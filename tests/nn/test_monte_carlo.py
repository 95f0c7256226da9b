"""Averages over dropout masks against their closed forms, and that nothing else changes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import carousel
from carousel.errors import UsageError
from carousel.nn import SentenceCNN, monte_carlo


def test_mean_and_deviation_of_one_dropped_layer() -> None:
    """Y = Σ w_i m_i x_i / (1 - p), m_i from Bernoulli(1 - p): mean w·x, variance p/(1 - p) Σ (w_i x_i)²."""
    p, samples = 0.3, 4000
    net = nn.Sequential(nn.Dropout(p), nn.Linear(30, 1, bias=False)).double()
    x = torch.randn(2, 30, dtype=torch.float64)
    found = monte_carlo(net, x, samples=samples)
    mean = net.eval()(x).detach()
    deviation = (p / (1 - p) * ((x * net[1].weight.detach()) ** 2).sum(1, keepdim=True)).sqrt()
    assert found.samples == samples
    assert ((found.mean - mean).abs() < 5 * deviation / math.sqrt(samples)).all()
    torch.testing.assert_close(found.deviation, deviation, rtol=0.08, atol=0)


def test_it_is_the_mean_and_deviation_of_what_it_saw() -> None:
    seen: list[torch.Tensor] = []
    net = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).double()
    net.register_forward_hook(lambda _, __, output: seen.append(output.softmax(-1)))
    found = monte_carlo(net, torch.randn(5, 4, dtype=torch.float64), samples=7, link="softmax")
    stack = torch.stack(seen)
    torch.testing.assert_close(found.mean, stack.mean(0))
    torch.testing.assert_close(found.deviation, stack.std(0))
    torch.testing.assert_close(found.mean.sum(1), torch.ones(5, dtype=torch.float64))


def test_modes_statistics_and_random_numbers_stay() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2))
    net.eval()
    net[0].train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state, x = torch.random.get_rng_state(), torch.randn(1, 4)
    torch.random.set_rng_state(state)
    first, again, other = (monte_carlo(net, x, samples=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.mean, again.mean)
    assert not torch.equal(first.mean, other.mean)
    assert [module.training for module in net.modules()] == [False, True, False, False, False]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not first.mean.requires_grad


def test_modes_come_back_after_an_error() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)).eval()
    with pytest.raises(RuntimeError):
        monte_carlo(net, torch.zeros(1, 4))
    assert not any(module.training for module in net.modules())


def test_networks_that_drop_without_a_layer_for_it() -> None:
    net = SentenceCNN(9, 2, embedding_size=4, maps=3).eval()
    found = monte_carlo(net, torch.randint(9, (5, 2)), torch.tensor([5, 3]), samples=9, link="sigmoid")
    assert found.mean.shape == (2, 2)
    assert (found.deviation > 0).all()
    layers = carousel.nn.LSTM(3, 4, 2, dropout=0.5)
    with pytest.raises(AttributeError):  # it gives a tuple, which can't be averaged
        monte_carlo(layers, torch.zeros(2, 1, 3))
    assert layers.training


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        (nn.Linear(3, 2), {}, "Linear has no dropout, so that all masks are alike"),
        (nn.Dropout(0.0), {}, "has no dropout"),
        (nn.Dropout(0.5), {"samples": 1}, "samples=1; give at least 2"),
        (nn.Dropout(0.5), {"link": "exp"}, "link='exp'; choose one of softmax, sigmoid, none"),
    ],
)
def test_what_makes_no_sense(net: nn.Module, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        monte_carlo(net, torch.zeros(1, 3), **options)
