r"""Backpropagation through time of the peephole LSTM, derived by hand.

The forward pass of one step, for a row vector x and row-wise weights (Graves 2013, eqs. (7) to (11)):

    a_i = x W_i' + h' U_i' + p_i ⊙ c' + b_i       i = σ(a_i)          h' = h_{t-1}, c' = c_{t-1}
    a_f = x W_f' + h' U_f' + p_f ⊙ c' + b_f       f = σ(a_f)
    a_g = x W_g' + h' U_g'            + b_g       g = tanh(a_g)
    c   = f ⊙ c' + i ⊙ g
    a_o = x W_o' + h' U_o' + p_o ⊙ c  + b_o       o = σ(a_o)
    h   = o ⊙ tanh(c)

Write dv for the *total* derivative ∂L/∂v: along every path from v to the loss, through all later steps.

h_t goes to the loss as the output y_t, and into the four sums of step t+1:

    dh_t = dy_t + Σ_{k ∈ {i,f,g,o}} da_k(t+1) U_k                                                          (1)

and at the last step what the loss asks of the final state comes in place of the sum. Then, going back through
h = o ⊙ tanh(c) and σ' = σ(1 - σ):

    da_o = dh ⊙ tanh(c) ⊙ o ⊙ (1 - o)                                                                      (2)

c_t has five ways to the loss: through tanh into h_t, through the peephole into its own step's output gate, through
the carousel into c_{t+1}, and through the peepholes into the next step's input and forget gates:

    dc_t = dh_t ⊙ o ⊙ (1 - tanh²(c)) + p_o ⊙ da_o                                                          (3)
           + f(t+1) ⊙ dc_{t+1} + p_i ⊙ da_i(t+1) + p_f ⊙ da_f(t+1)

with the loss's derivative for the final state in place of the second line at the last step. From c = f ⊙ c' + i ⊙ g:

    da_i = dc ⊙ g  ⊙ i ⊙ (1 - i)                                                                           (4)
    da_f = dc ⊙ c' ⊙ f ⊙ (1 - f)                                                                           (5)
    da_g = dc ⊙ i  ⊙ (1 - g²)                                                                              (6)

The weights are used at every step and for every row of the batch, so their derivatives are sums over both:

    dW_k = Σ da_k' x      dU_k = Σ da_k' h'      db_k = Σ da_k                                             (7)
    dp_i = Σ da_i ⊙ c'    dp_f = Σ da_f ⊙ c'     dp_o = Σ da_o ⊙ c                                         (8)

The input of a step has the four sums as its only way: dx_t = Σ_k da_k W_k. The initial states h_0, c_0 are as any
others, without output: dh_0 is the sum in (1), dc_0 the second line of (3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Backward", "peephole_backward"]

Array = np.ndarray


@dataclass
class Backward:
    """The outputs of the forward pass and all total derivatives; gates in the order i, f, g, o along the last axis."""

    y: Array
    c_last: Array
    dh: Array
    dc: Array
    da: Array
    dx: Array
    dh0: Array
    dc0: Array
    weights: dict[str, Array]


def _sigma(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def peephole_backward(
    w: dict[str, Array], x: Array, h0: Array, c0: Array, dy: Array, dh_last: Array, dc_last: Array
) -> Backward:
    """Forward and backward pass.

    Args:
        w: weight_ih (4n, inputs), weight_hh (4n, n), bias_ih, bias_hh (4n), weight_ci, weight_cf, weight_co (n).
        x: (time, batch, inputs).
        h0: (batch, n).
        c0: (batch, n).
        dy: what the loss asks of every output, (time, batch, n).
        dh_last: what it asks of the final h besides, (batch, n).
        dc_last: the same for c.
    """
    time, batch, _ = x.shape
    n = h0.shape[1]
    W, U, b = w["weight_ih"], w["weight_hh"], w["bias_ih"] + w["bias_hh"]
    p_i, p_f, p_o = w["weight_ci"], w["weight_cf"], w["weight_co"]

    h, c = np.empty((time + 1, batch, n)), np.empty((time + 1, batch, n))  # h[t + 1] follows x[t]
    i, f, g, o = (np.empty((time, batch, n)) for _ in range(4))
    h[0], c[0] = h0, c0
    for t in range(time):
        a = x[t] @ W.T + h[t] @ U.T + b
        i[t] = _sigma(a[:, :n] + p_i * c[t])
        f[t] = _sigma(a[:, n : 2 * n] + p_f * c[t])
        g[t] = np.tanh(a[:, 2 * n : 3 * n])
        c[t + 1] = f[t] * c[t] + i[t] * g[t]
        o[t] = _sigma(a[:, 3 * n :] + p_o * c[t + 1])
        h[t + 1] = o[t] * np.tanh(c[t + 1])

    dh, dc = np.empty((time, batch, n)), np.empty((time, batch, n))
    da = np.empty((time, batch, 4 * n))
    from_later_h, from_later_c = dh_last, dc_last
    for t in reversed(range(time)):
        tanh_c = np.tanh(c[t + 1])
        dh[t] = dy[t] + from_later_h  # (1)
        da_o = dh[t] * tanh_c * o[t] * (1 - o[t])  # (2)
        dc[t] = dh[t] * o[t] * (1 - tanh_c**2) + p_o * da_o + from_later_c  # (3)
        da_i = dc[t] * g[t] * i[t] * (1 - i[t])  # (4)
        da_f = dc[t] * c[t] * f[t] * (1 - f[t])  # (5)
        da_g = dc[t] * i[t] * (1 - g[t] ** 2)  # (6)
        da[t] = np.concatenate([da_i, da_f, da_g, da_o], axis=1)
        from_later_h = da[t] @ U
        from_later_c = f[t] * dc[t] + p_i * da_i + p_f * da_f

    bias = da.sum((0, 1))
    weights = {
        "weight_ih": np.einsum("tbk,tbi->ki", da, x),  # (7)
        "weight_hh": np.einsum("tbk,tbj->kj", da, h[:-1]),
        "bias_ih": bias,
        "bias_hh": bias,
        "weight_ci": (da[..., :n] * c[:-1]).sum((0, 1)),  # (8)
        "weight_cf": (da[..., n : 2 * n] * c[:-1]).sum((0, 1)),
        "weight_co": (da[..., 3 * n :] * c[1:]).sum((0, 1)),
    }
    return Backward(h[1:], c[-1], dh, dc, da, da @ W, from_later_h, from_later_c, weights)
