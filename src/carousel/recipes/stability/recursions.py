r"""The recursions of this recipe as cells, their matrices, and where they go."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import carousel

UNITS, STEPS = 64, 50
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda z: z, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu,
}  # fmt: skip


class Recursion(carousel.Cell):
    """h_t = f(W h_{t-1} + x_t)."""

    def __init__(self, input_size: int, hidden_size: int, matrix: Tensor, function: str):
        super().__init__(input_size, hidden_size)
        self.register_buffer("matrix", matrix)
        self.function = FUNCTIONS[function]

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step."""
        h = self.function(state[0] @ self.get_buffer("matrix").T + x)
        return h, (h,)


class Taps(carousel.Cell):
    """h_t = Σ_k a_k h_{t-k} + x_t."""

    def __init__(self, input_size: int, hidden_size: int, taps: dict[int, float]):
        super().__init__(input_size, hidden_size)
        self.factors, self.delays = tuple(taps.values()), {"h": tuple(taps)}

    def step(self, x: Tensor, state: tuple[tuple[Tensor, ...]]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step."""
        h = sum((a * h for a, h in zip(self.factors, state[0], strict=True)), start=x)
        return h, (h,)


def symmetric(first: float, second: float) -> Tensor:
    """Eigenvalues `first` for (1, 1, …)/√N, `second`, and smaller ones down to none."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(UNITS, UNITS, dtype=torch.float64, generator=generator)
    start[:, 0] = 1
    basis, _ = torch.linalg.qr(start)
    return basis @ torch.diag(torch.tensor([first, *np.linspace(second, 0, UNITS - 1)])) @ basis.T


def turning(modulus: float, degrees: float) -> Tensor:
    """Two dimensions: a turn, times the modulus of its two complex eigenvalues."""
    a = math.radians(degrees)
    return modulus * torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]], dtype=torch.float64)


def response(matrix: Tensor, function: str, start: Tensor, steps: int = STEPS) -> Tensor:
    """(steps + 1, units): the state after the impulse `start`, and then at each step."""
    layer = carousel.nn.Recurrent([Recursion(len(start), len(start), matrix, function)])
    with torch.no_grad():
        states, _ = layer(torch.zeros(steps, 1, len(start), dtype=start.dtype), (start.expand(1, 1, -1),))
    return torch.cat([start[None], states[:, 0]])


def limit(factor: float, function: str, sign: int) -> float:
    """Where c_t = f(λ c_{t-1}) goes from ± 1/√N, by bisection of its fixed point; infinite where it grows for ever."""
    if function == "linear" or function == "relu":
        if function == "relu" and sign < 0:
            return 0.0
        return sign * (0.0 if factor < 1 else math.inf if factor > 1 else UNITS**-0.5)
    if function == "tanh" and factor <= 1:
        return 0.0
    low, high = (1e-9, 1.0) if function == "tanh" else (-1.0, 2.0)
    f = (lambda c: math.tanh(factor * c)) if function == "tanh" else (lambda c: 1 / (1 + math.exp(-factor * c)))
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) > middle else (low, middle)
    return low * (sign if function == "tanh" else 1)
