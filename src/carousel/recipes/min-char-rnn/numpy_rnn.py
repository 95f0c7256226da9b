r"""The vanilla character network in NumPy alone, forward and backward through time by hand.

With x_t the index of the input character, so that W_x x_t is a column of W_x:

.. math::
    h_t &= \tanh(W_x x_t + W_h h_{t-1} + b), \qquad y_t = W_y h_t + c, \qquad
    L = \sum_t \ln \sum_k e^{y_{t,k}} - y_{t,\text{target}_t}

    \bar y_t &= \mathrm{softmax}(y_t) - e_{\text{target}_t}, \qquad
    δ_t = (1 - h_t^2) ⊙ (W_y^T \bar y_t + W_h^T δ_{t+1}), \quad δ_{T+1} = 0

    \frac{∂L}{∂W_y} &= \sum_t \bar y_t h_t^T, \quad \frac{∂L}{∂c} = \sum_t \bar y_t, \quad
    \frac{∂L}{∂W_h} = \sum_t δ_t h_{t-1}^T, \quad \frac{∂L}{∂W_x} = \sum_t δ_t x_t^T, \quad \frac{∂L}{∂b} = \sum_t δ_t

Adagrad (Duchi, Hazan & Singer, JMLR 12, 2011), element by element, with every g clipped to ±5:

.. math:: m ← m + g^2, \qquad w ← w - η \, g / \sqrt{m}, \qquad m_0 = 10^{-8}

Where others write √(m + 1e-8) with m_0 = 0, this is the same sum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLIP", "EPSILON", "HIDDEN", "RATE", "STEPS", "NumpyRNN", "starting_weights"]

HIDDEN, STEPS, RATE, CLIP, EPSILON = 100, 25, 0.1, 5.0, 1e-8
Array = NDArray[np.float64]
Arrays = dict[str, Array]


def starting_weights(vocabulary: int, hidden: int = HIDDEN, seed: int = 0) -> Arrays:
    """Matrices of 0.01 · N(0, 1), biases of zero, in float64."""
    draw = np.random.default_rng(seed).standard_normal
    matrices = {"Wx": (hidden, vocabulary), "Wh": (hidden, hidden), "Wy": (vocabulary, hidden)}
    return {
        **{name: 0.01 * draw(shape) for name, shape in matrices.items()},
        "b": np.zeros(hidden),
        "c": np.zeros(vocabulary),
    }


class NumpyRNN:
    """Weights, the sums of their squared gradients, and the state that is carried from update to update."""

    def __init__(self, weights: Arrays):
        self.weights = {name: w.copy() for name, w in weights.items()}
        self.squares = {name: np.full_like(w, EPSILON) for name, w in weights.items()}
        self.h = np.zeros(len(weights["b"]))

    def loss_and_gradients(self, x: NDArray[np.intp], target: NDArray[np.intp]) -> tuple[float, Arrays, Array]:
        """The loss summed over the steps, its gradient with the state before them held constant, the last state."""
        Wx, Wh, Wy, b, c = (self.weights[name] for name in ("Wx", "Wh", "Wy", "b", "c"))
        steps = np.arange(len(x))
        h = np.vstack([self.h, Wx.T[x] + b])  # row t+1 is the state after step t
        for t in steps:
            h[t + 1] = np.tanh(h[t + 1] + Wh @ h[t])
        y = h[1:] @ Wy.T + c
        y -= y.max(1, keepdims=True)
        p = np.exp(y)
        total = p.sum(1)
        loss = float((np.log(total) - y[steps, target]).sum())

        dy = p / total[:, None]
        dy[steps, target] -= 1
        delta = dy @ Wy
        for t in steps[::-1]:
            if t + 1 < len(x):
                delta[t] += Wh.T @ delta[t + 1]
            delta[t] *= 1 - h[t + 1] ** 2
        dWx = np.zeros_like(Wx)
        np.add.at(dWx.T, x, delta)
        gradients = {"Wx": dWx, "Wh": delta.T @ h[:-1], "Wy": dy.T @ h[1:], "b": delta.sum(0), "c": dy.sum(0)}
        return loss, gradients, h[-1]

    def step(self, ids: NDArray[np.intp], update: int) -> float:
        """Update number `update` of a pass over the text `ids`; returns the loss before it."""
        if update == 0:
            self.h = np.zeros_like(self.h)
        here = ids[update * STEPS : (update + 1) * STEPS + 1]
        loss, gradients, self.h = self.loss_and_gradients(here[:-1], here[1:])
        for name, g in gradients.items():
            g = np.clip(g, -CLIP, CLIP)
            self.squares[name] += g * g
            self.weights[name] -= RATE * g / np.sqrt(self.squares[name])
        return loss

    def arrays(self) -> Arrays:
        """All that decides how it goes on."""
        return {**self.weights, **{f"squares of {name}": m for name, m in self.squares.items()}, "h": self.h}

    def restore(self, arrays: Arrays) -> None:
        """Go on from `arrays`, which are copied."""
        for name in self.weights:
            self.weights[name] = np.array(arrays[name])
            self.squares[name] = np.array(arrays[f"squares of {name}"])
        self.h = np.array(arrays["h"])
