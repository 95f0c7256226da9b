"""Does it learn? Ten layers of 500 units on 8 × 8 digits, each setting without and with batch norm."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import carousel

from .lecture import SETTINGS, Setting

__all__ = ["learned"]

WIDTH, LAYERS, BATCH, RATES, SEEDS, UPDATES, BAR = 500, 10, 64, (0.01, 0.1, 1.0), (1, 2, 3), 100, 0.5
RULE = f"gradient descent, {UPDATES} batches of {BATCH}, best of {len(RATES)} rates on another seed"


def digits() -> tuple[Tensor, Tensor]:
    """1,797 digits as 500 random mixtures of their 64 pixels, mean 0 and variance 1 each; and what they are."""
    data, target = (torch.from_numpy(np.asarray(part)) for part in load_digits(return_X_y=True))
    x = data.float() @ torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(0))
    return (x - x.mean(0)) / x.std(0), target


def network(setting: Setting, *, normed: bool) -> nn.Sequential:
    """The layers of the slides, without biases, and an output layer that is the same for all."""
    parts: list[nn.Module] = []
    for _ in range(LAYERS):
        layer = nn.Linear(WIDTH, WIDTH, bias=False)
        nn.init.normal_(layer.weight, std=setting.gain / math.sqrt(WIDTH))
        function = nn.Tanh() if setting.function == "tanh" else nn.ReLU()
        parts += [layer, nn.BatchNorm1d(WIDTH), function] if normed else [layer, function]
    return nn.Sequential(*parts, nn.Linear(WIDTH, 10))


def loss_after(setting: Setting, rate: float, seed: int, x: Tensor, y: Tensor, updates: int, *, normed: bool) -> float:
    """Nats per digit of all digits after some updates; infinite where it has left the numbers."""
    torch.manual_seed(seed)
    net = network(setting, normed=normed)
    rule = torch.optim.SGD(net.parameters(), lr=rate)
    for _ in range(updates):
        rows = torch.randint(len(x), (BATCH,))
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        rule.zero_grad()
        loss.backward()
        rule.step()
    with torch.no_grad():
        total = float(nn.functional.cross_entropy(net(x), y))
    return total if math.isfinite(total) else math.inf


def learned(recipe: carousel.recipes.Recipe) -> None:
    """A line for each setting; a stopped run goes on with the next."""
    updates, names = (1, ["tanh, 0.01"]) if recipe.smoke else (UPDATES, list(SETTINGS))
    (x, y), found = digits(), recipe.load("learned") or {}
    for name in names:
        for normed in (False, True):
            key = f"{name}, batch norm" if normed else name
            if key not in found:
                after = partial(loss_after, SETTINGS[name], x=x, y=y, updates=updates, normed=normed)
                rate = min(RATES, key=lambda r: after(rate=r, seed=0))
                found[key] = [rate, *(after(rate=rate, seed=seed) for seed in SEEDS)]
                recipe.save("learned", found)
                recipe.say(f"{key}: rate {rate}, nats {[round(loss, 3) for loss in found[key][1:]]}")
    if recipe.smoke:
        return
    for name in SETTINGS:
        worst = max(found[f"{name}, batch norm"][1:])
        plain = max(found[name][1:])
        recipe.claim(f"{name}, batch norm: nats per digit after {UPDATES} updates, worst of {len(SEEDS)} seeds "
                     f"({plain:.3g} without)", f"< {BAR}", worst, worst < BAR, f"{RULE}; chance is 2.303")  # fmt: skip
