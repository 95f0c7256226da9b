r"""Single units: what they learn, what they can't, what layers of them can, and why accuracy is a poor objective.

The rule of all three is :math:`w ← w + η (d - y) s x` (`carousel.classical`). Sources: "Deep learning", CS 343 (UT
Austin), slides "perceptron", "threshold units", "objective: classification accuracy", "with linear units, multiple
layers don't add anything" (D. Touretzky); A. Novikoff 1962; B. Widrow & M. Hoff 1960.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from torch import Tensor

import carousel

from .objectives import plateaus
from .regions import STAR, Region, circle, star

SETS, CORNERS = 20, torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def separable(seed: int, count: int = 100, margin: float = 0.1) -> tuple[Tensor, Tensor, float]:
    """Points beside a line, their sides, and Novikoff's bound (R/γ)² on the mistakes."""
    generator = torch.Generator().manual_seed(seed)
    line = torch.nn.functional.normalize(torch.randn(3, generator=generator, dtype=torch.float64), dim=0)
    x = torch.randn(20 * count, 2, generator=generator, dtype=torch.float64)
    away = x @ line[:2] + line[2]
    x, away = x[away.abs() > margin][:count], away[away.abs() > margin][:count]
    return x, away.sign(), float((x.square().sum(1) + 1).max() / away.abs().min() ** 2)


def learning(recipe: carousel.recipes.Recipe) -> None:
    """The three rules against what is known of them."""
    shares, left = [], []
    for seed in range(2 if recipe.smoke else SETS):
        x, side, bound = separable(seed)
        generator = torch.Generator().manual_seed(seed)
        course = carousel.classical.Perceptron(2).double().fit(x, side, epochs=1_000, generator=generator)
        shares.append(sum(course) / 2 / bound)
        left.append(course[-1])
    recipe.claim(f"perceptron, {len(shares)} separable sets: mistakes on all 100 points at the end", 0, max(left),
                 max(left) == 0, "convergence theorem")  # fmt: skip
    recipe.claim("the same: mistakes until then over their bound (R/γ)², largest", "<= 1", max(shares),
                 max(shares) <= 1, "Novikoff 1962")  # fmt: skip
    unit, sides = carousel.classical.Perceptron(2), torch.tensor([-1.0, 1.0, 1.0, -1.0])
    best = max(int((unit(CORNERS) == sides).sum()) for _ in range(200) if unit.fit(CORNERS, sides, epochs=1))
    recipe.claim("perceptron, exclusive or: corners right, best of 200 passes", "<= 3", best, best <= 3,
                 "no line has two opposite corners on one side")  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 5, generator=generator, dtype=torch.float64)
    true = torch.randn(5, generator=generator, dtype=torch.float64)
    lms, noisy = carousel.classical.WidrowHoff(5).double(), x @ true + torch.randn(100, generator=generator)
    lms.fit(x, x @ true + 1, rate=0.05, epochs=300, generator=generator)
    off = float((lms.weight.detach() - true).abs().max())
    recipe.claim("LMS, linear targets: largest error of a weight", "< 1e-9", off, off < 1e-9, "Widrow & Hoff 1960")
    ones = torch.cat([x, torch.ones(100, 1)], 1)
    least = float((noisy - ones @ torch.linalg.lstsq(ones, noisy).solution).square().sum())
    for rate in (0.03, 0.003, 0.0003):
        lms.fit(x, noisy, rate=rate, epochs=30, generator=generator)
    ratio = float((noisy - lms(x)).square().sum().detach()) / least
    recipe.claim("LMS, noisy targets, falling rate: squared error over the least possible", "from 1 to 1.001", ratio,
                 1 - 1e-12 <= ratio < 1.001, "torch.linalg.lstsq")  # fmt: skip
    smooth = carousel.classical.DeltaRule(5, "tanh").double()
    smooth.fit(x, noisy.sign(), rate=0.1, epochs=3, generator=generator)
    before = smooth.weight.detach().clone()
    (gradient,) = torch.autograd.grad((noisy.sign()[0] - smooth(x[0])) ** 2 / 2, smooth.weight)
    smooth.fit(x[:1], noisy.sign()[:1], rate=1.0, epochs=1)
    off = float((smooth.weight.detach() - before + gradient).abs().max())
    recipe.claim("delta rule: distance of an update from -η ∂E/∂w", "< 1e-14", off, off < 1e-14, "autograd")


