"""Cells that no one would train, each odd in one way that the contract of `carousel.Cell` allows."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from carousel import Cell, weight
from carousel.cells import RNN, MultiTapRNN

__all__ = [
    "DelayOnOne",
    "LearnedStart",
    "LearnedStartMultiTap",
    "MatrixState",
    "Noisy",
    "Outputless",
    "TwoStates",
    "WithoutInput",
]


class TwoStates(Cell):
    """Two coupled states of different sizes; the second sees the new first; the output is neither of them."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        other = 2 * hidden_size + 1
        self.state_sizes = {"a": hidden_size, "b": other}
        self.output_size = hidden_size + 1
        self.ax, self.aa, self.ab = (
            weight(hidden_size, input_size),
            weight(hidden_size, hidden_size),
            weight(hidden_size, other),
        )
        self.ba, self.bb = weight(other, hidden_size), weight(other, other)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        a, b = state
        a = torch.tanh(x @ self.ax.T + a @ self.aa.T + b @ self.ab.T)
        b = torch.sigmoid(a @ self.ba.T - b @ self.bb.T)
        return torch.cat([a * b[:, : self.hidden_size], b[:, -1:]], dim=1), (a, b)


class MatrixState(Cell):
    """A state of shape (3, 4), written by an outer product and read by a linear map."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.state_sizes = {"m": (3, 4)}
        self.key, self.value = weight(3, input_size), weight(4, input_size)
        self.mix, self.read = weight(4, 4), weight(hidden_size, 12)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (m,) = state
        m = torch.tanh(m @ self.mix + (x @ self.key.T).unsqueeze(2) * (x @ self.value.T).unsqueeze(1))
        return m.flatten(1) @ self.read.T, (m,)


class WithoutInput(Cell):
    """h_t = tanh(W h_{t-1} + b), for input_size 0 (it sees an input where it has one, as a second layer does)."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.wx, self.wh, self.b = (
            weight(hidden_size, input_size),
            weight(hidden_size, hidden_size),
            weight(hidden_size),
        )

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (h,) = state
        h = torch.tanh(x @ self.wx.T + h @ self.wh.T + self.b)
        return h, (h,)


class Noisy(Cell):
    """A constant (rows of W scaled to norm one) and numbers per step (noise on the pre-activation) from `begin`."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.wx, self.wh = weight(hidden_size, input_size), weight(hidden_size, hidden_size)

    def begin(
        self, time: int, batch: int, generator: torch.Generator | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        w = self.wh / self.wh.norm(dim=1, keepdim=True)
        noise = torch.randn(time, batch, self.hidden_size, generator=generator).to(w.dtype)  # alike in both precisions
        return {"w": w}, {"noise": noise}

    def step(self, x: Tensor, state: tuple[Tensor, ...], extra: dict[str, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (h,) = state
        h = torch.tanh(x @ self.wx.T + h @ extra["w"].T + 0.1 * extra["noise"])
        return h, (h,)


class LearnedStart(RNN):
    """A vanilla network whose first state is a parameter."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.h0 = weight(hidden_size)

    def initial_state(self, batch: int, *, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
        return (self.h0.expand(batch, -1),)


class LearnedStartMultiTap(MultiTapRNN):
    """Taps {1, 5, 8}, and a delay line that starts full of a parameter."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size, taps=(1, 5, 8))
        self.h0 = weight(hidden_size)

    def initial_state(self, batch: int, *, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
        return (self.h0.expand(batch, -1),)


class DelayOnOne(Cell):
    """Two states; the second is seen two and three steps late and never at once, the first as usual."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.state_sizes = {"a": hidden_size, "b": 2}
        self.delays = {"b": (3, 2)}
        self.ax, self.aa, self.b3 = (
            weight(hidden_size, input_size),
            weight(hidden_size, hidden_size),
            weight(hidden_size, 2),
        )
        self.b2, self.ba = weight(2, 2), weight(2, hidden_size)

    def step(self, x: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        a, (b3, b2) = state
        a = torch.tanh(x @ self.ax.T + a @ self.aa.T + b3 @ self.b3.T)
        b = torch.sigmoid(a @ self.ba.T + b2 @ self.b2.T)
        return a, (a, b)


class Outputless(Cell):
    """The output does not depend on the state at all, and one state depends on nothing but itself."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.state_sizes = {"clock": 1, "h": hidden_size}
        self.wx, self.wh = weight(hidden_size, input_size), weight(hidden_size, hidden_size)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        clock, h = state
        h = torch.tanh(x @ self.wx.T + h @ self.wh.T) * torch.cos(clock)
        return F.linear(x, self.wx), (clock + 0.25, h)
