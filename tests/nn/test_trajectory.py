"""`Trajectory`: states and total gradients stand where their step of the input stands."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import carousel
from carousel.cells import GRU, LSTM, RNN, MultiTapRNN
from carousel.errors import CellError
from carousel.nn import Recurrent

TIME, BATCH = 7, 3
ROUNDED = 1e-14
"""Some tens of float64 roundings: two runs that batch their products differently."""


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _near(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a - b).abs().max() <= ROUNDED * b.abs().max().clamp(min=1)).item())


def test_states_are_the_outputs_where_the_cell_says_so() -> None:
    layer = Recurrent(GRU, 2, 4, 2, bidirectional=True).double()
    output, (h,), trajectory = layer(_random(TIME, BATCH, 2), trajectory=True)
    assert torch.equal(trajectory.states("h", layer=1, direction=0), output[..., :4])
    assert torch.equal(trajectory.states("h", layer=1, direction=1), output[..., 4:])
    for number in range(4):
        states = trajectory.states("h", *divmod(number, 2))
        assert torch.equal(states[0 if number % 2 else -1], h[number])


def test_total_gradients_by_hand_with_two_taps() -> None:
    """h_t = tanh(a_t), a_t = … + U_1 h_{t-1} + U_3 h_{t-3}: ∂L/∂h_t = w_t + U_1' da_{t+1} + U_3' da_{t+3}."""
    layer = Recurrent(MultiTapRNN, 2, 4, taps=(1, 3)).double()
    u_1, u_3 = layer.cells[0].wh.detach().chunk(2, dim=1)
    w = _random(TIME, BATCH, 4)
    output, _, trajectory = layer(_random(TIME, BATCH, 2), trajectory=True)
    (output * w).sum().backward()
    h = output.detach()
    dh, da = torch.zeros(TIME + 3, BATCH, 4).double(), torch.zeros(TIME + 3, BATCH, 4).double()
    for t in reversed(range(TIME)):
        dh[t] = w[t] + da[t + 1] @ u_1 + da[t + 3] @ u_3
        da[t] = dh[t] * (1 - h[t] ** 2)
    assert _near(trajectory.gradients("h"), dh[:TIME])


def test_gradients_of_both_directions() -> None:
    layer = Recurrent(RNN, 2, 4, bidirectional=True).double()
    x, w = _random(TIME, BATCH, 2), _random(TIME, BATCH, 8)
    output, _, trajectory = layer(x, trajectory=True)
    (output * w).sum().backward()
    for direction, part in ((0, slice(0, 4)), (1, slice(4, 8))):
        alone = Recurrent([layer.cells[direction]])
        turn = (lambda v: v.flip(0)) if direction else (lambda v: v)
        y, _, its = alone(turn(x), trajectory=True)
        (y * turn(w[..., part])).sum().backward()
        assert _near(trajectory.gradients("h", direction=direction), turn(its.gradients("h")))


@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize("cell", [LSTM, GRU, MultiTapRNN])
def test_rows_of_their_own_length(cell: type, direction: int) -> None:
    layer = Recurrent(cell, 2, 4, bidirectional=True).double()
    x, w = _random(TIME, BATCH, 2), _random(TIME, BATCH, 8)
    lengths = [7, 4, 0]
    output, final, trajectory = layer(x, lengths=torch.tensor(lengths), trajectory=True)
    ((output * w).sum() + sum(s.sum() for s in final)).backward()
    for name in layer.cells[0].state_sizes:
        states, gradients = (f(name, direction=direction) for f in (trajectory.states, trajectory.gradients))
        for b, length in enumerate(lengths):
            assert not gradients[length:, b].any()
            if not length:
                assert not states[:, b].any()  # the initial state, zero
                continue
            y, last, alone = layer(x[:length, b : b + 1], trajectory=True)
            ((y * w[:length, b : b + 1]).sum() + sum(s.sum() for s in last)).backward()
            assert _near(states[:length, b], alone.states(name, direction=direction)[:, 0])
            assert _near(gradients[:length, b], alone.gradients(name, direction=direction)[:, 0])
            at_the_end = states[0 if direction else length - 1, b]
            assert all(torch.equal(s, at_the_end) for s in states[length:, b])


def test_gradients_of_the_states_alone() -> None:
    layer = Recurrent(LSTM, 2, 4, 2, bidirectional=True).double()
    x, w, lengths = _random(TIME, BATCH, 2), _random(TIME, BATCH, 8), torch.tensor([7, 4, 2])
    found = []
    for alone in (False, True):
        output, _, trajectory = layer(x, lengths=lengths, trajectory=True)
        layer.zero_grad()
        torch.autograd.backward((output * w).sum(), inputs=trajectory.tensors if alone else None)
        assert all((p.grad is None) == alone for p in layer.parameters())
        places = [(name, depth, way) for name in ("h", "c") for depth in range(2) for way in range(2)]
        found.append([trajectory.gradients(*place) for place in places])
    assert all(a.any() and torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_resets_cut_the_gradient() -> None:
    layer = Recurrent(LSTM, 2, 4).double()
    x = _random(TIME, 1, 2)
    reset = torch.zeros(TIME, 1, dtype=torch.bool)
    reset[3] = True
    output, _, trajectory = layer(x, reset=reset, trajectory=True)
    output[-1].sum().backward()
    for name in ("h", "c"):
        gradients = trajectory.gradients(name)
        assert not gradients[:3].any()
        assert gradients[3:-1].all()
    _, _, alone = layer(x[:3], trajectory=True)
    assert torch.equal(trajectory.states("c")[:3], alone.states("c"))  # the states before the reset, not after


def test_lower_layers_get_their_gradient_through_upper_ones() -> None:
    layer = Recurrent(GRU, 2, 4, 2, backend="reference").double()
    x = _random(TIME, BATCH, 2)
    output, _, trajectory = layer(x, trajectory=True)
    output.sum().backward()
    # The total gradient of the lower h: through its own recurrence and through the upper layer, which the lower layer's
    # run alone sees as a loss on its output.
    lower, upper = Recurrent([layer.cells[0]]), Recurrent([layer.cells[1]])
    signal = lower(x)[0].detach().requires_grad_()
    (asked,) = torch.autograd.grad(upper(signal)[0].sum(), signal)
    y, _, alone = lower(x, trajectory=True)
    (y * asked).sum().backward()
    assert _near(trajectory.gradients("h", layer=0), alone.gradients("h"))


def test_the_values_are_those_of_a_run_without() -> None:
    layer = Recurrent(LSTM, 2, 4, 2, bidirectional=True, backend="reference").double()
    x = _random(TIME, BATCH, 2)
    output, state = layer(x)
    watched, its_state, _ = layer(x, trajectory=True)
    assert torch.equal(output, watched)
    assert all(torch.equal(a, b) for a, b in zip(state, its_state, strict=True))


def test_states_of_any_shape_and_without_gradient() -> None:
    layer = Recurrent(LSTM, 2, 4, projection=2)
    with torch.no_grad():
        _, _, trajectory = layer(torch.zeros(TIME, BATCH, 2), trajectory=True)
    assert trajectory.states("h").shape == (TIME, BATCH, 2)
    assert trajectory.states("c").shape == (TIME, BATCH, 4)
    with pytest.raises(CellError, match="No gradient has reached state 'c'"):
        trajectory.gradients("c")


def test_a_state_without_a_path_to_the_loss_has_gradient_zero() -> None:
    layer = Recurrent(LSTM, 2, 4).double()
    output, _, trajectory = layer(_random(TIME, BATCH, 2), trajectory=True)
    output[2].sum().backward()
    assert trajectory.gradients("c")[:3].all()
    assert not trajectory.gradients("c")[3:].any()
    assert not trajectory.gradients("h")[3:].any()


def test_drop_in_layers() -> None:
    layer = carousel.nn.GRU(2, 4).double()
    output, h, trajectory = layer(_random(TIME, BATCH, 2), trajectory=True)
    assert isinstance(h, Tensor)
    assert torch.equal(trajectory.states("h"), output)


def test_errors() -> None:
    layer = Recurrent(LSTM, 2, 4, 2)
    output, _, trajectory = layer(torch.zeros(TIME, BATCH, 2), trajectory=True)
    with pytest.raises(
        CellError, match=r"No gradient has reached state 'h'; call backward\(\) on a loss of the output"
    ):
        trajectory.gradients("h")
    with pytest.raises(CellError, match="LSTM has no state 'm'; it has h, c"):
        trajectory.states("m")
    for place in ((2, 0), (-1, 0), (0, 1)):
        with pytest.raises(CellError, match=r"no layer .*; layers 0 to 1, directions 0 to 0"):
            trajectory.states("h", *place)
    output.sum().backward()
    assert trajectory.gradients("h").any()


class Keeper(carousel.Cell):
    """A state that every step only reads."""

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (h,) = state
        return x.sum(-1, keepdim=True) * h, (h,)


def test_a_state_that_is_passed_on_unchanged() -> None:
    """∂L/∂h after step t is what the later outputs make of it, Σ_{s>t} x_s, not the sum over all steps."""
    x = _random(TIME, BATCH, 2)
    state = torch.ones(1, BATCH, 3, dtype=x.dtype, requires_grad=True)
    output, _, trajectory = Recurrent(Keeper, 2, 3)(x, (state,), trajectory=True)
    output.sum().backward()
    later = x.sum(2).flip(0).cumsum(0).flip(0)  # Σ_{s>=t}
    expected = torch.cat([later[1:], torch.zeros(1, BATCH, dtype=x.dtype)]).unsqueeze(2).expand(-1, -1, 3)
    torch.testing.assert_close(trajectory.gradients("h"), expected, rtol=0, atol=1e-12)
