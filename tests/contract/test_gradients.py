"""Gradients of every cell against finite differences, first and second order, through the plain loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from carousel.cells import GRU, LSTM, RNN
from carousel.nn import Recurrent

from .cases import CASES, Case, names, normal
from .helpers import random_state, tensors

STEP = 1e-6
# A central difference with step 1e-6 is off by about (1e-6)² f'''/6 ≈ 1e-12 from the cut and 1e-16 · |f| / 1e-6 ≈ 1e-10
# from rounding, for values of order one; the loop adds some tens of roundings.
DIFFERENCE = {"eps": STEP, "atol": 1e-8, "rtol": 1e-7}


def _smallest_distance_to_kink(layer: Recurrent, kinks: tuple[float, ...], run: Callable[[], object]) -> float:
    """How near the pre-activations of a run come to a kink of the activation."""
    (cell,) = layer.cells
    seen: list[Tensor] = []
    phi = cell.phi
    cell.phi = lambda a: (seen.append(a.detach()), phi(a))[1]
    run()
    cell.phi = phi
    assert seen
    return min((a - kink).abs().min().item() for a in seen for kink in kinks)


def _problem(
    case: Case, time: int, batch: int, inputs: int, hidden: int, seed: int
) -> tuple[Recurrent, Callable[..., tuple[Tensor, ...]], list[Tensor]]:
    """A layer, the function (x, states…, parameters…) → (outputs, states), and where to check it."""
    layer = case.layer(inputs, hidden, seed=seed)
    wanted = {name: p for name, p in layer.named_parameters() if p.requires_grad and p.numel()}
    x = normal(time, batch, case.features(inputs), seed=100 + seed)
    state = random_state(layer, batch, seed=200 + seed)
    leading = [x.requires_grad_()] if x.numel() else []  # a cell without input has no gradient there

    def function(*arguments: Tensor) -> tuple[Tensor, ...]:
        signal, rest = (arguments[0], arguments[1:]) if leading else (x, arguments)
        states, parameters = tuple(rest[: len(state)]), dict(zip(wanted, rest[len(state) :], strict=True))
        keywords = {"generator": torch.Generator().manual_seed(seed)}
        return tuple(tensors(functional_call(layer, parameters, (signal, states), keywords)))

    return layer, function, [*leading, *state, *wanted.values()]


def _away_from_kinks(case: Case, time: int, batch: int, inputs: int, hidden: int):
    """The first seed whose pre-activations all stay far from a kink, seen from the step of the difference."""
    for seed in range(40):
        layer, function, arguments = _problem(case, time, batch, inputs, hidden, seed)
        run = partial(function, *arguments)
        if not case.kinks or _smallest_distance_to_kink(layer, case.kinks, run) > 1000 * STEP:
            return function, arguments
    raise AssertionError("no seed keeps the pre-activations away from the kinks")


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_first_order(case: Case) -> None:
    function, arguments = _away_from_kinks(case, time=3, batch=2, inputs=2, hidden=3)
    assert gradcheck(function, arguments, **DIFFERENCE)


TWICE = [case for case in CASES if case.name != "weight-normed"]
"""PyTorch's own `_weight_norm` fails `gradgradcheck` (2.13): its second derivative is not right."""


@pytest.mark.parametrize("case", TWICE, ids=names(TWICE))
def test_second_order(case: Case) -> None:
    function, arguments = _away_from_kinks(case, time=2, batch=1, inputs=1, hidden=2)
    assert gradgradcheck(function, arguments, **DIFFERENCE)


@pytest.mark.parametrize("cell", [LSTM, GRU, RNN])
def test_through_lengths_resets_layers_and_directions(cell: type) -> None:
    layer = Recurrent(cell, 2, 2, 2, bidirectional=True, skip=True, backend="reference").double()
    lengths = torch.tensor([3, 1])
    reset = torch.tensor([[False, True], [False, False], [True, False]])
    x = normal(3, 2, 2, seed=1).requires_grad_()
    state = random_state(layer, 2, seed=2)

    def function(x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensors(layer(x, state, lengths=lengths, reset=reset)))

    assert gradcheck(function, (x, *state), **DIFFERENCE)


def test_the_check_finds_a_wrong_gradient() -> None:
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a: Tensor) -> Tensor:
            ctx.save_for_backward(a)
            return torch.tanh(a)

        @staticmethod
        def backward(ctx, g: Tensor) -> Tensor:
            (a,) = ctx.saved_tensors
            return g * (1 - torch.tanh(a) ** 2) * 1.0001

    layer = Recurrent(RNN, 2, 3, activation=Wrong.apply, backend="reference").double()
    x = normal(3, 2, 2, seed=1).requires_grad_()
    assert not gradcheck(lambda x: layer(x)[0], (x,), raise_exception=False, **DIFFERENCE)
