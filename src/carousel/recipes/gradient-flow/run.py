r"""Gradients in a deep network at initialization: layer by layer, for a batch and for single samples, against theory.

Twenty layers of 1,024 units, :math:`a_l = W_l h_{l-1}`, :math:`h_l = φ(a_l)`, elements of W_l normal with variance
σ²/fan-in. With many units, :math:`q_l = E a_l^2` and the mean square of :math:`δ_l = ∂E/∂a_l` follow

.. math:: q_{l+1} = σ^2 E φ(√q_l z)^2, \quad E δ_l^2 = χ_l E δ_{l+1}^2, \quad χ_l = σ^2 E φ'(√q_l z)^2, \quad z ~ N(0,1)

Sources: "Introduction to Deep Learning" (CMU 11-785), slides "gradients at initialization, 1024 units, ELU, ReLU,
sigmoid, tanh"; B. Poole et al. 2016 and S. Schoenholz et al. 2017 for the theory.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from scipy import stats
from sklearn.datasets import load_digits
from torch import Tensor

import carousel

LAYERS, WIDTH, BATCH, SEEDS, LEVEL = 20, 1_024, 64, 10, 0.01
FUNCTIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "ReLU": torch.relu, "ELU": F.elu}
VARIANCES = {"Xavier": 1.0, "He": 2.0}


class Flow(NamedTuple):
    """Norms of the gradient of each unit's incoming weights."""

    batch: Tensor
    """(layers, units): of the mean loss of a batch."""
    single: Tensor
    """(layers, samples, units): of the loss of each sample alone."""


def digits() -> tuple[Tensor, Tensor]:
    """A batch of digits, each of mean square one, and what they are."""
    data, target = (torch.from_numpy(np.asarray(part)) for part in load_digits(return_X_y=True))
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:BATCH]
    x = data.float()[chosen]
    return x / x.square().mean(1, keepdim=True).sqrt(), target[chosen]


def flow(name: str, variance: float, seed: int, layers: int) -> Flow:
    """One network, forward and backward."""
    generator, (x, y) = torch.Generator().manual_seed(seed), digits()
    inputs, sums = [x], []
    for _ in range(layers):
        fan_in = inputs[-1].shape[1]
        weight = torch.randn(fan_in, WIDTH, generator=generator) * math.sqrt(variance / fan_in)
        total = inputs[-1] @ weight
        sums.append(total if sums else total.requires_grad_())
        inputs.append(FUNCTIONS[name](sums[-1]))
    scores = inputs[-1] @ (torch.randn(WIDTH, 10, generator=generator) / math.sqrt(WIDTH))
    delta = torch.autograd.grad(F.cross_entropy(scores, y, reduction="sum"), sums)
    pairs = [(d.detach(), h.detach()) for d, h in zip(delta, inputs, strict=False)]
    single = torch.stack([d.abs() * h.norm(dim=1, keepdim=True) for d, h in pairs])
    return Flow(torch.stack([(d.T @ h / BATCH).norm(dim=1) for d, h in pairs]), single)


def theory(name: str, variance: float, layers: int) -> Tensor:
    """(layers,): ln of the norm in each layer over that in the last, ½ Σ ln χ + ½ ln(q_l / q_L)."""
    z = torch.linspace(-12, 12, 48_000, dtype=torch.float64, requires_grad=True)
    density = torch.exp(-z.detach().square() / 2) / math.sqrt(2 * math.pi)
    q, qs, logs = variance, [], []
    for _ in range(layers):
        a = math.sqrt(q) * z
        h = FUNCTIONS[name](a)
        (slope,) = torch.autograd.grad(h.sum(), z)
        qs.append(q)
        logs.append(math.log(variance * float(torch.trapezoid(slope.square() / q * density, z.detach()))))
        q = variance * float(torch.trapezoid(h.detach().square() * density, z.detach()))
    back = torch.tensor([sum(logs[layer : layers - 1]) for layer in range(layers)], dtype=torch.float64)
    sums = torch.tensor(qs, dtype=torch.float64).log()
    return (back + sums - sums[-1]) / 2


