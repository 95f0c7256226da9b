"""The three losses on 8 × 8 digits: from an ordinary start, and from a network that is surely wrong."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

import carousel

__all__ = ["KINDS", "compared"]

KINDS = ("cross-entropy", "squared error", "hinge")
RATES, SEEDS, BATCH, LONGEST, EVERY = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0), range(1, 9), 128, 4_000, 5
Losses = Callable[[Tensor, Tensor], dict[str, Tensor]]


def digits() -> tuple[Tensor, Tensor]:
    """1,797 digits of 64 pixels from -1 to 1, and what they are."""
    data, target = (torch.from_numpy(np.asarray(part)) for part in load_digits(return_X_y=True))
    return data.float() / 8 - 1, target


def started(x: Tensor, y: Tensor, seed: int, *, wrong: bool, updates: int) -> nn.Sequential:
    """A network of 32 ReLUs; where it shall be wrong, trained to say the next digit."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    rule = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(updates if wrong else 0):
        rule.zero_grad()
        nn.functional.cross_entropy(net(x), (y + 1) % 10).backward()
        rule.step()
    return net


def errors(
    net: nn.Sequential, x: Tensor, y: Tensor, loss: Callable[..., Tensor], rate: float, updates: int
) -> list[float]:
    """The share of wrong digits, every few updates of gradient descent, until below 5 %."""
    rule, course = torch.optim.SGD(net.parameters(), lr=rate), []
    for step in range(updates + 1):
        if step % EVERY == 0:
            with torch.no_grad():
                course.append(float((net(x).argmax(1) != y).double().mean()))
            if course[-1] < 0.05:
                break
        rows = torch.randint(len(x), (BATCH,))
        rule.zero_grad()
        (loss(net(x[rows]), y[rows]) / BATCH).backward()
        rule.step()
    return course


def compared(recipe: carousel.recipes.Recipe, losses: Losses) -> None:
    """Updates to 5 % wrong, each loss at its best rate; ratios to cross-entropy over seeds."""
    (x, y), longest, rates = digits(), 20 if recipe.smoke else LONGEST, RATES[:1] if recipe.smoke else RATES
    figure, found = Figure((9, 3.4)), recipe.load("errors") or {}
    for start in ("ordinary", "surely wrong"):
        for kind in KINDS:
            if (key := f"{start}: {kind}") not in found:

                def course(rate: float, seed: int, start: str = start, kind: str = kind) -> list[float]:
                    net = started(x, y, seed, wrong=start != "ordinary", updates=10 if recipe.smoke else 300)
                    return errors(net, x, y, lambda z, t: losses(z, t)[kind], rate, longest)

                tried = {rate: course(rate, 0) for rate in rates}
                rate = min(rates, key=lambda r: (len(tried[r]), tried[r][-1]))
                found[key] = {"rate": rate, "courses": [course(rate, seed) for seed in SEEDS]}
                recipe.save("errors", found)
            taken = [EVERY * (len(c) - 1) for c in found[key]["courses"]]
            recipe.say(f"{key}: rate {found[key]['rate']}, updates to 5 % wrong {taken}")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, start in zip(axes, ("ordinary", "surely wrong"), strict=True):
        for color, (style, kind) in enumerate(zip(("-", "--", "-."), KINDS, strict=True)):
            for number, c in enumerate(found[f"{start}: {kind}"]["courses"]):
                name = f"{kind}, rate {found[f'{start}: {kind}']['rate']}" if number == 0 else None
                axis.plot(
                    [EVERY * k + 1 for k in range(len(c))], c, style, color=f"C{color}", label=name, linewidth=0.8
                )
        axis.set(title=f"{start} start", xlabel="update + 1", xscale="log")
        axis.legend(fontsize=8)
    axes[0].set_ylabel("share of digits that are wrong")
    figure.tight_layout()
    recipe.figure(figure, "learning.svg")
    if recipe.smoke:
        return
    for start in ("ordinary", "surely wrong"):
        steps = {k: [EVERY * (len(c) - 1) for c in found[f"{start}: {k}"]["courses"]] for k in KINDS}
        for kind in KINDS[1:]:
            ratios = [math.log(a / b) for a, b in zip(steps[kind], steps["cross-entropy"], strict=True)]
            middle, low, high = (math.exp(v) for v in carousel.recipes.interval(ratios))
            said = f"{middle:.2f} ({low:.2f} to {high:.2f})"
            if kind == "squared error":
                recipe.claim(f"{start} start: updates to 5 % wrong, squared error over cross-entropy, 95 % interval",
                             "> 1", said, low > 1, "slide: a very bad cost function for softmax units")  # fmt: skip
            else:
                recipe.claim(f"{start} start: the same, hinge", "< 3", said, high < 3, "its pull does not fade")
