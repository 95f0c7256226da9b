r"""ReLU against tanh: epochs of a four-layer ConvNet on CIFAR-10 until a quarter of its training images are wrong.

.. math:: v ← 0.9 v + ∂L/∂w, \quad w ← w - ε v, \quad ε \text{ the fastest of its own, for each function}

No regularization. Measured from two starts: the one that each function is given today, and AlexNet's. Source:
Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep convolutional neural networks", 2012, figure 1.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

import carousel

from .training import Course, course, fastest, read

FILES = [f"cifar10/data_batch_{number}.bin" for number in (1, 2)]
FUNCTIONS = ("relu", "tanh")
STARTS: dict[str, dict[str, Any]] = {
    "today": {"scaled": True, "weights": {"relu": "he", "tanh": "xavier"}, "first": {"relu": 0.01, "tanh": 0.01}},
    "AlexNet": {
        "scaled": False, "weights": dict.fromkeys(FUNCTIONS, "small"), "first": {"relu": 0.001, "tanh": 0.004},
    },
}  # fmt: skip
"""Whether pixels have variance 1 or are 0 to 255 less their mean; initial weights; the first learning rate tried."""
SEEDS, LONGEST = range(1, 5), 30


def measured(
    recipe: carousel.recipes.Recipe, start: str, function: str, x: Tensor, y: Tensor, bar: float
) -> tuple[dict[float, float], list[Course]]:
    """Epochs of each rate tried, on a seed of its own, and the trainings with the fastest."""
    weights, first = (STARTS[start][what][function] for what in ("weights", "first"))
    longest, seeds = (4, SEEDS[:2]) if recipe.smoke else (4 * LONGEST, SEEDS)

    def trained(rate: float, quarters: int, seed: int = 0) -> Course:
        key = f"{start}, {function}, rate {rate:g}, seed {seed}, at most {quarters / 4:g} epochs"
        one = recipe.part(key, partial(course, x, y, function, weights, rate, seed, bar=bar, quarters=quarters))
        recipe.say(f"{key}: {one['epochs']:.2f} epochs, {recipe.seconds:.0f} s")
        return one

    tried = fastest(trained, first, longest)
    rate = min(tried, key=lambda r: tried[r])
    return tried, [trained(rate, longest, seed) for seed in seeds]


def draw(shown: dict[str, dict[str, list[Course]]], bar: float) -> Figure:
    """The share of wrong images in the batches of each quarter epoch, as the paper's figure 1."""
    figure = Figure((9, 3.6))
    for axis, (start, courses) in zip(figure.subplots(1, len(shown), sharey=True), shown.items(), strict=True):
        for function, style in zip(FUNCTIONS, ("C0-", "C1--"), strict=True):
            for number, one in enumerate(courses[function]):
                epochs = [(k + 1) / 4 for k in range(len(one["wrong"]))]
                axis.plot(epochs, one["wrong"], style, linewidth=1, label=None if number else function)
        axis.axhline(bar, color="k", linewidth=0.5)
        axis.set(title=f"{start}'s start", xlabel="epoch", ylabel="share wrong in training")
        axis.label_outer()
        axis.legend()
    figure.tight_layout()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """For both starts and functions the fastest rate, then four seeds; a stopped run goes on training by training."""
    bar, images = (0.92, 50) if recipe.smoke else (0.25, 10_000)
    x, y = read([recipe.data(path) for path in FILES], images)
    shown: dict[str, dict[str, list[Course]]] = {start: {} for start in STARTS}
    lines = ["epochs to 25 % training error; inf: slower than the fastest rate until then, and stopped"]
    for start, how in STARTS.items():
        for function in FUNCTIONS:
            tried, found = measured(recipe, start, function, x / x.std() if how["scaled"] else x, y, bar)
            rate = min(tried, key=lambda r: tried[r])
            shown[start][function] = found
            lines.append(f"{start}'s start, {function}")
            lines.append("    rates on seed 0: " + ", ".join(f"{r:g}: {tried[r]:.2f}" for r in sorted(tried)))
            lines.append(f"    rate {rate:g}, seeds 1 to 4: " + ", ".join(f"{one['epochs']:.2f}" for one in found))
            recipe.claim(f"{start}'s start, {function}: the fastest rate, with slower ones on either side",
                         f"between {min(tried):g} and {max(tried):g}", f"{rate:g}", min(tried) < rate < max(tried),
                         "else the best may lie outside")  # fmt: skip
    recipe.text("\n".join(lines) + "\n", "table.txt")
    recipe.say("\n".join(lines))
    recipe.figure(draw(shown, bar), "errors.svg")
    for start, courses in shown.items():
        epochs = {name: [min(one["epochs"], LONGEST) for one in found] for name, found in courses.items()}
        missed = sum(math.isinf(one["epochs"]) for found in courses.values() for one in found)
        means = ", ".join(f"{name} {sum(values) / len(values):.2f}" for name, values in epochs.items())
        ratios = [math.log(slow / fast) for fast, slow in zip(*epochs.values(), strict=True)]
        middle, low, high = (math.exp(value) for value in carousel.recipes.interval(ratios))
        if recipe.smoke:
            continue
        recipe.claim(f"{start}'s start: epochs to 25 % training error, mean of the seeds", f"all within {LONGEST}",
                     means + (f", {missed} not within {LONGEST}" if missed else ""), not missed,
                     "20,000 images, seeds 1 to 4")  # fmt: skip
        recipe.claim(f"{start}'s start: epochs of tanh over those of ReLU, with its 95 % interval", "> 1",
                     f"{middle:.2f} ({low:.2f} to {high:.2f})", low > 1,
                     "Krizhevsky et al. 2012, figure 1, which shows six")  # fmt: skip
