"""A sequence in two pieces, the state handed over, is the sequence in one: values and gradients."""

from __future__ import annotations

import pytest
import torch

from carousel.cells import GRU, LSTM, RNN, MultiTapRNN
from carousel.nn import Recurrent

from .cases import CASES, SIZES, Case, fill, names, normal
from .helpers import SUMMED, assert_near, gradients, random_state, start, tensors, weighted_sum

CONTINUED = [case for case in CASES if not case.draws]
TIME = 11


@pytest.mark.parametrize("cut", [1, 4, 10])
@pytest.mark.parametrize("case", CONTINUED, ids=names(CONTINUED))
def test_two_pieces_are_one_run(case: Case, cut: int) -> None:
    layer = case.layer(2, 3, 2)
    x = normal(TIME, 3, case.features(2), seed=1).requires_grad_()
    state = random_state(layer, 3, seed=2)
    whole = layer(x, state)
    first, between = layer(x[:cut], state)
    second, final = layer(x[cut:], between)
    pieces = (torch.cat([first, second]), final)
    # The same operations on the same numbers, so to the last bit; the gradient adds up its parts in another order.
    assert all(torch.equal(p, w) for p, w in zip(tensors(pieces), tensors(whole), strict=True))
    assert_near(
        gradients(weighted_sum(pieces), layer, x, state), gradients(weighted_sum(whole), layer, x, state), SUMMED
    )


@pytest.mark.parametrize("case", CONTINUED, ids=names(CONTINUED))
def test_no_state_is_the_initial_state(case: Case) -> None:
    layer = case.layer(2, 3, 2)
    x = normal(3, 2, case.features(2), seed=1)
    assert all(torch.equal(a, b) for a, b in zip(tensors(layer(x)), tensors(layer(x, start(layer, 2))), strict=True))


@pytest.mark.parametrize("size", [s for s in SIZES if s[3] > 1], ids=lambda s: f"batch{s[1]}-hidden{s[2]}-time{s[3]}")
@pytest.mark.parametrize("cell", [LSTM, GRU, RNN, MultiTapRNN])
def test_with_the_fastest_backend_at_odd_sizes(cell: type, size: tuple[torch.dtype, int, int, int]) -> None:
    dtype, batch, hidden, time = size
    layer = Recurrent(cell, 5, hidden).to(dtype)
    fill(layer)
    x = normal(time, batch, 5, seed=1, dtype=dtype)
    whole, last = layer(x)
    cut = time // 2
    first, state = layer(x[:cut])
    second, final = layer(x[cut:], state)
    # Matrix products over all steps at once may sum in another order than over half of them; nothing is amplified.
    tolerance = (hidden + 5 + time) * torch.finfo(dtype).eps
    assert_near([torch.cat([first, second]), final], [whole, last], tolerance)


def test_step_by_step() -> None:
    layer = Recurrent(MultiTapRNN, 2, 3, taps=(1, 3)).double()
    x = normal(9, 2, 2, seed=1)
    whole, last = layer(x)
    state, outputs = None, []
    for x_t in x.split(1):
        output, state = layer(x_t, state)
        outputs.append(output)
    assert_near((torch.cat(outputs), state[0]), (whole, last[0]), SUMMED)


def test_a_detached_state_cuts_the_gradient() -> None:
    layer = Recurrent(LSTM, 2, 3).double()
    x = normal(6, 1, 2, seed=1).requires_grad_()
    _, state = layer(x[:3])
    assert all(s.requires_grad for s in state)
    output, _ = layer(x[3:], tuple(s.detach() for s in state))
    (g,) = torch.autograd.grad(output.sum(), x)
    assert not g[:3].any()
    assert g[3:].all()
