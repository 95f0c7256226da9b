r"""Ten layers of 500 units at initialization: where the activations go, and whether batch norm brings them back.

:math:`h_l = φ(h_{l-1} W_l)`, the elements of W_l normal with standard deviation g/√500, h_0 1,000 rows of 500 standard
normal numbers. Source: "Deep learning", CS 343 (UT Austin), after CS231n 2016, lecture 5; Ioffe & Szegedy 2015.
"""

from __future__ import annotations

import math

import torch
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor

import carousel

from .lecture import SETTINGS, Setting
from .training import learned

ROWS, WIDTH, LAYERS, SEEDS, NORMED_SEEDS = 1_000, 500, 10, 50, 3
LEVEL = 0.01
FUNCTIONS = {"tanh": torch.tanh, "relu": torch.relu}
STYLES = dict(zip(SETTINGS, ("C0o-", "C1s-", "C2^-", "C3v--", "C4D--"), strict=True))


def layers(setting: Setting, generator: torch.Generator, *, normed: bool = False) -> list[Tensor]:
    """The activations of each layer, (rows, width), of one draw of inputs and weights."""
    h, found = torch.randn(ROWS, WIDTH, generator=generator), []
    h.requires_grad_(normed)
    for _ in range(LAYERS):
        a = h @ (torch.randn(WIDTH, WIDTH, generator=generator) * (setting.gain / math.sqrt(WIDTH)))
        if normed:
            a = torch.nn.functional.batch_norm(a, None, None, training=True)
        h = FUNCTIONS[setting.function](a)
        found.append(h)
    return found


