"""How layers and directions are put together, and how states are laid out: against compositions written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import carousel
from carousel.cells import GRU, LSTM, RNN, LeakyRNN, MinGRU, MultiTapRNN
from carousel.nn import Recurrent

TIME, BATCH = 6, 3


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _near(a: Tensor, b: Tensor) -> bool:
    """Equal up to some tens of float64 roundings: the same products, batched differently or at other addresses."""
    return a.shape == b.shape and bool(((a - b).abs().max() <= 1e-14).item())


def _one(cell: torch.nn.Module) -> Recurrent:
    """A cell alone, as one layer in one direction."""
    return Recurrent([cell], backend="reference")


def test_layers_are_composed() -> None:
    layer = Recurrent(LSTM, 2, 4, 3, backend="reference").double()
    x, h, c = _random(TIME, BATCH, 2), _random(3, BATCH, 4), _random(3, BATCH, 4)
    output, (h_last, c_last) = layer(x, (h, c))
    signal = x
    for number, cell in enumerate(layer.cells):
        signal, (h_one, c_one) = _one(cell)(signal, (h[number : number + 1], c[number : number + 1]))
        assert torch.equal(h_last[number], h_one[0])
        assert torch.equal(c_last[number], c_one[0])
    assert torch.equal(output, signal)


def test_directions_are_composed() -> None:
    layer = Recurrent(GRU, 2, 4, 2, bidirectional=True, backend="reference").double()
    assert [cell.input_size for cell in layer.cells] == [2, 2, 8, 8]
    x, h = _random(TIME, BATCH, 2), _random(4, BATCH, 4)
    output, (last,) = layer(x, (h,))
    signal = x
    for number in (0, 2):
        onward, (h_onward,) = _one(layer.cells[number])(signal, (h[number : number + 1],))
        back, (h_back,) = _one(layer.cells[number + 1])(signal.flip(0), (h[number + 1 : number + 2],))
        assert torch.equal(last[number : number + 2], torch.cat([h_onward, h_back]))
        signal = torch.cat([onward, back.flip(0)], dim=-1)
    assert torch.equal(output, signal)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_skip_connections(bidirectional: bool) -> None:
    layer = Recurrent(RNN, 2, 4, 3, skip=True, bidirectional=bidirectional, backend="reference").double()
    width = 8 if bidirectional else 4
    assert [cell.input_size for cell in layer.cells][:: layer.directions] == [2, 2 + width, 2 + width]
    assert layer.output_size == 3 * width
    x = _random(TIME, BATCH, 2)
    output, _ = layer(x)
    outputs: list[Tensor] = []
    for first in range(0, len(layer.cells), layer.directions):
        signal = torch.cat([outputs[-1], x], dim=-1) if outputs else x  # Graves 2013, fig. 1
        parts = [_one(layer.cells[first])(signal)[0]]
        if bidirectional:
            parts.append(_one(layer.cells[first + 1])(signal.flip(0))[0].flip(0))
        outputs.append(torch.cat(parts, dim=-1))
    assert torch.equal(output, torch.cat(outputs, dim=-1))


def test_dropout_is_between_layers_only() -> None:
    layer = Recurrent(RNN, 2, 50, 2, dropout=0.5, skip=True, backend="reference").double()
    x = _random(TIME, BATCH, 2)
    torch.manual_seed(7)
    output, _ = layer(x)
    torch.manual_seed(7)
    first, _ = _one(layer.cells[0])(x)
    second, _ = _one(layer.cells[1])(torch.cat([F.dropout(first, 0.5), x], dim=-1))
    assert torch.equal(output, torch.cat([first, second], dim=-1))
    layer.eval()
    second, _ = _one(layer.cells[1])(torch.cat([first, x], dim=-1))
    assert torch.equal(layer(x)[0], torch.cat([first, second], dim=-1))
    single = Recurrent(RNN, 2, 5, dropout=0.9).double()
    assert torch.equal(single(x)[0], single.eval()(x)[0])


def test_different_cells() -> None:
    cells = [LSTM(2, 4), GRU(4, 3), MultiTapRNN(3, 3, taps=(1, 3))]
    layer = Recurrent(cells, backend="reference").double()
    assert (layer.num_layers, layer.input_size, layer.output_size) == (3, 2, 3)
    x = _random(TIME, BATCH, 2)
    output, state = layer(x)
    assert [tuple(tuple(s.shape) for s in one) for one in state] == [((3, 4), (3, 4)), ((3, 3),), ((3, 3, 3),)]
    signal, given = x, []
    for cell, final in zip(cells, state, strict=True):
        signal, alone = _one(cell)(signal)
        assert all(torch.equal(f, a[0]) for f, a in zip(final, alone, strict=True))
        given.append(alone)
    assert torch.equal(output, signal)
    whole, final = layer(torch.cat([x, x]))
    second, continued = layer(x, state)
    assert _near(whole[TIME:], second)
    for one, other in zip(final, continued, strict=True):
        assert all(_near(a, b) for a, b in zip(one, other, strict=True))


def test_different_cells_with_the_same_states_are_stacked() -> None:
    layer = Recurrent([GRU(2, 4), MinGRU(4, 4), LeakyRNN(4, 4), RNN(4, 4)]).double()
    _, (h,) = layer(_random(TIME, BATCH, 2))
    assert h.shape == (4, BATCH, 4)


def test_states_of_the_same_names_in_another_order_are_not_stacked() -> None:
    class Turned(LSTM):
        """c before h."""

        def __init__(self, input_size: int, hidden_size: int):
            super().__init__(input_size, hidden_size)
            self.state_sizes = {"c": hidden_size, "h": hidden_size}

        def step(self, x, state):
            c, h = state
            output, (h, c) = super().step(x, (h, c))
            return output, (c, h)

    plain, turned = LSTM(2, 4), Turned(4, 4)
    layer = Recurrent([plain, turned], backend="reference").double()
    x = _random(TIME, BATCH, 2)
    output, state = layer(x)
    assert [type(one) for one in state] == [tuple, tuple]
    (h, _), (_, h_turned) = state
    assert torch.equal(h_turned, output[-1])
    assert not torch.equal(h, output[-1])


def test_different_cells_in_both_directions() -> None:
    cells = [LSTM(2, 4), GRU(2, 3), RNN(7, 5), RNN(7, 5)]
    layer = Recurrent(cells, bidirectional=True, backend="reference").double()
    assert (layer.num_layers, layer.output_size) == (2, 10)
    x = _random(TIME, BATCH, 2)
    output, state = layer(x)
    assert [len(one) for one in state] == [2, 1, 1, 1]
    signal = torch.cat([_one(cells[0])(x)[0], _one(cells[1])(x.flip(0))[0].flip(0)], dim=-1)
    signal = torch.cat([_one(cells[2])(signal)[0], _one(cells[3])(signal.flip(0))[0].flip(0)], dim=-1)
    assert torch.equal(output, signal)


def test_one_cell_used_twice_shares_its_weights() -> None:
    cell = GRU(4, 4)
    layer = Recurrent([cell, cell]).double()
    assert len(list(layer.parameters())) == 4
    x = _random(TIME, BATCH, 4)
    assert torch.equal(layer(x)[0], Recurrent([cell])(Recurrent([cell])(x)[0])[0])


def test_layout_of_the_final_state() -> None:
    x = torch.zeros(TIME, BATCH, 2)
    _, (h, c) = Recurrent(LSTM, 2, 4, 3, bidirectional=True, projection=1)(x)
    assert (h.shape, c.shape) == ((6, BATCH, 1), (6, BATCH, 4))
    _, (h,) = Recurrent(MultiTapRNN, 2, 4, 3, taps=(2, 5))(x)
    assert h.shape == (3, 5, BATCH, 4)
    output, (h,) = Recurrent(MultiTapRNN, 2, 4, taps=(2, 5), batch_first=True)(x.transpose(0, 1))
    assert output.shape == (BATCH, TIME, 4)
    assert h.shape == (1, 5, BATCH, 4)


def test_a_delay_line_holds_the_newest_first() -> None:
    output, (h,) = Recurrent(MultiTapRNN, 2, 4, taps=(1, 3)).double()(_random(TIME, BATCH, 2))
    assert torch.equal(h[0], output.flip(0)[:3])
    layer = Recurrent(MultiTapRNN, 2, 4, taps=(4,)).double()
    output, (h,) = layer(_random(2, BATCH, 2))  # shorter than the line
    assert torch.equal(h[0, :2], output.flip(0))
    assert not h[0, 2:].any()


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_single_sequence(batch_first: bool) -> None:
    layer = Recurrent([LSTM(2, 4), MultiTapRNN(4, 3)], batch_first=batch_first).double()
    x = _random(TIME, 2)
    output, state = layer(x)
    assert output.shape == (TIME, 3)
    assert [tuple(s.shape) for one in state for s in one] == [(4,), (4,), (8, 3)]
    batch = x.unsqueeze(0 if batch_first else 1)
    expected, _ = layer(batch)
    assert _near(output, expected.squeeze(0 if batch_first else 1))
    again, _ = layer(x, state)
    assert _near(torch.cat([output, again]), layer(torch.cat([x, x]))[0])


def test_batch_first_leaves_the_states_as_they_are() -> None:
    layer = Recurrent(GRU, 2, 4, 2, batch_first=True).double()
    turned = Recurrent(GRU, 2, 4, 2).double()
    turned.load_state_dict(layer.state_dict())
    x, h = _random(BATCH, TIME, 2), _random(2, BATCH, 4)
    output, (last,) = layer(x, (h,))
    expected, (last_expected,) = turned(x.transpose(0, 1), (h,))
    assert _near(output, expected.transpose(0, 1))
    assert _near(last, last_expected)


def test_the_inputs_are_left_as_they_were() -> None:
    layer = Recurrent([LSTM(2, 4), MultiTapRNN(4, 4)], bidirectional=False).double()
    x = _random(TIME, BATCH, 2)
    _, state = layer(x)
    lengths, reset = torch.tensor([6, 0, 3]), torch.rand(TIME, BATCH) < 0.4
    values = [x, lengths, reset, *(s for one in state for s in one)]
    before = [v.clone() for v in values]
    layer(x, state, lengths=lengths, reset=reset)
    assert all(torch.equal(a, b) for a, b in zip(values, before, strict=True))


def test_representation_names_what_was_asked_for() -> None:
    text = repr(Recurrent(LSTM, 2, 4, 2, bidirectional=True, dropout=0.25, skip=True, batch_first=True))
    for part in ("layers=2", "directions=2", "skip=True", "batch_first=True", "dropout=0.25", "LSTM(2, 4)"):
        assert part in text
    assert repr(carousel.nn.LSTM(2, 4, 2)).startswith("LSTM(2, 4, layers=2")
