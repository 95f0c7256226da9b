"""Every named activation against its definition, on a grid that holds its kinks."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from carousel.cells import ACTIVATIONS, GRU, RNN
from carousel.cells.activations import activation
from carousel.nn import Recurrent


def _sigma(a: float) -> float:
    return 1 / (1 + math.exp(-a))


DEFINITIONS: dict[str, Callable[[float], float]] = {
    "elu": lambda a: a if a > 0 else math.expm1(a),
    "gelu": lambda a: a * 0.5 * (1 + math.erf(a / math.sqrt(2))),
    "hardtanh": lambda a: min(max(a, -1.0), 1.0),
    "identity": lambda a: a,
    "leaky_relu": lambda a: max(a, 0.01 * a),
    "relu": lambda a: max(a, 0.0),
    "sigmoid": _sigma,
    "silu": lambda a: a * _sigma(a),
    "softplus": lambda a: math.log1p(math.exp(a)),
    "softsign": lambda a: a / (1 + abs(a)),
    "tanh": math.tanh,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_definition(name: str) -> None:
    grid = torch.linspace(-8, 8, 65, dtype=torch.float64)
    expected = torch.tensor([DEFINITIONS[name](a) for a in grid.tolist()], dtype=torch.float64)
    # Two implementations of exp, erf and tanh, each good to a few roundings of values up to 8.
    assert torch.allclose(ACTIVATIONS[name](grid), expected, atol=8 * 4 * 2.2e-16, rtol=0)


def test_there_are_no_others() -> None:
    assert set(ACTIVATIONS) == set(DEFINITIONS)


def test_a_function_is_taken_as_it_is() -> None:
    assert activation(F.mish) is F.mish
    layer = Recurrent(RNN, 2, 3, activation=F.mish)
    assert layer(torch.zeros(2, 1, 2))[0].shape == (2, 1, 3)


def test_the_function_decides_whether_there_is_a_kernel_not_the_name() -> None:
    assert RNN(2, 3, activation=torch.tanh).aten() is not None
    assert RNN(2, 3, activation=torch.relu).aten() is not None
    assert RNN(2, 3, activation=F.relu).aten() is None  # the same numbers, another function: the loop runs it
    assert RNN(2, 3, activation="sigmoid").aten() is None
    assert GRU(2, 3, reset="before").aten() is None