def moments(setting: Setting, seeds: range) -> Tensor:
    """(seeds, layers, 2): mean and standard deviation of all activations of a layer."""
    drawn = [layers(setting, torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(
        [torch.stack([torch.stack([h.double().mean(), h.double().std()]) for h in one]) for one in drawn]
    )


def distance(printed: float, measured: Tensor, *, log: bool) -> float:
    """How far a printed number lies from our draws: Student's t of one more draw, beyond the rounding to six places."""
    ends = torch.tensor([printed - 5e-7, printed + 5e-7], dtype=torch.float64)
    if log:
        ends, measured = ends.clamp_min(0).log(), measured.log()
    low, high = ends.tolist()
    middle, spread = float(measured.mean()), float(measured.std()) * math.sqrt(1 + 1 / len(measured))
    return max(low - middle, middle - high, 0.0) / spread


def theory(setting: Setting) -> list[float]:
    """Mean field: the root mean square of each layer when width goes to infinity, q ← E φ(g √q z)²."""
    z = torch.linspace(-12, 12, 48_001, dtype=torch.float64)
    density, q, found = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi), 1.0, []
    for _ in range(LAYERS):
        values = FUNCTIONS[setting.function](setting.gain * math.sqrt(q) * z).square() * density
        q = float(torch.trapezoid(values, z))
        found.append(math.sqrt(q))
    return found


def normed(setting: Setting, seeds: range) -> tuple[Tensor, Tensor]:
    """With batch norm: the standard deviations (layers,), and by how much ∂L/∂h grows per layer on its way back."""
    spreads, growth = [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        found = layers(setting, generator, normed=True)
        loss = (found[-1] * torch.randn(ROWS, WIDTH, generator=generator)).sum()
        back = torch.stack([g.norm() for g in torch.autograd.grad(loss, found)])
        spreads.append(torch.stack([h.detach().std() for h in found]))
        growth.append((back[0] / back[-1]) ** (1 / (LAYERS - 1)))
    return torch.stack(spreads).mean(0), torch.stack(growth).mean()


def draw(measured: dict[str, Tensor], after: dict[str, Tensor]) -> Figure:
    """Standard deviations over the layers, without and with batch norm."""
    figure = Figure((9, 3.6))
    axes = figure.subplots(1, 2, sharey=True)
    places = range(1, LAYERS + 1)
    for name, found in measured.items():
        axes[0].semilogy(places, found[:, :, 1].mean(0), STYLES[name], label=name, markersize=4)
        axes[1].semilogy(places, after[name], STYLES[name], label=name, markersize=4, fillstyle="none")
        printed = [(k, pair[1]) for k, pair in zip(places, SETTINGS[name].printed, strict=True) if pair[1]]
        axes[0].plot(*zip(*printed, strict=True), "k+", markersize=9, zorder=3)
    axes[0].plot([], [], "k+", markersize=9, label="the slides")
    axes[0].set(title="as drawn", ylabel="standard deviation of the activations", ylim=(2e-7, 3))
    axes[1].set(title="with batch norm before each function")
    for axis in axes:
        axis.set(xlabel="layer", xticks=list(places))
    axes[0].legend(fontsize=8, loc="lower left")
    figure.tight_layout()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """The five slides, what theory says, and batch norm."""
    seeds, few = (range(2), range(1)) if recipe.smoke else (range(SEEDS), range(NORMED_SEEDS))
    measured = {name: moments(setting, seeds) for name, setting in SETTINGS.items()}
    tests = sum(value is not None for setting in SETTINGS.values() for pair in setting.printed for value in pair)
    limit = float(stats.t.ppf(1 - LEVEL / tests / 2, len(seeds) - 1))
    lines = [f"{'':14}{'layer':>6}{'mean':>12}{'slide':>12}{'t':>7}{'std':>12}{'slide':>12}{'t':>7}{'theory rms':>12}"]
    for name, setting in SETTINGS.items():
        limits, far = theory(setting), ([], [])
        for layer, printed in enumerate(setting.printed):
            line = f"{name:14}{layer + 1:6}"
            for which, value in enumerate(printed):
                ours = measured[name][:, layer, which]
                far[which].append(0.0 if value is None else distance(value, ours, log=which == 1))
                shown = f"{'-':>12}{'-':>7}" if value is None else f"{value:12.6f}{far[which][-1]:7.2f}"
                line += f"{float(ours.mean()):12.6f}{shown}"
            lines.append(f"{line}{limits[layer]:12.6f}")
        for what, distances in zip(("mean", "standard deviation"), far, strict=True):
            recipe.claim(f"{name}: {what} of each layer on the slide, largest |t| from {len(seeds)} draws",
                         f"< {limit:.2f}", max(distances), max(distances) < limit,
                         f"Student's t of one more draw, level {LEVEL} over {tests} comparisons")  # fmt: skip
        square, exact = measured[name].square().sum(2), torch.tensor(limits, dtype=torch.float64).square()
        if setting.function == "relu":
            error = square.std(0) / math.sqrt(len(seeds))
            off, bound, why = (square.mean(0) - exact).abs() / error, limit, "E h² = (g²/2)ˡ at any width; same level"
            what = f"{name}: mean square of each layer, largest |t| from (g²/2)ˡ"
        else:
            off, bound, why = square.mean(0) / exact - 1, LAYERS / WIDTH, "mean field; finite width: depth / width"
            what = f"{name}: mean square of each layer, largest relative distance from infinite width"
        worst = float(off.abs().max())
        recipe.claim(what, f"< {bound:.3g}", worst, worst < bound, why)
    recipe.text("\n".join(lines) + "\n", "table.txt")
    recipe.say("\n".join(lines))
    after = {name: normed(setting, few) for name, setting in SETTINGS.items()}
    recipe.figure(draw(measured, {name: found[0] for name, found in after.items()}), "layers.svg")
    for name, (spread, growth) in after.items():
        exact, rate = {"tanh": (0.6279, 1.0857), "relu": (0.5838, 1.2111)}[SETTINGS[name].function]
        off = float((spread / exact - 1).abs().max())
        recipe.claim(f"{name}, batch norm: standard deviation of every layer, relative distance from {exact}", "< 0.02",
                     off, off < LAYERS / WIDTH, "that of φ(z), z standard normal")  # fmt: skip
        recipe.claim(f"{name}, batch norm: growth of ‖∂L/∂h‖ per layer on its way back", rate, growth,
                     abs(float(growth) / rate - 1) < 0.02, "√(E φ'² / Var φ); within 2 %")  # fmt: skip
    learned(recipe)
