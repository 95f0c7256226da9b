r"""Any continuous function, with a single hidden layer: how the error falls with width, and width against depth.

:math:`f(x) ≈ \sum_k v_k φ(w_k x + b_k) + c` on [0, 1]. Placed by hand, n ReLUs are the line through n + 1 points, which
is off by at most max|f''|/8n²; trained, units go where they are needed. Sources: "Neural networks IV" (B. Kulis
& K. Saenko, Boston University), slide "universality", after M. Nielsen, chapter 4; G. Cybenko 1989; M. Telgarsky 2016.
"""

from __future__ import annotations

import math
import statistics

import torch
from matplotlib.figure import Figure

import carousel

from .fit import FUNCTIONS, bend, by_hand, fitted, grid, weights

WIDTHS, SEEDS, ROUNDS = (4, 8, 16, 32, 64), 5, 150
SHAPES = ((64,), (12, 12))
COLORS = dict(zip(FUNCTIONS, ("C0o-", "C1s--", "C2^-.", "C3v:"), strict=True))


def placed(recipe: carousel.recipes.Recipe) -> None:
    """ReLUs placed by hand against the bound; a saw, for which depth is worth more."""
    for name, f in FUNCTIONS.items():
        shares = [by_hand(f, width) / (bend(f) / 8 / width**2) for width in WIDTHS]
        recipe.claim(f"{name}, ReLUs placed by hand, {WIDTHS[0]} to {WIDTHS[-1]}: largest error over its bound", "<= 1",
                     max(shares), max(shares) <= 1, "max|f''|/8n², interpolation")  # fmt: skip
    depth, x = 5, torch.arange(2**12 + 1, dtype=torch.float64) / 2**12
    deep = x
    for _ in range(depth):
        deep = 2 * torch.relu(deep) - 4 * torch.relu(deep - 0.5)
    saw = 1 - (2 * (x * 2 ** (depth - 1) % 1) - 1).abs()
    off, pieces = float((deep - saw).abs().max()), int((deep.diff().diff().abs() > 1e-9).sum()) + 1
    recipe.claim(f"{2 * depth} ReLUs in {depth} layers: distance from a saw of {2 ** (depth - 1)} teeth", 0, off,
                 off == 0, "the tent map, composed")  # fmt: skip
    recipe.claim("straight pieces of the saw; a single layer needs a ReLU for each but one", 2**depth, pieces,
                 pieces == 2**depth, "Telgarsky 2016: n ReLUs in one layer make at most n + 1 pieces")  # fmt: skip


def trained(recipe: carousel.recipes.Recipe) -> dict[str, list[float]]:
    """Errors of all seeds, by function and shape; a stopped run goes on with the next."""
    shapes = [(4,), (12, 12)] if recipe.smoke else [*((width,) for width in WIDTHS), *SHAPES[1:]]
    seeds, rounds = (1, 3) if recipe.smoke else (SEEDS, ROUNDS)
    errors: dict[str, list[float]] = recipe.load("errors") or {}
    for name, f in FUNCTIONS.items():
        for shape in shapes:
            key = f"{name} {shape}"
            if key not in errors:
                errors[key] = [fitted(f, shape, seed, rounds)[0] for seed in range(seeds)]
                recipe.save("errors", errors)
                recipe.say(f"{key}: " + ", ".join(f"{e:.2g}" for e in errors[key]))
    return errors


def draw(recipe: carousel.recipes.Recipe, errors: dict[str, list[float]]) -> None:
    """The functions with two networks each, and error over width."""
    figure = Figure((9, 5.4))
    for axis, (name, f) in zip(figure.subplots(2, 2, sharex=True).flat, FUNCTIONS.items(), strict=True):
        axis.plot(grid(), f(grid()), color="0.75", linewidth=5, label="the function")
        for width, style in ((4, "C1--"), (16, "k-")):
            found = fitted(f, (width,), 0, 3 if recipe.smoke else ROUNDS)[1]
            axis.plot(grid(), found, style, label=f"{width} units", linewidth=1.2)
        axis.set_title(name, fontsize=10)
    figure.axes[0].legend(fontsize=8)
    figure.tight_layout()
    recipe.figure(figure, "functions.svg")
    figure = Figure((6, 3.8))
    axis = figure.add_subplot()
    for name, style in COLORS.items():
        widths = [width for width in WIDTHS if f"{name} {(width,)}" in errors]
        found = [errors[f"{name} {(width,)}"] for width in widths]
        axis.loglog(widths, [statistics.median(e) for e in found], style, label=name)
        for width, e in zip(widths, found, strict=True):
            axis.loglog([width] * len(e), e, ".", color=style[:2], markersize=3)
    bound = [bend(FUNCTIONS["three waves"]) / 8 / width**2 for width in WIDTHS]
    axis.loglog(WIDTHS, bound, "k:", linewidth=1, label="by hand, three waves: bound, 1/n²")
    axis.set(xlabel="units of the hidden layer", ylabel="root mean square error", ylim=(None, 20))
    axis.set_xticks(WIDTHS, [str(width) for width in WIDTHS], minor=False)
    axis.set_xticks([], minor=True)
    axis.legend(fontsize=8, ncols=2, loc="upper right")
    figure.tight_layout()
    recipe.figure(figure, "widths.svg")


def run(recipe: carousel.recipes.Recipe) -> None:
    """By hand, then trained, wider and deeper."""
    placed(recipe)
    errors = trained(recipe)
    draw(recipe, errors)
    if recipe.smoke:
        return
    for name in FUNCTIONS:
        few, many = (statistics.median(errors[f"{name} {(width,)}"]) for width in (WIDTHS[0], WIDTHS[-1]))
        recipe.claim(f"{name}, trained: error of {WIDTHS[0]} units over that of {WIDTHS[-1]}, medians of {SEEDS} seeds",
                     ">= 10", few / many, few / many >= 10, "universality, with a bar of ours")  # fmt: skip
    wide, deep = SHAPES
    for name in FUNCTIONS:
        pairs = zip(errors[f"{name} {wide}"], errors[f"{name} {deep}"], strict=True)
        middle, low, high = map(math.exp, carousel.recipes.interval([math.log(a / b) for a, b in pairs]))
        recipe.claim(f"{name}, {weights(wide)} and {weights(deep)} weights: error of {wide[0]} units over that of "
                     f"{deep[0]} + {deep[1]}, 95 % interval of {SEEDS} seeds", "not 1",
                     f"{middle:.2f} ({low:.2f} to {high:.2f})", low > 1 or high < 1, "shape matters")  # fmt: skip
