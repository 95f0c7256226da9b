"""Circuits against the lectures' numbers and autograd."""

from __future__ import annotations

import doctest
import sys

import pytest
import torch
from torch import Tensor, nn

from carousel.errors import UsageError
from carousel.inspect import circuit


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_examples() -> None:
    assert doctest.testmod(sys.modules["carousel.inspect.circuit"]).failed == 0


def test_the_first_example_of_the_lectures() -> None:
    def f(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        q = x + y
        return q * z

    found = circuit(f, -2.0, 5.0, -4.0)
    assert [node.label for node in found.nodes] == ["x", "y", "+", "z", "×"]
    assert {node.label: (float(node.value), float(node.gradient)) for node in found.nodes} == {  # pyright: ignore
        "x": (-2, -4), "y": (5, -4), "z": (-4, 3), "+": (3, -4), "×": (-12, 1),
    }  # fmt: skip
    assert [(e.source, e.target, e.local, float(e.gradient)) for e in found.edges] == [  # pyright: ignore
        (0, 2, 1, -4), (1, 2, 1, -4), (2, 4, -4, -4), (3, 4, 3, 3),
    ]  # fmt: skip
    assert found.output == 4


def test_the_sigmoid_neuron_of_the_lectures() -> None:
    def neuron(w0: Tensor, x0: Tensor, w1: Tensor, x1: Tensor, w2: Tensor) -> Tensor:
        return 1 / (1 + torch.exp(-(w0 * x0 + w1 * x1 + w2)))

    found = circuit(neuron, 2.0, -1.0, -3.0, -2.0, -3.0)
    assert float(found.nodes[found.output].value) == pytest.approx(0.73, abs=0.005)
    gradients = {name: round(float(found[name].gradient), 2) for name in ("w0", "x0", "w1", "x1", "w2")}  # pyright: ignore
    assert gradients == {"w0": -0.20, "x0": 0.39, "w1": -0.39, "x1": -0.59, "w2": 0.20}
    steps = [
        (node.label, round(float(node.value), 2), round(float(node.gradient), 2))  # pyright: ignore
        for node in found.nodes
        if node.operation
    ]
    assert steps == [
        ("×", -2, 0.2), ("×", 6, 0.2), ("+", 4, 0.2), ("+", 1, 0.2), ("−( )", -1, -0.2), ("exp", 0.37, -0.53),
        ("+ 1", 1.37, -0.53), ("1 ÷ ( )", 0.73, 1.0),
    ]  # fmt: skip


def test_labels() -> None:
    def f(x: Tensor) -> Tensor:
        return (x - 1) + (1 - x) + x**2 + 2**x + x / 3 + torch.max(x, x * 0) + 2 * x

    labels = [node.label for node in circuit(f, 3.0).nodes if node.label not in ("x", "+")]
    assert labels == ["− 1", "1 − ( )", "^ 2", "2 ^ ( )", "÷ 3", "× 0", "max", "× 2"]


def test_max_and_branching_gates() -> None:
    found = circuit(lambda x, y: torch.maximum(x, y) + x * x, 4.0, 2.0)
    x, y = found["x"], found["y"]
    assert float(y.gradient) == 0  # pyright: ignore
    assert float(x.gradient) == 9  # pyright: ignore - 1 through the maximum, 2 · 4 through the square
    handed = [float(e.gradient) for e in found.edges if e.source == x.number]  # pyright: ignore
    assert sorted(handed) == [1, 4, 4]
    assert sum(handed) == float(x.gradient)  # pyright: ignore


def test_a_network_of_two_layers_against_autograd() -> None:
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    x = torch.randn(4, 3)
    found = circuit(net, x)
    assert [node.label for node in found.nodes if node.operation] == ["linear", "relu", "linear"]
    net(x).sum().backward()
    for name, p in net.named_parameters():
        torch.testing.assert_close(found[name].gradient, p.grad)
        assert found[name].parameter
    for node in found.nodes:
        back = [e.gradient for e in found.edges if e.source == node.number]
        if back:
            torch.testing.assert_close(torch.stack(back).sum(0), node.gradient)  # pyright: ignore
    assert all(e.local is None for e in found.edges)
    assert net[0].weight.grad is not None  # that of backward() above: circuit added nothing
    twice = circuit(net, x, gradient=2 * torch.ones(4, 2))
    torch.testing.assert_close(twice["0.weight"].gradient, 2 * found["0.weight"].gradient)  # pyright: ignore


def test_operations_of_several_inputs_and_outputs() -> None:
    def f(a: Tensor, b: Tensor) -> Tensor:
        joined = torch.cat([a, b, a])
        first, second, _third = joined.chunk(3)
        return (first * second).sum() + 0 * b.sum()

    a, b = torch.randn(2).double(), torch.randn(2).double()
    found = circuit(f, a, b)
    torch.testing.assert_close(found["a"].gradient, b)
    torch.testing.assert_close(found["b"].gradient, a)
    assert found["second"].operation == "chunk"


def test_what_is_refused() -> None:
    def in_place(x: Tensor) -> Tensor:
        y = x * 2
        y += 1
        return y

    with pytest.raises(UsageError, match="in place"):
        circuit(in_place, 1.0)
    with pytest.raises(UsageError, match="gave a float"):
        circuit(lambda x: float(x.detach()), 1.0)
    with pytest.raises(UsageError, match="depends on no input"):
        circuit(lambda x: torch.ones(1), 1.0)
    with pytest.raises(UsageError, match="not differentiable"):
        circuit(lambda x: (x > 0) & (x < 1), 1.0)
    with pytest.raises(UsageError, match="more than 400"):
        circuit(lambda x: sum((x * k for k in range(500)), x), 1.0)
    with pytest.raises(UsageError, match=r"No value .* is called 'u'; there are x"):
        circuit(lambda x: x * x, 1.0)["u"]
    assert sys.getprofile() is None
