r"""What a recurrence does with an impulse: :math:`h_t = f(W h_{t-1})` after one input, and then none.

Linear recursions have a closed form, :math:`h_t = \sum_i λ_i^t (u_i^T h_0) u_i`; for the others (1, 1, …)/√N is made an
eigenvector of the matrix, so that a start there follows a recursion of one number, :math:`c_t = f(λ c_{t-1})`.
Source: the lecture on stability of "Introduction to Deep Learning" (CMU 11-785), slides "linear systems", "exponential
behavior" and "how about non-linearities".
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from matplotlib.figure import Figure

import carousel

from .recursions import STEPS, UNITS, Taps, limit, response, symmetric, turning

LARGEST, SECOND = (0.9, 1.0, 1.1), (0.5, 0.1)
COLORS = dict(zip(LARGEST, ("tab:blue", "tab:orange", "tab:green"), strict=True))
TAPS = {"0.5 h(t-1) + 0.25 h(t-5)": {1: 0.5, 5: 0.25}, "… + 0.1 h(t-8)": {1: 0.5, 5: 0.25, 8: 0.1}}
CLOSED = "closed form, derived on this page"


def linear(recipe: carousel.recipes.Recipe) -> None:
    """The linear recursion against its closed form, and what decides."""
    generator = torch.Generator().manual_seed(1)
    start, worst, figure = torch.randn(UNITS, dtype=torch.float64, generator=generator), 0.0, Figure((9, 3.4))
    axes = figure.subplots(1, 2)
    for first, second in itertools.product(LARGEST, SECOND):
        matrix = symmetric(first, second)
        values, vectors = torch.linalg.eigh(matrix)
        exact = torch.stack([vectors @ (values**t * (vectors.T @ start)) for t in range(STEPS + 1)])
        found = response(matrix, "linear", start)
        worst = max(worst, float((found - exact).norm(dim=1).max() / exact.norm(dim=1).max()))
        style = "-" if second == SECOND[0] else "--"
        axes[0].semilogy(found.norm(dim=1), style, color=COLORS[first], label=f"{first} and {second}")
    recipe.claim(
        "linear, six matrices: relative difference from Σ λᵢᵗ(uᵢᵀh₀)uᵢ", "< 1e-12", worst, worst < 1e-12, CLOSED
    )
    for modulus in LARGEST:
        matrix, steps = turning(modulus, 25), 40
        found = response(matrix, "linear", torch.tensor([1.0, 0.0], dtype=torch.float64), steps)
        axes[1].plot(found[:, 0], color=COLORS[modulus], label=f"|λ| = {modulus}")
        axes[1].plot([modulus**t for t in range(steps + 1)], ":", color=COLORS[modulus], linewidth=1)
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
    axes[0].set(title="real: ‖h‖", xlabel="steps after the impulse")
    axes[0].legend(title="two largest eigenvalues", ncols=3, fontsize=8, title_fontsize=8, loc="lower left")
    axes[0].set_ylim(1e-4, 300)
    axes[1].set(title="complex: first element of h, and |λ|ᵗ", xlabel="steps after the impulse", ylim=(-6, 6))
    axes[1].legend(fontsize=8, loc="lower left")
    figure.tight_layout()
    recipe.figure(figure, "linear.svg")


def non_linear(recipe: carousel.recipes.Recipe) -> str:
    """Each function from ± (1, 1, …)/√N: curves, and a table of limits."""
    figure = Figure((9, 5.4))
    grid, one = figure.subplots(2, 3, sharex=True, sharey=True), torch.ones(UNITS, dtype=torch.float64) / UNITS**0.5
    lines, worst = [f"{'function':10}{'λ':>6}{'start':>10}{'limit':>14}{'after 100,000 steps':>22}"], 0.0
    for (row, sign), (column, function) in itertools.product(
        enumerate((1, -1)), enumerate(("sigmoid", "tanh", "relu"))
    ):
        for first in LARGEST:
            found = response(symmetric(first, 0.5), function, sign * one)
            grid[row, column].plot(found.mean(1), color=COLORS[first], label=f"λ = {first}")
            many = response(torch.tensor([[first]], dtype=torch.float64), function, sign * one[:1], 100_000)
            end, exact = float(many[-1, 0]), limit(first, function, sign)
            lines.append(f"{function:10}{first:6}{sign:>+7}/√N{exact:>14.6f}{end:>22.6f}")
            away = 0.0 if math.isinf(exact) and end == exact else abs(end - exact)
            worst = max(worst, away)
        grid[row, column].set(title=f"{function} from {'+' if sign > 0 else '-'}1/√N", ylim=(-0.8, 0.8))
        grid[row, column].axhline(0, color="gray", linewidth=0.5)
        grid[1, column].set_xlabel("steps after the impulse")
    grid[0, 0].set_ylabel("mean of h")
    grid[1, 0].set_ylabel("mean of h")
    grid[0, 0].legend(fontsize=8, loc="lower right")
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
        layer = carousel.nn.Recurrent([Taps(1, 1, taps).double()])
        impulse = torch.zeros(steps, 1, 1, dtype=torch.float64)
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
    ax.set(xlabel="steps after the impulse", ylabel="h(t)", ylim=(1e-7, 2), title="response of multi-tap recursions")
    ax.legend(fontsize=8)
    figure.tight_layout()
    recipe.figure(figure, "multi-tap.svg")


def run(recipe: carousel.recipes.Recipe) -> None:
    """All three; it takes seconds, also as a whole."""
    linear(recipe)
    table = non_linear(recipe)
    multi_tap(recipe)
    recipe.text(table + "\n", "limits.txt")
    recipe.say(table)
