"""Dynamics against closed forms and the literature."""

from __future__ import annotations

import doctest
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import carousel
from carousel.cells.registry import REGISTRY
from carousel.errors import UsageError
from carousel.inspect import (
    dynamics,
    eigenvalues,
    fixed_points,
    impulse_response,
    jacobians,
    lyapunov,
    recurrence,
    step_response,
    system,
)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("module", [dynamics, system])
def test_examples(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


# -- any network as one map -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_a_layer_of_each_cell_runs_as_the_map_does(name: str) -> None:
    entry = REGISTRY[name]
    layer = carousel.nn.Recurrent(entry.cell_class, 3, 4, num_layers=2, **entry.options).double()
    layer.train()
    made = recurrence(layer)
    x = torch.randn(11, 2, 3, dtype=torch.float64)
    states, outputs = made.run(x)
    assert states.shape == (12, 2, made.size)
    output, final = layer.eval()(x)
    torch.testing.assert_close(outputs, output)
    for part in made.parts:
        if "[t-" not in part.name:
            state, number = part.name.split(" of layer ")
            whole = dict(zip(layer.cells[0].state_sizes, final, strict=True))[state]
            expected = whole[int(number) - 1] if whole.ndim == 3 else whole[int(number) - 1, 0]
            torch.testing.assert_close(states[-1][:, part.begin : part.end], expected)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_layers_of_pytorch(kind: type[nn.RNNBase]) -> None:
    theirs = kind(3, 5, num_layers=2, dtype=torch.float64)
    before = torch.get_rng_state()
    made = recurrence(theirs)
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.randn(7, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(made.run(x)[1], theirs(x)[0])
    made.run(x)[1].sum().backward()
    assert all(p.grad is not None for p in theirs.parameters())


@pytest.mark.parametrize(
    "cell", [nn.LSTMCell(3, 4), nn.GRUCell(3, 4), nn.RNNCell(3, 4, nonlinearity="relu")], ids=lambda c: type(c).__name__
)
def test_cells_of_pytorch(cell: nn.RNNCellBase) -> None:
    x, state = torch.randn(2, 3), None
    made, flat = recurrence(cell), recurrence(cell).start(2)
    for _ in range(3):
        state = cell(x, state)
        flat, output = made.step(flat, x)
    expected = state if isinstance(state, Tensor) else torch.cat(list(state), 1)  # pyright: ignore
    torch.testing.assert_close(flat, expected)
    torch.testing.assert_close(output, expected[:, :4])


def test_the_only_layer_of_a_network_and_what_is_refused() -> None:
    class Net(nn.Module):
        def __init__(self, layers: int):
            super().__init__()
            self.read = nn.Embedding(5, 3)
            self.layers = nn.ModuleList(nn.GRU(3, 3) for _ in range(layers))

    assert recurrence(Net(1)).size == 3
    with pytest.raises(UsageError, match=r"2 recurrent layers, layers.0, layers.1"):
        recurrence(Net(2))
    with pytest.raises(UsageError, match="no recurrent layer in Linear"):
        recurrence(nn.Linear(2, 2))
    with pytest.raises(UsageError, match="bidirectional"):
        recurrence(nn.LSTM(2, 2, bidirectional=True))
    with pytest.raises(UsageError, match="size of its state"):
        recurrence(torch.tanh)
    with pytest.raises(UsageError, match=r"gave a state of \(4, 1\)"):
        recurrence(lambda s: s.sum(1, keepdim=True), size=3).step(torch.zeros(4, 3))
    with pytest.raises(UsageError, match=r"expected \(time, 2\)"):
        recurrence(nn.GRU(2, 2)).run(torch.zeros(4, 3))


# -- Jacobians --------------------------------------------------------------------------------------------------------


def test_jacobians_against_finite_differences() -> None:
    layer = carousel.nn.Recurrent(carousel.cells.LSTM, 2, 3, num_layers=2, peephole=True).double()
    made = recurrence(layer)
    states, x = torch.randn(4, made.size, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    found, eps = jacobians(layer, states, x), 1e-6
    for i in range(made.size):
        change = torch.zeros(made.size, dtype=torch.float64)
        change[i] = eps
        slope = (made.step(states + change, x)[0] - made.step(states - change, x)[0]) / (2 * eps)
        torch.testing.assert_close(found[:, :, i], slope, rtol=1e-6, atol=1e-8)


def test_eigenvalues_of_a_linear_map() -> None:
    turn = 0.3
    W = 0.9 * torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], dtype=torch.float64)
    values = eigenvalues(recurrence(lambda s: s @ W.T, size=2), torch.randn(3, 2))
    torch.testing.assert_close(values.abs(), torch.full((3, 2), 0.9, dtype=torch.float64))
    torch.testing.assert_close(values.angle().abs(), torch.full((3, 2), turn, dtype=torch.float64))


# -- Lyapunov exponents -----------------------------------------------------------------------------------------------


def henon(s: Tensor) -> Tensor:
    x, y = s.unbind(1)
    return torch.stack([1 - 1.4 * x * x + y, 0.3 * x], 1)


def lorenz(s: Tensor, dt: float = 0.01) -> Tensor:
    def flow(s: Tensor) -> Tensor:
        x, y, z = s.unbind(1)
        return torch.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], 1)

    a = flow(s)
    b = flow(s + dt / 2 * a)
    c = flow(s + dt / 2 * b)
    return s + dt / 6 * (a + 2 * b + 2 * c + flow(s + dt * c))


