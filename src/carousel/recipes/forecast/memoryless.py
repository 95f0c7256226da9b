r"""A cell that remembers nothing, so that `carousel train` makes a neural autoregression with it."""

from __future__ import annotations

import torch
from torch import Tensor

import carousel


class Memoryless(carousel.Cell):
    r"""h_t = tanh(W x_t + b): of a window only its last step, and the lags that are read beside it."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.state_sizes = {"h": hidden_size}
        self.w, self.b = carousel.weight(hidden_size, input_size), carousel.weight(hidden_size)

    def step(self, x: Tensor, state: tuple[Tensor]) -> tuple[Tensor, tuple[Tensor]]:
        """One step."""
        h = torch.tanh(x @ self.w.T + self.b)
        return h, (h,)
