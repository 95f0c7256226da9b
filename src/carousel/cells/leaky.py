r"""Leaky integrator units: the continuous-time recurrent network, stepped by Euler's method.

Jaeger, Lukoševičius, Popovici & Siewert, "Optimization and applications of echo state networks with leaky-integrator
neurons", Neural Networks 20 (2007); Funahashi & Nakamura, Neural Networks 6 (1993).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CellError
from .activations import Activation
from .activations import activation as resolve
from .base import Cell
from .weights import weight

__all__ = ["LeakyRNN"]


class LeakyRNN(Cell):
    r"""τ dh/dt = -h + φ(W_x x + W_h h + b), in Euler steps of length one.

    .. math:: h_t = a ⊙ h_{t-1} + (1 - a) ⊙ φ(W_x x_t + W_h h_{t-1} + b), \qquad a = 1 - 1/τ = σ(θ)

    Args:
        input_size: features per step.
        hidden_size: units.
        time_constant: τ at the start, in steps, above 1; the same for all units.
        learn_time_constant: let each unit learn its own τ (through θ, so that τ stays above 1).
        activation: φ, a name of `ACTIVATIONS` or a function of a tensor.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        time_constant: float = 2.0,
        learn_time_constant: bool = True,
        activation: Activation = "tanh",
    ):
        super().__init__(input_size, hidden_size)
        if not time_constant > 1:
            raise CellError(f"LeakyRNN got time_constant={time_constant}; it is counted in steps and must be above 1.")
        self.activation = activation
        self.phi = resolve(activation)
        self.wx, self.b = weight(hidden_size, input_size), weight(hidden_size)
        self.wh = weight(hidden_size, hidden_size)
        self.theta = weight(hidden_size, init=math.log(time_constant - 1)).requires_grad_(learn_time_constant)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (h,) = state
        a = torch.sigmoid(self.theta)
        h = a * h + (1 - a) * self.phi(F.linear(x, self.wx, self.b) + F.linear(h, self.wh))
        return h, (h,)