def slope(norms: Tensor) -> float:
    """Ln of the root mean square norm per layer towards the input, from the last layer to the second."""
    level = norms.double().square().flatten(1).mean(1).log() / 2
    return float(level[1] - level[-1]) / (len(level) - 2)


def draw(flows: dict[str, Flow], layers: int) -> Figure:
    """Box plots over units: a row for the batch, a row for single samples."""
    figure = Figure((12, 5.6))
    axes = figure.subplots(2, 4, sharex=True, sharey="col")
    places = list(range(1, layers + 1))
    for column, (name, found) in enumerate(flows.items()):
        for row, norms in enumerate((found.batch, found.single)):
            boxes = [values[values > 0].log10().numpy() for values in norms.flatten(1)]
            axis = axes[row, column]
            axis.boxplot(boxes, positions=places, whis=(5, 95), showfliers=False, widths=0.6,
                         medianprops={"color": "C1"}, boxprops={"linewidth": 0.8})  # fmt: skip
            level = norms.square().flatten(1).mean(1).log10() / 2
            line = theory(name, 1.0, layers) / math.log(10) + float(level[-1])
            line[0] += math.log10(64 / WIDTH) / 2  # the first units have 64 weights
            if row:
                axis.plot(places, line, "k--", linewidth=1, label="theory (root mean square)")
            axis.set_xticks([1, *range(5, layers + 1, 5)], [str(k) for k in (1, *range(5, layers + 1, 5))])
        axes[0, column].set_title(f"{name}, batch of {BATCH}", fontsize=10)
        axes[1, column].set_title(f"{name}, single samples", fontsize=10)
        axes[1, column].set_xlabel("layer, from the input")
    axes[0, 0].set_ylabel("log₁₀ norm")
    axes[1, 0].set_ylabel("log₁₀ norm")
    axes[1, 0].legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """Pictures of the first network; slopes over all."""
    layers, seeds = (4, 2) if recipe.smoke else (LAYERS, SEEDS)
    shown, limit = {}, float(stats.t.ppf(1 - LEVEL / (2 * len(FUNCTIONS) * len(VARIANCES)), seeds - 1))
    lines = [
        f"{'':18}{'theory':>9}{'single':>9}{'±':>8}{'t':>7}{'batch':>9}{'batch / single, first and last layer':>40}"
    ]
    for init, variance in VARIANCES.items():
        for name in FUNCTIONS:
            flows = [flow(name, variance, seed, layers) for seed in range(seeds)]
            if init == "Xavier":
                shown[name] = flows[0]
            exact = theory(name, variance, layers)
            expected = float(exact[1] - exact[-1]) / (layers - 2)
            slopes = torch.tensor([slope(f.single) for f in flows], dtype=torch.float64)
            error = float(slopes.std()) / math.sqrt(seeds)
            t = (float(slopes.mean()) - expected) / error
            whole = sum(slope(f.batch) for f in flows) / seeds
            shares = [float(n.square().flatten(1).mean(1)[k].sqrt()) for k in (0, -1) for n in flows[0]]
            lines.append(f"{name:8}{init:10}{expected:9.4f}{float(slopes.mean()):9.4f}{error:8.4f}{t:7.2f}{whole:9.4f}"
                         f"{shares[0] / shares[1]:30.3f}{shares[2] / shares[3]:10.3f}")  # fmt: skip
            said = f"{float(slopes.mean()):.4f}, t = {t:.2f}"
            recipe.claim(f"{name}, {init}: ln of the gradient norm per layer towards the input, single samples",
                         f"{expected:.4f}, |t| < {limit:.2f}", said, abs(t) < limit,
                         "½ mean of ln χ_l + ln q_l/q_{l+1}; Student's t, 8 tests at 1 %")  # fmt: skip
    recipe.figure(draw(shown, layers), "boxes.svg")
    recipe.text("ln of the norm per layer towards the input\n" + "\n".join(lines) + "\n", "table.txt")
    recipe.say("\n".join(lines))
