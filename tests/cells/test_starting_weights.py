"""`carousel.weight` and the starting values of the cells: the distributions that the docstrings state.

Samples are tested against their distribution with five standard errors: for n draws of variance v, √(v/n) for the mean
and √((kurtosis - 1) v²/n) for the variance, with kurtosis 9/5 for the uniform and 3 for the normal distribution. The
seed is fixed, so that a test that passes does so always.
"""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor, nn

import carousel
from carousel import CarouselError, weight
from carousel.cells import GRU, LSTM, RNN, LeakyRNN
from carousel.errors import UsageError


def _assert_uniform(w: Tensor, bound: float) -> None:
    assert w.abs().max() <= bound
    _assert_moments(w, bound**2 / 3, 9 / 5)


def _assert_moments(w: Tensor, variance: float, kurtosis: float) -> None:
    w = w.detach().double()
    assert abs(w.mean().item()) < 5 * math.sqrt(variance / w.numel())
    assert abs(w.var().item() - variance) < 5 * variance * math.sqrt((kurtosis - 1) / w.numel())


def test_auto_and_uniform() -> None:
    for w in (weight(300, 200), weight(300, 200, init="auto"), weight(300, 200, init="uniform")):
        _assert_uniform(w, 1 / math.sqrt(200))
    assert not weight(50).any()
    assert not weight().any()
    _assert_uniform(weight(2000, init="uniform"), 1 / math.sqrt(2000))


def test_named_schemes() -> None:
    _assert_uniform(weight(300, 200, init="xavier"), math.sqrt(6 / 500))
    _assert_moments(weight(300, 200, init="he"), 2 / 200, 3)
    _assert_moments(weight(300, 200, init="normal"), 0.01**2, 3)
    assert torch.equal(weight(3, 4, init="identity"), torch.eye(3, 4))
    assert torch.equal(weight(3, 4, init="zeros"), torch.zeros(3, 4))
    assert torch.equal(weight(3, 4, init="ones"), torch.ones(3, 4))


def test_orthogonal() -> None:
    tall, wide = weight(120, 60, init="orthogonal"), weight(60, 120, init="orthogonal")
    for gram in (tall.T @ tall, wide @ wide.T):
        # Sums of at most 120 products in float32, of columns that are themselves orthogonal to rounding only.
        assert torch.allclose(gram, torch.eye(60), atol=120 * 1.2e-7, rtol=0)


def test_numbers_and_functions() -> None:
    assert torch.equal(weight(3, init=1), torch.ones(3))
    assert torch.equal(weight(2, 2, init=-0.25), torch.full((2, 2), -0.25))
    assert torch.equal(weight(3, init=lambda w: w.copy_(torch.arange(3.0))), torch.arange(3.0))
    _assert_uniform(weight(300, 200, init=nn.init.xavier_uniform_), math.sqrt(6 / 500))


def test_it_is_a_parameter_of_the_default_type() -> None:
    w = weight(2, 3)
    assert isinstance(w, nn.Parameter)
    assert w.requires_grad
    assert w.is_leaf
    assert w.dtype == torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert weight(2, 3).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("init", ["auto", "uniform", "orthogonal", "he", "xavier", "normal"])
def test_empty_matrices(init: str) -> None:
    assert weight(3, 0, init=init).shape == (3, 0)


def test_the_seed_decides() -> None:
    torch.manual_seed(4)
    a, b = weight(3, 4), weight(3, 4)
    torch.manual_seed(4)
    assert torch.equal(weight(3, 4), a)
    assert not torch.equal(a, b)


def test_unknown_scheme() -> None:
    with pytest.raises(UsageError, match=r"init='xaver'; the schemes are auto, he, identity, normal, .*, zeros"):
        weight(3, 4, init="xaver")
    assert issubclass(UsageError, CarouselError)


@pytest.mark.parametrize("init", ["he", "identity", "orthogonal", "xavier"])
def test_schemes_for_matrices_refuse_vectors(init: str) -> None:
    for shape in ((), (3,)):
        with pytest.raises(UsageError, match=rf"init='{init}' and the shape {re.escape(str(shape))}; .* for matrices"):
            weight(*shape, init=init)


@pytest.mark.parametrize("cell", [LSTM, GRU, RNN])
def test_cells_with_torchs_layout_draw_everything_from_one_over_the_root_of_the_width(cell: type) -> None:
    options = {"forget_bias": None} if cell is LSTM else {}
    made = cell(30, 100, **options)
    for parameter in made.parameters():
        assert parameter.abs().max() <= 0.1
    _assert_uniform(torch.cat([p.flatten() for p in made.parameters()]), 0.1)


def test_forget_bias() -> None:
    cell = LSTM(5, 50)
    assert torch.equal(cell.bias_ih[50:100], torch.ones(50))
    assert torch.equal(cell.bias_hh[50:100], torch.zeros(50))
    for part in (slice(0, 50), slice(100, 200)):
        _assert_uniform(torch.cat([cell.bias_ih[part], cell.bias_hh[part]]), 1 / math.sqrt(50))
    coupled = LSTM(5, 50, coupled=True, forget_bias=2.5)
    assert coupled.bias_ih.shape == (150,)
    assert torch.equal(coupled.bias_ih[:50], torch.full((50,), 2.5))
    assert torch.equal(coupled.bias_hh[:50], torch.zeros(50))
    assert (coupled.bias_ih[50:] < 1).all()
    assert LSTM(5, 50, bias=False).bias_ih is None
    drop_in = carousel.nn.LSTM(5, 50, forget_bias=1.0)
    assert torch.equal(drop_in.bias_ih_l0[50:100], torch.ones(50))


def test_options_add_parameters_that_start_without_effect() -> None:
    cell = LSTM(3, 4, peephole=True, layer_norm=True)
    assert not cell.weight_ci.any()
    assert not cell.weight_cf.any()
    assert not cell.weight_co.any()
    assert not cell.shift_c.any()
    for gain in (cell.gain_ih, cell.gain_hh, cell.gain_c):
        assert torch.equal(gain, torch.ones_like(gain))
    assert not hasattr(LSTM(3, 4, peephole=True, coupled=True), "weight_ci")


@pytest.mark.parametrize("tau", [1.001, 2.0, 50.0])
def test_time_constant(tau: float) -> None:
    cell = LeakyRNN(3, 4, time_constant=tau)
    # a = 1 - 1/τ in float32, where θ = ln(τ - 1) has an error of its own of |θ| roundings
    assert torch.allclose(torch.sigmoid(cell.theta), torch.full((4,), 1 - 1 / tau), atol=8 * 1.2e-7, rtol=0)
    assert cell.theta.requires_grad
    assert not LeakyRNN(3, 4, learn_time_constant=False).theta.requires_grad
