"""What the contract suite runs over: every registered cell, variants of options, and odd cells.

A new row in `carousel.cells.REGISTRY` is a case by itself; what it needs besides is its equations in `textbook.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from carousel import Cell
from carousel.cells import GRU, LSTM, REGISTRY, RNN, ConstantErrorCarousel, LeakyRNN, MultiTapRNN, PreActivationRNN
from carousel.nn import Recurrent

from . import user_cells as user
from .odd_cells import (
    DelayOnOne,
    LearnedStart,
    LearnedStartMultiTap,
    MatrixState,
    Noisy,
    Outputless,
    TwoStates,
    WithoutInput,
)

__all__ = ["CASES", "KINKS", "REGISTERED", "SIZES", "Case", "by_name", "fill", "names", "normal"]

KINKS = {"relu": (0.0,), "leaky_relu": (0.0,), "elu": (0.0,), "softsign": (0.0,), "hardtanh": (-1.0, 1.0)}
"""Where an activation or its derivative has no derivative."""

SIZES = [  # dtype, batch, hidden, length: every value occurs, and every length with both precisions
    (torch.float64, 3, 7, 257),
    (torch.float32, 1, 1, 257),
    (torch.float32, 1, 130, 2),
    (torch.float64, 33, 1, 2),
    (torch.float32, 33, 7, 1),
    (torch.float64, 3, 130, 1),
]


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers, the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def fill(module: torch.nn.Module, seed: int = 0) -> None:
    """Give every parameter random numbers, also those that start at zero or one.

    Matrices are scaled to a spectral radius below one, so that a run of 257 steps neither explodes nor shrinks to
    nothing and rounding errors do not grow with the length.
    """
    with torch.no_grad():
        for number, p in enumerate(module.parameters()):
            scale = 0.7 / max(1, p.shape[-1]) ** 0.5 if p.ndim > 1 else 0.5
            p.copy_(scale * normal(*p.shape, seed=1000 * seed + number))


@dataclass(frozen=True)
class Case:
    """A cell class with options.

    Attributes:
        name: shown by pytest.
        cell_class: the class.
        options: a dict, or a function of the hidden size that gives one.
        without_input: the cell has input_size 0.
        draws: the cell draws random numbers for the whole sequence, so that a piece run alone sees others.
    """

    name: str
    cell_class: type[Cell]
    options: dict[str, Any] | Callable[[int], dict[str, Any]]
    without_input: bool = False
    draws: bool = False

    def features(self, wanted: int) -> int:
        """The input size to use where `wanted` is asked for."""
        return 0 if self.without_input else wanted

    def layer(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        dtype: torch.dtype = torch.float64,
        seed: int = 0,
        backend: str = "reference",
        **keywords: Any,
    ) -> Recurrent:
        """A `Recurrent` of this cell with random parameters."""
        options = self.options(hidden_size) if callable(self.options) else self.options
        inputs = self.features(input_size)
        layer = Recurrent(self.cell_class, inputs, hidden_size, num_layers, backend=backend, **keywords, **options)
        fill(layer, seed)
        return layer.to(dtype)

    @property
    def kinks(self) -> tuple[float, ...]:
        """Pre-activations to stay away from in a numerical gradient."""
        options = {} if callable(self.options) else self.options
        return KINKS.get(options.get("activation", ""), ())


def _option(cell_class: type[Cell], **options: Any) -> Case:
    return Case(cell_class.__name__ + "-" + "-".join(f"{k}={v}" for k, v in options.items()), cell_class, options)


REGISTERED = [Case(name, entry.cell_class, entry.options) for name, entry in REGISTRY.items()]

ACTIVATED = ("sigmoid", "hardtanh", "softplus", "elu", "leaky_relu", "identity")

VARIANTS = [
    *(_option(RNN, activation=name) for name in ACTIVATED),
    _option(PreActivationRNN, activation="softplus"),
    _option(PreActivationRNN, activation="relu", bias=False),
    _option(RNN, bias=False),
    _option(GRU, bias=False),
    _option(GRU, bias=False, reset="before"),
    _option(LSTM, bias=False),
    Case("LSTM-projection", LSTM, lambda hidden: {"projection": hidden // 2}),
    Case("LSTM-projection-peephole", LSTM, lambda hidden: {"projection": hidden // 2, "peephole": True}),
    _option(LSTM, peephole=True, coupled=True, layer_norm=True),
    _option(LSTM, layer_norm=True, bias=False),
    _option(ConstantErrorCarousel, forget=False),
    _option(MultiTapRNN, taps=(2,)),
    _option(MultiTapRNN, taps=(1, 3), activation="relu"),
    _option(LeakyRNN, time_constant=3.0, learn_time_constant=False),
    _option(LeakyRNN, activation="relu"),
]

ODD = [
    Case("two-states", TwoStates, {}),
    Case("matrix-state", MatrixState, {}),
    Case("without-input", WithoutInput, {}, without_input=True),
    Case("noisy", Noisy, {}, draws=True),
    Case("learned-start", LearnedStart, {}),
    Case("learned-start-multi-tap", LearnedStartMultiTap, {}),
    Case("delay-on-one-of-two", DelayOnOne, {}),
    Case("output-ignores-state", Outputless, {}),
]

WRITTEN = [
    Case("layer-norm-peephole-lstm", user.LayerNormPeepholeLSTM, {}),
    Case("multiplicative-rnn", user.MultiplicativeRNN, {}),
    Case("highway-rnn", user.HighwayRNN, {}),
    Case("coupled-oscillators", user.CoupledOscillators, {}),
    Case("softmax-rnn", user.SoftmaxRNN, {}),
    Case("three-taps", user.ThreeTaps, {}),
    Case("own-min-gru", user.OwnMinGRU, {}),
    Case("projected-lstm", user.ProjectedLSTM, {}),
    Case("block-gru", user.BlockGRU, {}),
    Case("scalar-state", user.ScalarState, {}),
    Case("bare-scalar", user.BareScalar, {}),
    Case("ignores-input", user.IgnoresInput, {}),
    Case("clamped", user.Clamped, {}),
    Case("root-mean-square", user.RootMeanSquare, {}),
    Case("built-ins", user.BuiltIns, {}),
    Case("masked", user.Masked, {}),
    Case("mode-dependent", user.ModeDependent, {}),
    Case("weight-normed", user.WeightNormed, {}),
    Case("manual-weight-norm", user.ManualWeightNorm, {}),
    Case("fast-weights", user.FastWeights, {}),
    Case("sliced", user.Sliced, {}),
    Case("reductions", user.Reductions, {}),
    Case("smooth-units", user.SmoothUnits, {}),
    Case("exponential-average", user.ExponentialAverage, {}),
    Case("linear-filter", user.LinearFilter, {}),
    Case("zoneout", user.Zoneout, {}, draws=True),
    Case("variational-dropout", user.VariationalDropout, {}, draws=True),
    Case("skip-lstm", user.SkipLSTM, {}),
    Case("tied-weights", user.TiedWeights, {}),
    Case("swapped", user.Swapped, {}),
]

CASES = [*REGISTERED, *VARIANTS, *ODD, *WRITTEN]


def names(cases: list[Case]) -> list[str]:
    """The names, for pytest's `ids`."""
    return [case.name for case in cases]


def by_name(name: str) -> Case:
    """The case of that name."""
    return next(case for case in CASES if case.name == name)
