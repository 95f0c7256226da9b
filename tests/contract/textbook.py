"""Every cell once more, in NumPy: one step function per cell, from the equations of the papers.

The functions know nothing of the torch code but the names and layouts of its parameters. `run` steps them through
time with a full history, from which delayed states are read, where the engine keeps a short line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from carousel import Cell
from carousel.cells import GRU, LSTM, RNN, ConstantErrorCarousel, LeakyRNN, MinGRU, MultiTapRNN, PreActivationRNN

from . import odd_cells as odd

__all__ = ["ACTIVATIONS", "EQUATIONS", "run", "sigma"]

Array = np.ndarray
Weights = dict[str, Array]
State = tuple[Any, ...]
Equations = Callable[[Cell, Weights, Array, State, dict[str, Array]], tuple[Array, tuple[Array, ...]]]


def sigma(a: Array) -> Array:
    """The logistic function."""
    return 1 / (1 + np.exp(-a))


def _erf(a: Array) -> Array:
    from math import erf

    return np.vectorize(erf, otypes=[a.dtype])(a)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": lambda a: np.where(a > 0, a, np.expm1(np.minimum(a, 0))),
    "gelu": lambda a: a * (1 + _erf(a / np.sqrt(2))) / 2,
    "hardtanh": lambda a: np.clip(a, -1, 1),
    "identity": lambda a: a,
    "leaky_relu": lambda a: np.where(a > 0, a, 0.01 * a),
    "relu": lambda a: np.maximum(a, 0),
    "sigmoid": sigma,
    "silu": lambda a: a * sigma(a),
    "softplus": lambda a: np.log1p(np.exp(a)),
    "softsign": lambda a: a / (1 + np.abs(a)),
    "tanh": np.tanh,
}


def _phi(cell: Cell) -> Callable[[Array], Array]:
    return ACTIVATIONS[getattr(cell, "activation", "tanh")]


def _rows(w: Weights, name: str, gates: int) -> list[Array]:
    """The blocks of rows of a stacked matrix or vector; zeros for a bias that is not there."""
    if name not in w:
        return [np.zeros(1)] * gates
    return np.split(w[name], gates, axis=0)


def rnn(cell: Cell, w: Weights, x: Array, state: State, extra: dict[str, Array]):
    """Elman 1990: h_t = φ(W x_t + U h_{t-1} + b)."""
    (h,) = state
    b = w.get("bias_ih", 0) + w.get("bias_hh", 0)
    h = _phi(cell)(x @ w["weight_ih"].T + h @ w["weight_hh"].T + b)
    return h, (h,)


def rnn_preactivation(cell: Cell, w: Weights, x: Array, state: State, extra: dict[str, Array]):
    """Pascanu et al. 2013, eq. (2): h_t = U φ(h_{t-1}) + W x_t + b; what is read out is φ(h_t)."""
    (h,) = state
    b = w.get("bias_ih", 0) + w.get("bias_hh", 0)
    h = _phi(cell)(h) @ w["weight_hh"].T + x @ w["weight_ih"].T + b
    return _phi(cell)(h), (h,)


def _normalized(a: Array, gain: Array, shift: Array | float) -> Array:
    """Ba et al. 2016, eq. (4), with ε = 1e-5 inside the root."""
    centered = a - a.mean(axis=1, keepdims=True)
    return gain * centered / np.sqrt((centered**2).mean(axis=1, keepdims=True) + 1e-5) + shift


def lstm(cell: LSTM, w: Weights, x: Array, state: State, extra: dict[str, Array]):
    """Graves 2013, eqs. (7) to (11), with the options of Sak 2014, Greff 2015 and Ba 2016."""
    h, c = state
    b_x, b_h = w.get("bias_ih", 0.0), w.get("bias_hh", 0.0)
    if cell.layer_norm:
        a = _normalized(x @ w["weight_ih"].T, w["gain_ih"], b_x) + _normalized(h @ w["weight_hh"].T, w["gain_hh"], b_h)
    else:
        a = x @ w["weight_ih"].T + h @ w["weight_hh"].T + b_x + b_h
    n = cell.hidden_size
    p_i, p_f, p_o = (w.get(name, 0.0) for name in ("weight_ci", "weight_cf", "weight_co"))
    a_f, a_g, a_o = a[:, -3 * n : -2 * n], a[:, -2 * n : -n], a[:, -n:]
    f = sigma(a_f + p_f * c)
    i = 1 - f if cell.coupled else sigma(a[:, :n] + p_i * c)
    c = f * c + i * np.tanh(a_g)
    o = sigma(a_o + p_o * c)
    m = o * np.tanh(_normalized(c, w["gain_c"], w["shift_c"]) if cell.layer_norm else c)
    h = m @ w["weight_hr"].T if cell.projection else m
    return h, (h, c)


def constant_error_carousel(cell: ConstantErrorCarousel, w: Weights, x: Array, state: State, extra: dict[str, Array]):
    """Hochreiter & Schmidhuber 1997, section 3.2, gates from the input only; f = 1 without forget gate."""
    (c,) = state
    i, o = sigma(x @ w["wi"].T + w["bi"]), sigma(x @ w["wo"].T + w["bo"])
    f = sigma(x @ w["wf"].T + w["bf"]) if cell.forget else 1.0
    c = f * c + i * np.tanh(x @ w["wg"].T + w["bg"])
    return o * c, (c,)


def gru(cell: GRU, w: Weights, x: Array, state: State, extra: dict[str, Array]):
    """Cho et al. 2014, eqs. (5) to (8), z keeps the old state; reset before the product, or after as in cuDNN."""
    (h,) = state
    (W_r, W_z, W_n), (U_r, U_z, U_n) = _rows(w, "weight_ih", 3), _rows(w, "weight_hh", 3)
    (b_r, b_z, b_n), (d_r, d_z, d_n) = _rows(w, "bias_ih", 3), _rows(w, "bias_hh", 3)
    r = sigma(x @ W_r.T + b_r + h @ U_r.T + d_r)
    z = sigma(x @ W_z.T + b_z + h @ U_z.T + d_z)
    if cell.reset == "after":
        n = np.tanh(x @ W_n.T + b_n + r * (h @ U_n.T + d_n))
    else:
        n = np.tanh(x @ W_n.T + b_n + (r * h) @ U_n.T + d_n)
    h = (1 - z) * n + z * h
    return h, (h,)


def leaky(cell: LeakyRNN, w: Weights, x: Array, state: State, extra: dict[str, Array]):
    """Jaeger et al. 2007: an Euler step of length one of τ dh/dt = -h + φ(W x + U h + b), where θ = ln(τ - 1)."""
    (h,) = state
    tau = 1 + np.exp(w["theta"])
    h = h + (-h + _phi(cell)(x @ w["wx"].T + h @ w["wh"].T + w["b"])) / tau
    return h, (h,)


def min_gru(cell: MinGRU, w: Weights, x: Array, state: State, extra: dict[str, Array]):
    """Feng et al. 2024, section 3.1: h_t = (1 - z_t) h_{t-1} + z_t h̃_t, both from x_t alone."""
    (h,) = state
    z = sigma(x @ w["wz"].T + w["bz"])
    h = (1 - z) * h + z * (x @ w["wh"].T + w["bh"])
    return h, (h,)


def multi_tap(cell: MultiTapRNN, w: Weights, x: Array, state: State, extra: dict[str, Array]):
    """Lin et al. 1996: h_t = φ(W x_t + b + Σ_d U_d h_{t-d}); the U_d stand side by side in `wh`."""
    (taps,) = state
    h = _phi(cell)(x @ w["wx"].T + w["b"] + np.concatenate(taps, axis=1) @ w["wh"].T)
    return h, (h,)


def two_states(cell: Cell, w: Weights, x: Array, state: State, extra: dict[str, Array]):
    """a_t from a_{t-1}, b_{t-1}; b_t from a_t, b_{t-1}."""
    a, b = state
    a = np.tanh(x @ w["ax"].T + a @ w["aa"].T + b @ w["ab"].T)
    b = sigma(a @ w["ba"].T - b @ w["bb"].T)
    return np.concatenate([a * b[:, : a.shape[1]], b[:, -1:]], axis=1), (a, b)


def matrix_state(cell: Cell, w: Weights, x: Array, state: State, extra: dict[str, Array]):
    """M_t = tanh(M_{t-1} A + k v')."""
    (m,) = state
    m = np.tanh(np.einsum("bij,jk->bik", m, w["mix"]) + np.einsum("bi,bj->bij", x @ w["key"].T, x @ w["value"].T))
    return m.reshape(len(m), 12) @ w["read"].T, (m,)


def without_input(cell: Cell, w: Weights, x: Array, state: State, extra: dict[str, Array]):
    """h_t = tanh(W h_{t-1} + b)."""
    (h,) = state
    h = np.tanh(h @ w["wh"].T + w["b"])
    return h, (h,)


def noisy(cell: Cell, w: Weights, x: Array, state: State, extra: dict[str, Array]):
    """Rows of U have norm one; noise of the step on the pre-activation."""
    (h,) = state
    U = w["wh"] / np.sqrt((w["wh"] ** 2).sum(axis=1, keepdims=True))
    h = np.tanh(x @ w["wx"].T + h @ U.T + 0.1 * extra["noise"])
    return h, (h,)


def delay_on_one(cell: Cell, w: Weights, x: Array, state: State, extra: dict[str, Array]):
    """a_t sees b_{t-3}; b_t sees a_t and b_{t-2}."""
    a, (b3, b2) = state
    a = np.tanh(x @ w["ax"].T + a @ w["aa"].T + b3 @ w["b3"].T)
    b = sigma(a @ w["ba"].T + b2 @ w["b2"].T)
    return a, (a, b)


def output_ignores_state(cell: Cell, w: Weights, x: Array, state: State, extra: dict[str, Array]):
    """A clock that no weight touches, and an output from x alone."""
    clock, h = state
    return x @ w["wx"].T, (clock + 0.25, np.tanh(x @ w["wx"].T + h @ w["wh"].T) * np.cos(clock))


EQUATIONS: dict[type[Cell], Equations] = {
    RNN: rnn,
    PreActivationRNN: rnn_preactivation,
    LSTM: lstm,
    ConstantErrorCarousel: constant_error_carousel,
    GRU: gru,
    LeakyRNN: leaky,
    MinGRU: min_gru,
    MultiTapRNN: multi_tap,
    odd.TwoStates: two_states,
    odd.MatrixState: matrix_state,
    odd.WithoutInput: without_input,
    odd.Noisy: noisy,
    odd.LearnedStart: rnn,
    odd.LearnedStartMultiTap: multi_tap,
    odd.DelayOnOne: delay_on_one,
    odd.Outputless: output_ignores_state,
}  # pyright: ignore[reportAssignmentType]


def run(
    cell: Cell, x: Array, state: tuple[Array, ...], per_step: dict[str, Array] | None = None
) -> tuple[Array, tuple[Array, ...]]:
    """All steps in float64.

    Args:
        cell: whose parameters are read.
        x: (time, batch, input_size).
        state: (batch, *shape) each; with delays (depth, batch, *shape), the newest first.
        per_step: arrays with time first, as `begin` gives.

    Returns:
        The outputs (time, batch, output_size) and the last state in the layout of `state`.
    """
    step = EQUATIONS[type(cell)]
    w = {name: p.detach().double().numpy() for name, p in cell.named_parameters()}
    delays = [cell.delays.get(name) for name in cell.state_sizes]
    history = [list(s[::-1]) if taps else [s] for s, taps in zip(state, delays, strict=True)]  # the newest last
    outputs = []
    for t, x_t in enumerate(x.astype(np.float64)):
        seen = tuple(tuple(h[-d] for d in taps) if taps else h[-1] for h, taps in zip(history, delays, strict=True))
        output, new = step(cell, w, x_t, seen, {name: v[t] for name, v in (per_step or {}).items()})
        outputs.append(output)
        for h, n in zip(history, new, strict=True):
            h.append(n)
    last = tuple(
        np.stack([h[-d] for d in range(1, max(taps) + 1)]) if taps else h[-1]
        for h, taps in zip(history, delays, strict=True)
    )
    return np.stack(outputs), last
