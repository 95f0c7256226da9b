"""An LSTM with a feed-forward layer behind it: stacked, its layers alternate with recurrent ones."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import carousel

LSTM = {"coupled": True, "layer_norm": True}
"""The LSTM of all networks here: input gate 1 - f, layer norm (what `carousel train` takes by default)."""


class LSTMAndLayer(carousel.Cell):
    r"""(h_t, c_t) = LSTM(x_t, h_{t-1}, c_{t-1}), y_t = max(0, A h_t + b); the recurrence goes through h, not y."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.lstm = carousel.cells.LSTM(input_size, hidden_size, **LSTM)
        self.state_sizes = self.lstm.state_sizes
        self.a, self.b = carousel.weight(hidden_size, hidden_size), carousel.weight(hidden_size)

    def step(self, x: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        h, state = self.lstm.step(x, state)
        return torch.relu(F.linear(h, self.a, self.b)), state
