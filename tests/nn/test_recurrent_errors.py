"""The door of `Recurrent`: what does not fit is refused with both shapes, before anything runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import carousel
from carousel.cells import GRU, LSTM, RNN, MultiTapRNN
from carousel.errors import CellError
from carousel.nn import Recurrent

X = torch.zeros(5, 2, 3)


@pytest.mark.parametrize(
    ("arguments", "keywords", "words"),
    [
        ((LSTM,), {}, r"Recurrent\(LSTM, …\) needs input_size and hidden_size"),
        ((LSTM, 3), {}, r"needs input_size and hidden_size"),
        ((nn.LSTMCell, 3, 4), {}, r"LSTMCell, which is not a subclass of carousel.Cell"),
        (
            (LSTM(3, 4),),
            {},
            r"Recurrent got LSTM\(3, 4\); give a class or a list of cells, as Recurrent\(\[LSTM\(…\)\]\)",
        ),
        (("lstm", 3, 4), {}, r"Recurrent got 'lstm'; give a class or a list of cells"),
        (([],), {}, r"got 0 cells; give one per layer and direction"),
        (([LSTM(3, 4)],), {"bidirectional": True}, r"got 1 cells; give one per layer and direction"),
        (([LSTM(3, 4)], 3, 4), {}, r"list of cells and sizes, num_layers or options; the cells already have them"),
        (([LSTM(3, 4)],), {"num_layers": 2}, r"list of cells and sizes, num_layers or options"),
        (([LSTM(3, 4)],), {"peephole": True}, r"list of cells and sizes, num_layers or options"),
        (([LSTM(3, 4), nn.Linear(4, 4)],), {}, r"a Linear among the cells; each must be a carousel.Cell"),
        (([LSTM(3, 4), GRU(5, 4)],), {}, r"Layer 1 \(GRU\) has input_size 5, but what it is given has 4 features"),
        (([RNN(3, 4), RNN(4, 4)],), {"skip": True}, r"Layer 1 \(RNN\) has input_size 4, but .* has 7 features"),
        (([RNN(3, 4), RNN(2, 4)],), {"bidirectional": True}, r"Layer 0 \(RNN\) has input_size 2, .* has 3 features"),
        ((LSTM, 3, 4, 0), {}, r"num_layers=0; give a whole number of at least 1"),
        ((LSTM, 3, 4, 1.5), {}, r"num_layers=1.5; give a whole number"),
        ((LSTM, 3, 4), {"dropout": 1.5}, r"dropout=1.5; it is a probability from 0 to 1"),
        ((LSTM, 3, 4), {"dropout": -0.1}, r"dropout=-0.1"),
        ((LSTM, 3, 4), {"peepholes": True}, r"LSTM has no option peepholes; it has bias, forget_bias, peephole, proj"),
        ((GRU, 3, 4), {"peephole": True, "x": 1}, r"GRU has no option peephole, x; it has reset, bias"),
    ],
)
def test_construction(arguments: tuple[Any, ...], keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(CellError, match=words):
        Recurrent(*arguments, **keywords)


def test_options_of_a_cell_that_takes_any() -> None:
    class Any_(RNN):  # noqa: N801
        def __init__(self, input_size: int, hidden_size: int, **options: Any):
            super().__init__(input_size, hidden_size)
            self.options = options

    class Bare(RNN):
        def __init__(self, input_size: int, hidden_size: int):
            super().__init__(input_size, hidden_size)

    assert Recurrent(Any_, 3, 4, colour="red").cells[0].options == {"colour": "red"}
    with pytest.raises(CellError, match="Bare has no option colour; it has none"):
        Recurrent(Bare, 3, 4, colour="red")


@pytest.mark.parametrize(
    ("options", "x", "words"),
    [
        ({}, torch.zeros(5, 2, 4), r"The input has shape \(5, 2, 4\); expected \(time, batch, 3\)"),
        ({}, torch.zeros(5, 4), r"shape \(5, 4\); expected \(time, 3\)"),
        ({}, torch.zeros(3), r"shape \(3,\); expected \(time, batch, 3\)"),
        ({}, torch.zeros(1, 5, 2, 3), r"shape \(1, 5, 2, 3\); expected \(time, batch, 3\)"),
        ({"batch_first": True}, torch.zeros(2, 5, 4), r"shape \(2, 5, 4\); expected \(batch, time, 3\)"),
        ({"batch_first": True}, torch.zeros(3), r"shape \(3,\); expected \(batch, time, 3\)"),
        ({"batch_first": True}, torch.zeros(2, 0, 3), r"shape \(2, 0, 3\): no time steps"),
        ({}, torch.zeros(0, 2, 3), r"shape \(0, 2, 3\): no time steps"),
        ({}, torch.zeros(5, 2, 3, dtype=torch.float64), r"input is torch.float64, the parameters are torch.float32; "),
        ({}, np.zeros((5, 2, 3), dtype=np.float32), r"The input is a ndarray; give a tensor"),
    ],
)
def test_input(options: dict[str, Any], x: Any, words: str) -> None:
    with pytest.raises(CellError, match=words):
        Recurrent(LSTM, 3, 4, **options)(x)


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        (torch.tensor([5, 6]), r"lengths goes from 5 to 6; the input has 5 steps"),
        (torch.tensor([-1, 2]), r"lengths goes from -1 to 2"),
        (torch.tensor([5]), r"lengths is torch.int64 of \(1,\); expected integers of \(2,\)"),
        (torch.tensor([[5, 5]]), r"lengths is torch.int64 of \(1, 2\)"),
        (torch.tensor([5.0, 2.0]), r"lengths is torch.float32 of \(2,\); expected integers"),
        (torch.tensor([True, False]), r"lengths is torch.bool of \(2,\); expected integers"),
        ([5, 2], r"lengths is a list; give a tensor"),
    ],
)
def test_lengths(lengths: Any, words: str) -> None:
    with pytest.raises(CellError, match=words):
        Recurrent(LSTM, 3, 4)(X, lengths=lengths)


@pytest.mark.parametrize(
    ("batch_first", "reset", "words"),
    [
        (
            False,
            torch.zeros(2, 5, dtype=torch.bool),
            r"reset is torch.bool of \(2, 5\); expected torch.bool of \(5, 2\)",
        ),
        (False, torch.zeros(5, dtype=torch.bool), r"reset is torch.bool of \(5,\); expected torch.bool of \(5, 2\)"),
        (False, torch.zeros(5, 2), r"reset is torch.float32 of \(5, 2\); expected torch.bool"),
        (False, [True], r"reset is a list; give a tensor"),
        (
            True,
            torch.zeros(5, 2, dtype=torch.bool),
            r"reset is torch.bool of \(5, 2\); expected torch.bool of \(2, 5\)",
        ),
        (True, torch.zeros(5, dtype=torch.bool), r"reset is torch.bool of \(5,\); expected torch.bool of \(2, 5\)"),
    ],
)
def test_reset(batch_first: bool, reset: Any, words: str) -> None:
    x = X.transpose(0, 1) if batch_first else X
    with pytest.raises(CellError, match=words):
        Recurrent(LSTM, 3, 4, batch_first=batch_first)(x, reset=reset)


def test_lengths_and_resets_of_a_single_sequence() -> None:
    layer = Recurrent(LSTM, 3, 4)
    with pytest.raises(CellError, match=r"lengths is torch.int64 of \(2,\); expected integers of \(1,\)"):
        layer(X[:, 0], lengths=torch.tensor([5, 2]))
    with pytest.raises(CellError, match=r"reset is torch.bool of \(5, 1\); expected torch.bool of \(5,\)"):
        layer(X[:, 0], reset=torch.zeros(5, 1, dtype=torch.bool))


H = torch.zeros(2, 2, 4)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (H, r"The state is a Tensor; expected a tuple of 2: h, c"),
        ((H,), r"The state is a tuple of 1; expected a tuple of 2: h, c"),
        ((H, H, H), r"The state is a tuple of 3; expected a tuple of 2"),
        ({"h": H, "c": H}, r"The state is a dict; expected a tuple of 2"),
        ((H, H[:1]), r"State 'c' has shape \(1, 2, 4\); expected \(2, 2, 4\)"),
        ((H[:, :1], H), r"State 'h' has shape \(2, 1, 4\); expected \(2, 2, 4\)"),
        ((H, None), r"State 'c' has a NoneType; expected \(2, 2, 4\)"),
    ],
)
def test_state(state: Any, words: str) -> None:
    with pytest.raises(CellError, match=words):
        Recurrent(LSTM, 3, 4, 2)(X, state)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ((H[0],), r"The state is a tuple of 1; expected a tuple of 2: one per cell"),
        (((H[0], H[0]), H[0]), r"The state of cell 1 \(GRU\) is a Tensor; expected a tuple of 1: h"),
        (((H[0],), (H[0],)), r"The state of cell 0 \(LSTM\) is a tuple of 1; expected a tuple of 2: h, c"),
        (((H[0], H[0]), (H[0, :1],)), r"State 'h' has shape \(1, 4\); expected \(2, 4\)"),
    ],
)
def test_state_of_cells_that_differ(state: Any, words: str) -> None:
    with pytest.raises(CellError, match=words):
        Recurrent([LSTM(3, 4), GRU(4, 4)])(X, state)


def test_state_of_a_delay_line_and_of_a_single_sequence() -> None:
    with pytest.raises(CellError, match=r"State 'h' has shape \(1, 3, 2, 4\); expected \(1, 8, 2, 4\)"):
        Recurrent(MultiTapRNN, 3, 4)(X, (torch.zeros(1, 3, 2, 4),))
    with pytest.raises(CellError, match=r"State 'h' has shape \(1, 8, 1, 4\); expected \(1, 8, 4\)"):
        Recurrent(MultiTapRNN, 3, 4)(X[:, 0], (torch.zeros(1, 8, 1, 4),))
    with pytest.raises(CellError, match=r"State 'h' has shape \(1, 1, 4\); expected \(1, 4\)"):
        carousel.nn.GRU(3, 4)(X[:, 0], torch.zeros(1, 1, 4))


def test_packed_sequences_have_lengths_and_no_resets() -> None:
    packed = pack_sequence([torch.zeros(5, 3), torch.zeros(2, 3)])
    for keywords in ({"lengths": torch.tensor([5, 2])}, {"reset": torch.zeros(5, 2, dtype=torch.bool)}):
        with pytest.raises(CellError, match="PackedSequence carries its lengths and has no resets"):
            Recurrent(LSTM, 3, 4)(packed, **keywords)
    with pytest.raises(CellError, match=r"The input has shape \(5, 2, 3\); expected \(time, batch, 4\)"):
        Recurrent(LSTM, 4, 4)(packed)


def test_drop_in_layers_explain_as_well() -> None:
    layer = carousel.nn.LSTM(3, 4, 2)
    with pytest.raises(CellError, match=r"The input has shape \(5, 2, 9\); expected \(time, batch, 3\)"):
        layer(torch.zeros(5, 2, 9))
    with pytest.raises(CellError, match="no activation 'tanhh'"):
        carousel.nn.RNN(3, 4, nonlinearity="tanhh")
    with pytest.raises(CellError, match="LSTM has no option peep"):
        carousel.nn.LSTM(3, 4, peep=True)
    with pytest.raises(CellError, match=r"hidden_size=0"):
        carousel.nn.GRU(3, 0)


def test_state_of_another_dtype() -> None:
    layer = carousel.nn.LSTM(2, 3)
    h, c = torch.zeros(1, 4, 3), torch.zeros(1, 4, 3, dtype=torch.float64)
    with pytest.raises(CellError, match=r"State 'c' is torch.float64, the input torch.float32; convert one"):
        layer(torch.zeros(5, 4, 2), (h, c))