def threshold_units(recipe: carousel.recipes.Recipe) -> None:
    """One, two and three layers of them, against matplotlib's point in polygon."""
    figure = Figure((9, 3.4))
    shapes = {
        "one unit: a half-plane": ([torch.tensor([[-1.0, -0.6], [1.0, 0.4]]).double()], None),
        "two layers: a convex polygon": ([circle(5)], circle(5)),
        "three layers: not convex": (star(), STAR),
    }
    ticks = np.linspace(-1.3, 1.3, 400)
    grid = torch.from_numpy(np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2))
    for axis, (name, (polygons, outline)) in zip(figure.subplots(1, 3), shapes.items(), strict=True):
        region = Region(polygons)
        inside = region(grid)
        expected = grid[:, 1] >= -0.1 + grid[:, 0] / 2
        if outline is not None:
            expected = torch.from_numpy(Outline(outline.numpy()).contains_points(grid.numpy()))
        wrong, units = int((inside.bool() != expected).sum()), region.units
        layers = " + ".join(map(str, units[: {1: 1, 5: 2}.get(units[0], 3)])) + (" unit" if units[0] == 1 else " units")
        recipe.claim(f"{name}: of 160,000 points on the wrong side ({layers})", 0, wrong, wrong == 0,
                     "geometry: point in polygon")  # fmt: skip
        axis.contourf(ticks, ticks, inside.reshape(400, 400), levels=[0.5, 1.5], colors=["0.75"])
        for weight, bias in zip(region.weights, region.bias, strict=True):
            foot = -bias * weight / weight.square().sum()
            along = torch.stack([-weight[1], weight[0]]) / weight.norm()
            axis.plot(*torch.stack([foot - 4 * along, foot + 4 * along]).T, "C0--", linewidth=0.8)
        axis.set(title=name, xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal", xticks=[], yticks=[])
        axis.set_xlabel(f"{layers}; dashed: the first layer", fontsize=8)
    figure.tight_layout()
    recipe.figure(figure, "regions.svg")


def collapse(recipe: carousel.recipes.Recipe) -> None:
    """Five layers of 32 units on three inputs."""
    generator = torch.Generator().manual_seed(0)
    sizes = (3, 32, 32, 32, 32, 32)
    weights = [
        torch.randn(b, a, generator=generator, dtype=torch.float64) / a**0.5 for a, b in itertools.pairwise(sizes)
    ]
    x = torch.randn(1_000, 3, generator=generator, dtype=torch.float64)
    linear, curved = x, x
    for weight in weights:
        linear, curved = linear @ weight.T, torch.tanh(curved @ weight.T)
    one = torch.linalg.multi_dot(weights[::-1])
    off = float((linear - x @ one.T).norm() / linear.norm())
    recipe.claim("five linear layers of 32 units against one, W₅W₄W₃W₂W₁: relative distance", "< 1e-14", off,
                 off < 1e-14, "linear maps are closed under composition")  # fmt: skip
    for what, values, rank in (("linear", linear, 3), ("tanh", curved, 32)):
        found = int(torch.linalg.matrix_rank(values))
        recipe.claim(f"five {what} layers, 3 inputs, 1,000 examples: rank of the 32 outputs", rank, found,
                     found == rank, "at most 3 if linear; else nothing limits it but the width")  # fmt: skip


def run(recipe: carousel.recipes.Recipe) -> None:
    """All of it; it takes seconds."""
    learning(recipe)
    threshold_units(recipe)
    collapse(recipe)
    plateaus(recipe)
