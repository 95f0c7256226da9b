r"""What a recurrence does with an impulse: :math:`h_t = f(W h_{t-1})` after one input, and then none.

Linear recursions have a closed form, :math:`h_t = \sum_i λ_i^t (u_i^T h_0) u_i`; for the others (1, 1, …)/√N is made an
eigenvector of the matrix, so that a start there follows a recursion of one number, :math:`c_t = f(λ c_{t-1})`.
Source: the lecture on stability of "Introduction to Deep Learning" (CMU 11-785), slides "linear systems", "exponential
behavior" and "how about non-linearities".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

import carousel

UNITS, STEPS = 64, 50
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda z: z, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu,
}  # fmt: skip
LARGEST, SECOND = (0.9, 1.0, 1.1), (0.5, 0.1)
TAPS = {"0.5 h(t-1) + 0.25 h(t-5)": {1: 0.5, 5: 0.25}, "… + 0.1 h(t-8)": {1: 0.5, 5: 0.25, 8: 0.1}}
CLOSED = "closed form, derived on this page"


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


def linear(recipe: carousel.recipes.Recipe) -> None:
    """The linear recursion against its closed form, and what decides."""
    generator = torch.Generator().manual_seed(1)
    start, worst, figure = torch.randn(UNITS, dtype=torch.float64, generator=generator), 0.0, Figure((9, 3.2))
    axes = figure.subplots(1, 2)
    for first, second in itertools.product(LARGEST, SECOND):
        matrix = symmetric(first, second)
        values, vectors = torch.linalg.eigh(matrix)
        exact = torch.stack([vectors @ (values**t * (vectors.T @ start)) for t in range(STEPS + 1)])
        found = response(matrix, "linear", start)
        worst = max(worst, float((found - exact).norm(dim=1).max() / exact.norm(dim=1).max()))
        axes[0].semilogy(found.norm(dim=1), "-" if second == SECOND[0] else "--", label=f"λ = {first}, {second}")
    recipe.claim(
        "linear, six matrices: relative difference from Σ λᵢᵗ(uᵢᵀh₀)uᵢ", "< 1e-12", worst, worst < 1e-12, CLOSED
    )
    for modulus in LARGEST:
        matrix, steps = turning(modulus, 25), 40
        found = response(matrix, "linear", torch.tensor([1.0, 0.0], dtype=torch.float64), steps)
        axes[1].plot(found[:, 0], label=f"|λ| = {modulus}")
        size = float(found[-1].norm())
        exact = modulus**steps
        recipe.claim(f"complex pair of modulus {modulus}: ‖h‖ after {steps} steps", round(exact, 6), size,
                     math.isclose(size, exact, rel_tol=1e-12), CLOSED)  # fmt: skip
    for what, matrix, grows in (
        ("real part -1.1", torch.diag(torch.tensor([-1.1, 0.2], dtype=torch.float64)), True),
        ("real part 0.1, modulus 1.1", turning(1.1, math.degrees(math.acos(0.1 / 1.1))), True),
        ("real part 0.95, modulus 0.95", torch.diag(torch.tensor([0.95, 0.2], dtype=torch.float64)), False),
    ):
        size = float(response(matrix, "linear", torch.tensor([1.0, 0.0], dtype=torch.float64), 200)[-1].norm())
        recipe.claim(f"largest eigenvalue of {what}: ‖h‖ after 200 steps", "> 1e6" if grows else "< 1e-4", size,
                     size > 1e6 if grows else size < 1e-4, "|λ|^200: the modulus decides")  # fmt: skip
    for ax, title in zip(
        axes, ("linear: ‖h‖ (second eigenvalue 0.5 -, 0.1 --)", "complex: first element"), strict=True
    ):
        ax.set(title=title, xlabel="steps after the impulse")
        ax.legend(fontsize=7)
    figure.tight_layout()
    recipe.figure(figure, "linear.svg")


def non_linear(recipe: carousel.recipes.Recipe) -> str:
    """Each function from ± (1, 1, …)/√N: curves, and a table of limits."""
    figure = Figure((9, 5.4))
    grid, one = figure.subplots(2, 3, sharex=True), torch.ones(UNITS, dtype=torch.float64) / UNITS**0.5
    lines, worst = [f"{'function':10}{'λ':>6}{'start':>10}{'limit':>14}{'after 100,000 steps':>22}"], 0.0
    for (row, sign), (column, function) in itertools.product(
        enumerate((1, -1)), enumerate(("sigmoid", "tanh", "relu"))
    ):
        for first in LARGEST:
            found = response(symmetric(first, 0.5), function, sign * one)
            grid[row, column].plot(found.mean(1), label=f"λ = {first}")
            many = response(torch.tensor([[first]], dtype=torch.float64), function, sign * one[:1], 100_000)
            end, exact = float(many[-1, 0]), limit(first, function, sign)
            lines.append(f"{function:10}{first:6}{sign:>+7}/√N{exact:>14.6f}{end:>22.6f}")
            away = 0.0 if math.isinf(exact) and end == exact else abs(end - exact)
            worst = max(worst, away)
        grid[row, column].set(title=f"{function} from {'+' if sign > 0 else '-'}1/√N", ylim=(-1.1, 1.1))
    grid[0, 0].legend(fontsize=7)
    recipe.claim("sigmoid, tanh, ReLU, three λ, two starts: distance from the limits", "< 0.01", worst, worst < 0.01,
                 "fixed points of c = f(λc); the slowest, tanh at λ = 1, is √(3/2t) away: 0.004")  # fmt: skip
    slow = float(response(torch.ones(1, 1, dtype=torch.float64), "tanh", one[:1], 100_000)[-1, 0]) * math.sqrt(2e5 / 3)
    recipe.claim("tanh at λ = 1: c_t √(2t/3) at t = 100,000", 1, slow, abs(slow - 1) < 0.01, "tanh c = c - c³/3 + …")
    silent = float(response(symmetric(1.1, 0.5), "relu", -one)[1:].abs().max())
    recipe.claim("ReLU from -1/√N: largest |h| afterwards", 0, silent, silent == 0, "ReLU(λc) = 0 for c < 0")
    figure.tight_layout()
    recipe.figure(figure, "non-linear.svg")
    return "\n".join(lines)


def multi_tap(recipe: carousel.recipes.Recipe) -> None:
    """Recursions that look further back: the largest root of z^k = Σ a_i z^(k-i) decides."""
    figure, steps = Figure((6, 3.2)), 400
    ax = figure.subplots()
    for name, taps in TAPS.items():
        layer, impulse = (
            carousel.nn.Recurrent([Taps(1, 1, taps).double()]),
            torch.zeros(steps, 1, 1, dtype=torch.float64),
        )
        impulse[0] = 1
        with torch.no_grad():
            h = layer(impulse)[0][:, 0, 0]
        polynomial = np.zeros(max(taps) + 1)
        polynomial[0], polynomial[list(taps)] = 1, [-a for a in taps.values()]
        root = float(abs(np.roots(polynomial)).max())
        rate = float((h[-1] / h[-101]) ** 0.01)
        recipe.claim(f"{name}: factor per step, late", round(root, 9), rate, abs(rate - root) < 1e-9,
                     "largest root of the characteristic polynomial")  # fmt: skip
        ax.semilogy(h[:80], label=f"{name}, largest root {root:.4f}")
    ax.semilogy([0.5**t for t in range(30)], ":", label="0.5 h(t-1) alone")
    ax.set(xlabel="steps after the impulse", title="response of multi-tap recursions")
    ax.legend(fontsize=7)
    figure.tight_layout()
    recipe.figure(figure, "multi-tap.svg")


def run(recipe: carousel.recipes.Recipe) -> None:
    """All three; it takes seconds, also as a whole."""
    linear(recipe)
    table = non_linear(recipe)
    multi_tap(recipe)
    recipe.text(table + "\n", "limits.txt")
    recipe.say(table)
