r"""minGRU: a recurrence that is linear and diagonal in its state, so that it can run as a parallel scan.

Feng, Tung, Ahmed, Bengio & Hajimirsadeghi, "Were RNNs all we needed?", 2024, section 3.1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Cell
from .weights import weight

__all__ = ["MinGRU"]


class MinGRU(Cell):
    r"""The gate sees the input only.

    .. math::
        z_t &= σ(W_z x_t + b_z) \\
        h_t &= (1 - z_t) ⊙ h_{t-1} + z_t ⊙ (W_h x_t + b_h)

    Here z near one takes the new value (the paper's convention; `GRU` has it the other way round).

    Args:
        input_size: features per step.
        hidden_size: units.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.wz, self.bz = weight(hidden_size, input_size), weight(hidden_size)
        self.wh, self.bh = weight(hidden_size, input_size), weight(hidden_size)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (h,) = state
        z = torch.sigmoid(F.linear(x, self.wz, self.bz))
        h = (1 - z) * h + z * F.linear(x, self.wh, self.bh)
        return h, (h,)
