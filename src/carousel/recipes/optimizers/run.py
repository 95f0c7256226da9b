r"""Gradient descent and momentum on an ill-conditioned bowl: trajectories, and rates against their closed forms.

The bowl is :math:`f(w) = \frac12 \sum_i λ_i w_i^2` with :math:`λ_1 = 1 ≤ … ≤ λ_n = κ`; every quadratic with a
minimum is one, seen along its axes. Sources: B. Polyak 1964; Y. Nesterov 1983; L. Lessard, B. Recht & A. Packard 2016,
table 1; CS231n 2016, lecture 6, whose momentum is :math:`v ← μ v - α ∇f(w),\; w ← w + v`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

import carousel

CONDITIONS, SIZE, PICTURED = (10, 100, 1_000), 20, 30


class Rule(NamedTuple):
    """α is `step`, μ is `momentum`."""

    step: float
    momentum: float = 0.0
    nesterov: bool = False


def curvatures(condition: float, size: int = SIZE) -> Tensor:
    """λ, from 1 to κ in equal ratios."""
    return torch.logspace(0, math.log10(condition), size, dtype=torch.float64)


def path(rule: Rule, curvature: Tensor, start: Tensor, steps: int) -> Tensor:
    """(steps + 1, n): where PyTorch's own rule goes; its v is ours over -α, the path is the same."""
    w = start.clone().requires_grad_()
    update = torch.optim.SGD([w], lr=rule.step, momentum=rule.momentum, nesterov=rule.nesterov)
    found = [start.clone()]
    for _ in range(steps):
        w.grad = curvature * w.detach()
        update.step()
        found.append(w.detach().clone())
    return torch.stack(found)


def rules(condition: float) -> dict[str, tuple[Rule, float, str]]:
    """Each rule at its best for 1 ≤ λ ≤ κ, the factor by which the distance shrinks a step, and what that is."""
    root = math.sqrt(condition)
    slow = (root - 1) / (root + 1)
    return {
        "gradient descent, α = 2/(λ₁+λₙ)": (
            Rule(2 / (1 + condition)),
            (condition - 1) / (condition + 1),
            "(κ-1)/(κ+1)",
        ),
        "Nesterov, α = 1/λₙ": (Rule(1 / condition, slow, nesterov=True), 1 - 1 / root, "1 - 1/√κ"),
        "momentum, α = 4/(√λ₁+√λₙ)²": (Rule(4 / (1 + root) ** 2, slow**2), slow, "(√κ-1)/(√κ+1)"),
    }


def factor(rule: Rule, curvature: Tensor) -> float:
    """The closed form of momentum at any α and μ: the largest root of z² - (1 + μ - αλ) z + μ."""
    middle = 1 + rule.momentum - rule.step * curvature
    return max(float(abs(np.roots([1, -a, rule.momentum])).max()) for a in middle.tolist())


def speed(found: Tensor) -> float:
    """-ln of the factor a step, measured on the largest of |w_t| and |w_{t+1}| over the last two thirds of a path."""
    size = found.abs().amax(1).unfold(0, 2, 1).amax(1)
    first = len(size) // 3
    return -float((size[-1] / size[first]).log()) / (len(size) - 1 - first)


def steps_for(rate: float) -> int:
    """Until the distance is about e^-450: a root that counts twice makes t rateᵗ; ln 3 has to be small beside it."""
    return min(round(450 / -math.log(rate)), 120_000)


