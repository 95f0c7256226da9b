"""Accuracy and log-likelihood of a line through the origin, over its two weights: which of them can be climbed?"""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

import carousel

__all__ = ["plateaus"]

POINTS, STARTS, STEP, REACH = 30, 50, 0.1, 3.0


def points() -> tuple[Tensor, Tensor]:
    """Two clouds that overlap, and their sides."""
    generator = torch.Generator().manual_seed(0)
    side = 2 * torch.arange(POINTS, dtype=torch.float64).remainder(2) - 1
    x = torch.randn(POINTS, 2, generator=generator, dtype=torch.float64)
    return x + 0.7 * side.unsqueeze(1), side


X, SIDE = points()


def accuracy(w: Tensor) -> Tensor:
    """(…, 2) → (…,): the share of points on their side."""
    return ((w @ X.T >= 0) == (SIDE > 0)).double().mean(-1)


def likelihood(w: Tensor) -> Tensor:
    """(…, 2) → (…,): mean log-likelihood, p(d | x) = e^{d w·x} / (e^{w·x} + e^{-w·x})."""
    return torch.nn.functional.logsigmoid(2 * SIDE * (w @ X.T)).mean(-1)


def climb(w: Tensor, steps: int) -> Tensor:
    """Hill climbing on accuracy: to the best of 16 neighbors while it is better; (steps so far + 1, 2)."""
    angle = 2 * math.pi * torch.arange(16, dtype=torch.float64) / 16
    around, found = STEP * torch.stack([angle.cos(), angle.sin()], 1), [w]
    for _ in range(steps):
        near = found[-1] + around
        best = accuracy(near).argmax()
        if accuracy(near[best]) <= accuracy(found[-1]):
            break
        found.append(near[best])
    return torch.stack(found)


@torch.enable_grad()
def ascend(w: Tensor, steps: int) -> Tensor:
    """Gradient ascent on the log-likelihood; (steps + 1, 2)."""
    found = [w]
    for _ in range(steps):
        w = found[-1].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(likelihood(w), w)
        found.append((w + gradient).detach())
    return torch.stack(found)


def plateaus(recipe: carousel.recipes.Recipe) -> None:
    """The claims and the picture."""
    generator = torch.Generator().manual_seed(1)
    starts = REACH * (2 * torch.rand(STARTS, 2, generator=generator, dtype=torch.float64) - 1)
    ups, smooth = [climb(w, 1_000) for w in starts], [ascend(w, 300) for w in starts]
    nudge = 1e-4 * torch.randn(STARTS, 2, generator=generator, dtype=torch.float64)
    flat = [int((f(starts + nudge) == f(starts)).sum()) for f in (accuracy, likelihood)]
    recipe.claim(f"a nudge of 10⁻⁴ at {STARTS} places: how often accuracy stays the same", f">= {STARTS - 2}", flat[0],
                 flat[0] >= STARTS - 2, "a step function of w")  # fmt: skip
    recipe.claim("the same: how often the log-likelihood stays the same", 0, flat[1], flat[1] == 0, "strictly concave")
    angle = 2 * math.pi * torch.arange(100_000, dtype=torch.float64) / 100_000
    best = float(accuracy(torch.stack([angle.cos(), angle.sin()], 1)).max())
    stuck = sum(float(accuracy(up[-1])) < best for up in ups)
    recipe.claim(f"hill climbing on accuracy, {STARTS} starts: how many end below the best accuracy, {best:.3f}",
                 f">= {STARTS // 2}", stuck, stuck >= STARTS // 2, "plateaus; the best of all directions")  # fmt: skip
    ends = torch.stack([path[-1] for path in smooth])
    apart = float((ends - ends[0]).abs().max())
    recipe.claim(f"gradient ascent on the log-likelihood, {STARTS} starts: largest distance of their ends", "< 1e-6",
                 apart, apart < 1e-6, "concave: one maximum")  # fmt: skip
    low, others = float(accuracy(ends).min()), float(torch.stack([accuracy(up[-1]) for up in ups]).mean())
    recipe.claim("the same: accuracy at the end, lowest", f"> {others:.3f}, mean of hill climbing", low, low > others,
                 "a smooth objective")  # fmt: skip
    draw(recipe, ups, smooth)


def draw(recipe: carousel.recipes.Recipe, ups: list[Tensor], smooth: list[Tensor]) -> None:
    """Both objectives over the plane of weights, with paths."""
    figure, ticks = Figure((9, 4)), np.linspace(-REACH, REACH, 200)
    grid = torch.from_numpy(np.stack(np.meshgrid(ticks, ticks), -1))
    axes = figure.subplots(1, 2)
    for axis, values, paths, name in (
        (axes[0], accuracy(grid), ups, "accuracy, hill climbing"),
        (axes[1], likelihood(grid), smooth, "log-likelihood per point, gradient ascent"),
    ):
        image = axis.pcolormesh(ticks, ticks, values, cmap="gray", shading="auto", rasterized=True)
        figure.colorbar(image, ax=axis)
        for path in paths[:12]:
            axis.plot(path[:, 0], path[:, 1], "-", color="C1", linewidth=1.5)
            axis.plot(path[0, 0], path[0, 1], "o", color="C1", markersize=4)
            axis.plot(path[-1, 0], path[-1, 1], "x", color="C0", markersize=7, markeredgewidth=2)
        axis.set_title(name, fontsize=10)
        axis.set(xlabel="w₁", ylabel="w₂", xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal")
    figure.tight_layout()
    recipe.figure(figure, "objectives.svg")
