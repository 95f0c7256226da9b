"""Named quantities against the equations."""

from __future__ import annotations

import doctest
import sys

import pytest
import torch
from torch import Tensor, nn

import carousel
from carousel.cells.registry import REGISTRY
from carousel.errors import UsageError
from carousel.inspect import gates as module
from carousel.inspect import quantities as look
from carousel.inspect import recurrence


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_examples() -> None:
    assert doctest.testmod(module).failed == 0


def test_gates_of_an_lstm_are_those_of_its_equations() -> None:
    layer, x = nn.LSTM(3, 4, num_layers=2, dtype=torch.float64), torch.randn(9, 2, 3, dtype=torch.float64)
    found = {(q.name, q.layer): q for q in look(layer, x)}
    h = c = torch.zeros(2, 4, dtype=torch.float64)
    for t in range(9):
        i, f, g, o = (
            x[t] @ layer.weight_ih_l0.T + layer.bias_ih_l0 + h @ layer.weight_hh_l0.T + layer.bias_hh_l0
        ).chunk(4, 1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = f * c + i * g
        h = o * c.tanh()
        for name, value in {"i": i, "f": f, "g": g, "o": o, "c": c, "h": h}.items():
            torch.testing.assert_close(found[name, 1].values[t], value.detach())
    assert {name for (name, layer), q in found.items() if q.is_gate and layer == 2} == {"i", "f", "o"}
    assert {name for (name, layer), q in found.items() if q.is_state and layer == 2} == {"h", "c"}
    forget = found["f", 1]
    torch.testing.assert_close(forget.openness, forget.values.mean((1, 2)))
    assert 0 <= forget.open + forget.closed <= 1
    assert sys.getprofile() is None


@pytest.mark.parametrize(
    ("name", "gates"),
    [("gru", {"r", "z"}), ("gru-reset-before", {"r", "z"}), ("lstm-coupled-layernorm", {"i", "f", "o"}),
     ("lstm-peephole", {"i", "f", "o"}), ("cec", {"i", "f", "o"}), ("min-gru", {"z"}), ("rnn", set()),
     ("multi-tap", set())],
)  # fmt: skip
def test_the_gates_of_built_in_cells(name: str, gates: set[str]) -> None:
    entry = REGISTRY[name]
    options = {**entry.options, **({"forget": True} if name == "cec" else {})}
    found = look(entry.cell_class(3, 4, **options), torch.randn(5, 2, 3))
    assert {q.name for q in found if q.is_gate} == gates
    assert all(q.values.shape[:2] == (5, 2) for q in found)


def test_a_cell_of_the_users_own() -> None:
    class Own(carousel.Cell):
        def __init__(self, input_size: int, hidden_size: int):
            super().__init__(input_size, hidden_size)
            self.w = carousel.weight(2 * hidden_size, input_size + hidden_size)

        def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            (h,) = state
            both = torch.sigmoid(torch.cat([x, h], 1) @ self.w.T)
            keep, write = both.chunk(2, 1)
            lose = 1 - keep
            h = keep * h + lose * write
            return h, (h,)

    class Unnamed(Own):
        def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            (h,) = state
            return h, (super().step(x, state)[0],)

    own, x = carousel.nn.Recurrent(Own, 2, 3), torch.randn(6, 2)
    unnamed = carousel.nn.Recurrent(Unnamed, 2, 3)
    unnamed.load_state_dict(own.state_dict())
    found = {q.name: q for q in look(own, x)}
    same = {q.name: q for q in look(unnamed, x)}
    assert found["h"].is_state
    torch.testing.assert_close(same["h"].values, found["h"].values)  # the new one, though h is the old one there
    assert {name for name, q in found.items() if q.is_gate} == {"both", "keep", "write", "lose"}
    torch.testing.assert_close(found["lose"].values, 1 - found["keep"].values)
    assert found["h"].values.shape == (6, 1, 3)
    with pytest.raises(UsageError, match="no named quantities"):
        look(recurrence(lambda s: s, size=2), torch.zeros(3, 1, 0))