def test_logistic_map() -> None:
    found = lyapunov(recurrence(lambda s: 4 * s * (1 - s), size=1), start=torch.tensor([0.3]), steps=10_000)
    assert float(found.exponents[0]) == pytest.approx(math.log(2), rel=0.02)


def test_henon() -> None:
    found = lyapunov(recurrence(henon, size=2), start=torch.tensor([0.1, 0.1]), steps=10_000)
    assert float(found.exponents[0]) == pytest.approx(0.4192, rel=0.02)  # Sprott 2003
    assert float(found.exponents[1]) == pytest.approx(-1.6232, rel=0.02)
    assert float(found.exponents.sum()) == pytest.approx(math.log(0.3), abs=1e-9)  # |det J| is 0.3 everywhere
    assert found.dimension == pytest.approx(1.2583, rel=0.01)


def test_a_linear_map_and_dead_directions() -> None:
    W = torch.tensor([[0.8, 0.5, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    found = lyapunov(recurrence(lambda s: s @ W.T, size=3), steps=200)
    expected = [math.log(0.8), math.log(0.5), -math.inf]
    np.testing.assert_allclose(found.exponents.numpy(), expected, rtol=1e-9)
    assert found.dimension == 0
    assert found.horizon == math.inf


def test_exponents_of_a_driven_network_are_those_of_its_product_of_jacobians() -> None:
    layer = nn.LSTM(2, 3).double()
    x = torch.randn(240, 2, dtype=torch.float64)
    made = recurrence(layer)
    states = made.run(x)[0]
    found = lyapunov(layer, x, discard=0, count=2)
    product, log = torch.eye(6, dtype=torch.float64), 0.0
    for J in jacobians(layer, states[:-1], x):
        product = J @ product
        log += float(product.norm().log())
        product = product / product.norm()
    grown = (log + torch.linalg.svdvals(product).log()) / 240
    assert float(found.exponents[0]) == pytest.approx(float(grown[0]), abs=0.02)
    every = lyapunov(layer, x, discard=0, count=2, every=4)
    torch.testing.assert_close(every.exponents, found.exponents, rtol=1e-6, atol=1e-6)
    assert (found.exponents < 0).all()


def test_few_exponents_need_no_jacobians() -> None:
    layer, x = nn.LSTM(2, 40).double(), torch.randn(60, 2, dtype=torch.float64)
    made = recurrence(layer)
    state, columns = torch.randn(80, dtype=torch.float64), torch.randn(80, 3, dtype=torch.float64)
    (J,) = jacobians(layer, state.unsqueeze(0), x[:1])
    torch.testing.assert_close(dynamics._push(made, state, x[0])(columns), J @ columns)
    found = lyapunov(layer, x, discard=20, count=3)
    assert found.steps == 40
    assert (found.exponents < 0).all()


def test_what_lyapunov_refuses() -> None:
    made = recurrence(lambda s: 2 * s, size=1)
    with pytest.raises(UsageError, match="did not stay finite"):
        lyapunov(made, start=torch.ones(1), steps=3000)
    with pytest.raises(UsageError, match="120 steps, of which 110 are discarded; it needs 20 more"):
        lyapunov(made, steps=10, discard=110)
    with pytest.raises(UsageError, match="count=2"):
        lyapunov(made, count=2)


@pytest.mark.slow
def test_lorenz() -> None:
    found = lyapunov(
        recurrence(lorenz, size=3), start=torch.tensor([1.0, 1.0, 20.0]), steps=100_000, discard=2000, every=5
    )
    rates = found.exponents / 0.01
    assert float(rates[0]) == pytest.approx(0.9056, rel=0.02)  # Sprott 2003
    assert float(rates[1]) == pytest.approx(0, abs=0.02)
    assert float(rates[2]) == pytest.approx(-14.572, rel=0.02)
    assert found.dimension == pytest.approx(2.062, rel=0.01)


# -- fixed points -----------------------------------------------------------------------------------------------------


def test_fixed_points_of_a_flip_flop_of_two_units() -> None:
    W = torch.tensor([[0.0, 3.0], [3.0, 0.0]], dtype=torch.float64)
    cell = nn.RNNCell(1, 2, bias=False).double()
    cell.weight_hh.data = W
    a = 0.9
    for _ in range(200):
        a = math.tanh(3 * a)  # h1 = h2 = a = tanh 3a
    points = fixed_points(cell, 40)
    where = sorted(tuple(round(v, 9) + 0.0 for v in p.state.tolist()) for p in points)
    corners = [(s * a, s * a) for s in (-1, 1)]
    for corner in (*corners, (0.0, 0.0)):
        assert any(np.allclose(corner, found, atol=1e-9) for found in where), (corner, where)
    kinds = {tuple(round(v, 3) + 0.0 for v in p.state.tolist()): p.kind for p in points}
    assert kinds[0.0, 0.0] == "unstable node"  # eigenvalues 3 and -3
    assert kinds[round(a, 3), round(a, 3)] == "stable node"
    slope = 3 * (1 - a * a)
    at_corner = next(p for p in points if p.state[0] > 0.5 and p.state[1] > 0.5)
    np.testing.assert_allclose(sorted(at_corner.eigenvalues.real.tolist()), [-slope, slope], atol=1e-9)
    assert all(p.residual <= 1e-9 for p in points)


def test_a_spiral_a_saddle_and_an_input() -> None:
    turn = torch.tensor([[0.9, -0.4], [0.4, 0.9]], dtype=torch.float64)
    (point,) = fixed_points(
        recurrence(lambda s, x: 0.9 * s @ turn.T + x, size=2, input_size=2), 5, torch.tensor([1.0, 0.0])
    )
    expected = torch.linalg.solve(torch.eye(2, dtype=torch.float64) - 0.9 * turn, torch.tensor([1.0, 0.0]).double())
    torch.testing.assert_close(point.state, expected)
    assert point.kind == "stable spiral"
    assert point.found == 5
    (saddle,) = fixed_points(recurrence(lambda s: s * torch.tensor([2.0, 0.5]).double(), size=2), 3)
    assert (saddle.kind, saddle.unstable) == ("saddle", 1)


def test_no_fixed_point_and_wrong_starts() -> None:
    assert fixed_points(recurrence(lambda s: s + 1 + s * s, size=1), torch.linspace(-3, 3, 7).reshape(-1, 1)) == []
    with pytest.raises(UsageError, match=r"expected \(starts, 1\)"):
        fixed_points(recurrence(lambda s: s, size=1), torch.zeros(3))


def test_fixed_points_of_a_large_gru_hold() -> None:
    layer = nn.GRU(1, 48)
    points = fixed_points(layer, 8)
    assert points
    made = recurrence(layer)
    for point in points:
        torch.testing.assert_close(made.step(point.state)[0], point.state, rtol=0, atol=1e-5)


# -- responses --------------------------------------------------------------------------------------------------------


def test_responses_of_a_linear_filter_are_its_powers() -> None:
    A, B = torch.randn(3, 3, dtype=torch.float64) / 3, torch.randn(3, 2, dtype=torch.float64)
    made = recurrence(lambda s, x: s @ A.T + x @ B.T, size=3, input_size=2)
    inputs = torch.randn(6, 2)
    found = impulse_response(made, 1, size=2.0, inputs=inputs, state=torch.randn(3))
    lasting = step_response(made, 1, size=2.0, inputs=inputs)
    total = torch.zeros(3, dtype=torch.float64)
    for k in range(6):
        power = torch.linalg.matrix_power(A, k) @ B[:, 1] * 2
        total = total + power
        torch.testing.assert_close(found.states[k + 1], power)
        torch.testing.assert_close(lasting.states[k + 1], total)
    with pytest.raises(UsageError, match="no channel 2"):
        impulse_response(made, 2)
    with pytest.raises(UsageError, match="it has no input"):
        impulse_response(recurrence(lambda s: s, size=1))
