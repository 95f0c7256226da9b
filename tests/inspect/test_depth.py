"""Statistics through depth against numbers computed by hand, and training that is not disturbed."""

from __future__ import annotations

import doctest
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import carousel
from carousel.errors import UsageError
from carousel.inspect import through_depth, watch_depth


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_examples() -> None:
    assert doctest.testmod(sys.modules["carousel.inspect.depth"]).failed == 0


def test_statistics_are_those_of_the_activations() -> None:
    net, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(20, 3)
    net[0].weight.grad = torch.ones(4, 3)
    found = through_depth(net, lambda: net(x).square().sum())
    hidden = net[0](x).detach()
    a = hidden.tanh().requires_grad_()
    net[2](a).square().sum().backward()
    linear, tanh, _ = found
    assert [layer.name for layer in found] == ["0", "1", "2"]
    assert linear.mean == pytest.approx(float(hidden.mean()), abs=1e-6)
    torch.testing.assert_close(tanh.unit_means, a.detach().mean(0))
    torch.testing.assert_close(tanh.unit_deviations, a.detach().std(0, unbiased=False))
    torch.testing.assert_close(tanh.unit_gradients, a.grad.square().mean(0).sqrt())  # pyright: ignore
    assert tanh.gradient == pytest.approx(float(a.grad.square().mean().sqrt()), rel=1e-5)  # pyright: ignore
    torch.testing.assert_close(tanh.saturated, (a.detach().abs() > 0.9).float().mean(0))
    assert not linear.saturated.any()
    assert linear.weights["weight"][0] == pytest.approx(float(net[0].weight.detach().square().mean().sqrt()), rel=1e-5)
    assert linear.weights["weight"][1] != pytest.approx(1.0)
    assert (net[0].weight.grad == 1).all()
    assert not net[0]._forward_hooks


def test_units_of_convolutions_are_channels() -> None:
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5))
    with torch.no_grad():
        net[1].weight[2], net[1].bias[2] = 0.0, -1.0
    found = {layer.name: layer for layer in through_depth(net, lambda: net(torch.randn(7, 1, 6, 6)).mean())}
    assert [len(found[name].unit_means) for name in "01234"] == [6, 6, 6, 96, 5]
    assert found["2"].dead.nonzero().tolist() == [[2]]
    one = nn.Sequential(nn.Conv1d(2, 3, 2), nn.ReLU())
    assert [len(layer.dead) for layer in through_depth(one, lambda: one(torch.randn(4, 2, 9)).mean())] == [3, 3]


def test_functions_outside_of_modules_and_recurrent_layers() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.drop, self.last = carousel.nn.LSTM(3, 5), nn.Dropout(0.1), nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(100 * self.last(F.relu(self.drop(self.rnn(x)[0]))))

    net = Net()
    found = through_depth(net, lambda: net(torch.randn(6, 2, 3)).mean())
    assert [layer.name for layer in found] == ["rnn", "drop", "relu 1", "last", "sigmoid 1"]
    assert len(found[0].unit_means) == 5
    assert set(found[0].weights) == {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"}
    assert float(found[-1].saturated.mean()) > 0.5


def test_layers_that_write_over_their_input() -> None:
    torch.manual_seed(2)
    plain = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    over, x = nn.Sequential(plain[0], nn.ReLU(inplace=True), plain[2]), torch.randn(9, 3)
    for one, other in zip(*(through_depth(net, lambda net=net: net(x).sum()) for net in (plain, over)), strict=True):
        torch.testing.assert_close(one.unit_means, other.unit_means)
        torch.testing.assert_close(one.unit_gradients, other.unit_gradients)


def test_training_is_watched_and_not_disturbed() -> None:
    def train(watched: bool) -> tuple[nn.Module, object]:
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
        optimizer, x = torch.optim.Adam(net.parameters(), lr=0.01), torch.randn(30, 3)

        def loop() -> None:
            for _ in range(7):
                optimizer.zero_grad()
                net(x[:10])  # an evaluation in between
                net(x).square().mean().backward()
                optimizer.step()

        if not watched:
            loop()
            return net, None
        with watch_depth(net, optimizer, every=3) as history:
            loop()
        return net, history

    (plain, _), (net, history) = train(False), train(True)
    for one, other in zip(plain.parameters(), net.parameters(), strict=True):
        assert torch.equal(one, other)
    assert history.steps == [1, 4, 7]  # pyright: ignore
    assert all(len(layers) == 3 for layers in history.layers)  # pyright: ignore
    assert all(layer.gradient for layers in history.layers for layer in layers)  # pyright: ignore
    first = history.updates["0.weight"][0]  # pyright: ignore - Adam's first update is the rate for each weight
    torch.manual_seed(1)
    weight = nn.Linear(3, 8).weight
    moved = 0.01 * (24 - 3 * int(history.layers[0][1].dead.sum())) ** 0.5  # pyright: ignore
    assert first == pytest.approx(moved / float(weight.detach().norm()), rel=1e-2)
    assert not net[0]._forward_hooks  # pyright: ignore


def test_what_is_refused() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(UsageError, match="No layer of the network ran"):
        through_depth(net, net[0].weight.sum)
    with pytest.raises(UsageError, match="one number"):
        through_depth(net, lambda: net(torch.ones(1, 2)))
    with pytest.raises(UsageError, match="every=0"), watch_depth(net, torch.optim.SGD(net.parameters(), 0.1), 0):
        pass