def measured(recipe: carousel.recipes.Recipe) -> dict[tuple[str, int], Tensor]:
    """The claims on rates."""
    paths, start = {}, torch.ones(SIZE, dtype=torch.float64)
    for condition in CONDITIONS[:1] if recipe.smoke else CONDITIONS:
        curvature = curvatures(condition)
        for name, (rule, rate, formula) in rules(condition).items():
            found = paths[name, condition] = path(rule, curvature, start, steps_for(rate))
            ours, exact = speed(found), -math.log(rate)
            recipe.claim(f"κ = {condition}, {name}: -ln of the factor a step", round(exact, 6), ours,
                         abs(ours / exact - 1) < 0.01, f"-ln {formula}; within 1 %")  # fmt: skip
    curvature = curvatures(100)
    for rule in (Rule(0.005), Rule(0.015), Rule(0.01, 0.5), Rule(0.01, 0.9), Rule(0.01, 0.99)):
        rate = factor(rule, curvature)
        steps = steps_for(rate) // (10 if recipe.smoke else 1)
        ours, exact = speed(path(rule, curvature, start, steps)), -math.log(rate)
        recipe.claim(f"κ = 100, α = {rule.step}, μ = {rule.momentum}: -ln of the factor a step", round(exact, 6), ours,
                     abs(ours / exact - 1) < 0.01, "largest root of z² - (1 + μ - αλ)z + μ; within 1 %")  # fmt: skip
    for mu in (0.0, 0.5, 0.9):
        edge = 2 * (1 + mu) / 100
        ends = [float(path(Rule(edge * near, mu), curvature, start, 2_000)[-1].norm()) for near in (0.99, 1.01)]
        recipe.claim(f"κ = 100, μ = {mu}: ‖w‖ after 2,000 steps with α 1 % below and above {edge:g}", "< 1, > 1e6",
                     f"{ends[0]:.2g}, {ends[1]:.2g}", ends[0] < 1 and ends[1] > 1e6, "α < 2(1+μ)/λₙ")  # fmt: skip
    return paths


def draw(recipe: carousel.recipes.Recipe) -> Figure:
    """A bowl seen from above, κ = 30."""
    condition, start = 30, torch.tensor([10.0, 1.0], dtype=torch.float64)
    curvature = torch.tensor([1.0, condition], dtype=torch.float64)
    figure = Figure((9, 5.2))
    best = rules(condition)
    shown = {
        "gradient descent, small step (0.3/λₙ)": Rule(0.3 / condition),
        "gradient descent, best step": best["gradient descent, α = 2/(λ₁+λₙ)"][0],
        "momentum 0.9, small step (0.3/λₙ)": Rule(0.3 / condition, 0.9),
        "momentum, best step and μ": best["momentum, α = 4/(√λ₁+√λₙ)²"][0],
    }
    across, along = np.meshgrid(np.linspace(-6, 11, 200), np.linspace(-2.4, 2.4, 160))
    height = (across**2 + condition * along**2) / 2
    for axis, (name, rule) in zip(figure.subplots(2, 2, sharex=True, sharey=True).flat, shown.items(), strict=True):
        found = path(rule, curvature, start, PICTURED)
        axis.contour(across, along, height, levels=[0.3, 2, 6, 14, 28, 48, 75], colors="0.75", linewidths=0.8)
        axis.plot(found[:, 0], found[:, 1], "o-", color="C0", markersize=3, linewidth=1)
        axis.plot(0, 0, "k+", markersize=10)
        after = float(found[-1].norm() / start.norm())
        axis.set_title(f"{name}\ndistance after {PICTURED} steps: {after:.2g} of the first", fontsize=9)
    figure.supxlabel("flat direction, λ = 1", fontsize=9)
    figure.supylabel(f"steep direction, λ = {condition}", fontsize=9)
    figure.tight_layout()
    signs = path(shown["gradient descent, best step"], curvature, start, PICTURED)[:, 1].sign()
    turns = int((signs.diff() != 0).sum())
    recipe.claim(f"κ = {condition}, best step: sign changes along the steep direction in {PICTURED} steps", PICTURED,
                 turns, turns == PICTURED, "CS231n: jitter along the steep direction; 1 - αλₙ < 0")  # fmt: skip
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """All of it."""
    recipe.figure(draw(recipe), "bowl.svg")
    paths, figure = measured(recipe), Figure((6, 3.6))
    axis, condition = figure.add_subplot(), max(condition for _, condition in paths)
    for number, (name, (_, rate, formula)) in enumerate(rules(condition).items()):
        size, label = paths[name, condition].norm(dim=1)[: 60 * round(math.sqrt(condition))], name.split(",")[0]
        axis.semilogy(size, f"C{number}" + ("-", "--", "-.")[number], label=f"{label}: {formula}")
        at = [0, len(size) - 1]
        axis.semilogy(at, [float(size[0]) * rate**t for t in at], ":", color=f"C{number}", linewidth=1)
    axis.set(xlabel="step", ylabel="distance ‖w‖", ylim=(1e-12, 1e3), title=f"κ = {condition}; dotted: closed forms")
    axis.legend(fontsize=8, loc="center right")
    figure.tight_layout()
    recipe.figure(figure, "distance.svg")
