r"""A network without memory but its last inputs: as a cell, so that `carousel train` trains it like any other."""

from __future__ import annotations

import torch
from torch import Tensor

import carousel


class TimeDelay(carousel.Cell):
    r"""h_t = tanh(W (x_t, x_{t-1} … x_{t-n}) + b): with an output layer, a neural autoregression of order n + 1."""

    def __init__(self, input_size: int, hidden_size: int, *, order: int = 23):
        super().__init__(input_size, hidden_size)
        self.state_sizes, self.delays = {"x": input_size}, {"x": tuple(range(1, order + 1))}
        self.w = carousel.weight(hidden_size, (order + 1) * input_size)
        self.b = carousel.weight(hidden_size)

    def step(self, x: Tensor, state: tuple[tuple[Tensor, ...]]) -> tuple[Tensor, tuple[Tensor]]:
        """One step."""
        (past,) = state
        return torch.tanh(torch.cat([x, *past], -1) @ self.w.T + self.b), (x,)
