"""A cell that can't be built says so, with what was given and what to do."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import carousel
from carousel import Cell
from carousel.cells import GRU, LSTM, REGISTRY, RNN, LeakyRNN, MultiTapRNN, PreActivationRNN
from carousel.errors import CarouselError, CellError
from carousel.nn import Recurrent


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((3, 0), r"hidden_size=0; give a whole number of at least 1"),
        ((3, -1), r"hidden_size=-1; give"),
        ((-1, 3), r"input_size=-1; give a whole number of at least 0"),
        ((3, 2.0), r"hidden_size=2.0; give a whole number"),
        (("3", 2), r"input_size='3'; give a whole number"),
        ((True, 2), r"input_size=True; give a whole number"),
    ],
    ids=repr,
)
def test_sizes(name: str, sizes: tuple[Any, Any], words: str) -> None:
    entry = REGISTRY[name]
    with pytest.raises(CellError, match=f"{entry.cell_class.__name__} got {words}"):
        entry.cell_class(*sizes, **entry.options)


@pytest.mark.parametrize("projection", [4, 5, -1])
def test_projection_as_large_as_the_memory(projection: int) -> None:
    with pytest.raises(
        CellError, match=rf"projection={projection} with hidden_size=4; it must be smaller \(0 for none\)"
    ):
        LSTM(3, 4, projection=projection)
    with pytest.raises(CellError, match="projection"):
        carousel.nn.LSTM(3, 4, proj_size=projection)


def test_unknown_values_of_options() -> None:
    with pytest.raises(CellError, match=r"reset='inside'; it is 'after' or 'before'"):
        GRU(3, 4, reset="inside")
    for time_constant in (1.0, 0.5, math.nan):
        with pytest.raises(CellError, match=rf"time_constant={time_constant}; .* above 1"):
            LeakyRNN(3, 4, time_constant=time_constant)


@pytest.mark.parametrize("cell", [RNN, PreActivationRNN, MultiTapRNN, LeakyRNN])
def test_unknown_activation(cell: type[Cell]) -> None:
    with pytest.raises(CellError, match=r"no activation 'tahn'; choose one of elu, .*tanh, or give a function"):
        cell(3, 4, activation="tahn")


@pytest.mark.parametrize("taps", [(), 5, (0,), (1, -2), (1.5,), "15", None], ids=repr)
def test_bad_taps(taps: Any) -> None:
    with pytest.raises(CellError, match=r"delays\['h'\] is .*; give one or more whole numbers of at least 1"):
        MultiTapRNN(3, 4, taps=taps)


class Delayed(Cell):
    """A cell with whatever delays it is given."""

    def __init__(self, input_size: int, hidden_size: int, *, delays: dict[str, Any]):
        super().__init__(input_size, hidden_size)
        self.delays = delays

    def step(self, x, state):
        (h,) = state
        h = h[0] if isinstance(h, tuple) else h
        return h, (h,)


def test_delays_are_checked_when_the_layer_is_built() -> None:
    with pytest.raises(CellError, match=r"Delayed.delays names \['k'\], but state_sizes has \['h'\]"):
        Recurrent(Delayed, 3, 4, delays={"k": (1,)})
    for taps in ((), (0,), 3):
        with pytest.raises(CellError, match=r"Delayed.delays\['h'\] is .*whole numbers of at least 1"):
            Recurrent([Delayed(3, 4, delays={"h": taps})])


def test_every_cell_error_is_a_carousel_error_of_wrong_use() -> None:
    assert issubclass(CellError, CarouselError)
    assert CellError.exit_code == 2


def test_a_cell_without_step() -> None:
    class Empty(Cell):
        pass

    with pytest.raises(CellError, match=r"Empty has no step\(\); write its equations as `def step\(self, x, state\)`"):
        Recurrent(Empty, 3, 4)(torch.zeros(2, 1, 3))


def test_defaults_of_a_cell() -> None:
    cell = Delayed(3, 4, delays={})
    assert (cell.input_size, cell.hidden_size, cell.output_size) == (3, 4, 4)
    assert cell.state_shapes == {"h": (4,)}
    assert cell.taps == {"h": (1,)}
    assert cell.aten() is None
    (h,) = cell.initial_state(2, dtype=torch.float64, device=torch.device("cpu"))
    assert h.dtype == torch.float64
    assert torch.equal(h, torch.zeros(2, 4, dtype=torch.float64))
    assert repr(cell) == "Delayed(3, 4)"
    assert Delayed(3, 4, delays={"h": [1, 5]}).taps == {"h": (1, 5)}
