r"""Depth: plain and residual networks of 20 and of 56 layers on CIFAR-10, and their training errors.

.. math:: y = \mathrm{ReLU}(F(x)) \quad\text{(plain)}, \qquad y = \mathrm{ReLU}(x + F(x)) \quad\text{(residual)}

A deeper plain network could do what a shallower one does, with layers that change nothing; trained, it does worse, and
already on the images that it is trained on. Source: He, Zhang, Ren & Sun, "Deep residual learning for image
recognition", CVPR 2016, section 4.2 and figure 6.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from matplotlib.figure import Figure

import carousel

from .training import Images, Size, read, trained

THIN = Size(files=2, held_out=2_000, depths=(20, 56), filters=8, epochs=16, batch=64, rate=0.05)
"""For one thread of a CPU: the paper's rate per image in smaller batches, so that there are more updates."""
FULL = Size(files=5, held_out=5_000, depths=(20, 32, 44, 56), filters=16, epochs=182, batch=128, rate=0.1)
"""The paper's: 64,000 updates on 45,000 images. For a GPU, all five files, and hours."""
SIZE = THIN
SEEDS = (0, 1, 2)
KINDS = ("plain", "resnet")
Found = dict[str, list[dict[str, Any]]]
"""Network -> what `trained` returns, seed by seed."""


def table(found: Found) -> str:
    """Errors and time, network by network."""
    lines = [f"{'':10}{'seed':>6}{'training error':>16}{'with changes':>14}{'held out':>10}{'minutes':>9}"]
    for name, runs in found.items():
        for seed, one in enumerate(runs):
            errors = f"{one['train']:16.2%}{one['wrong'][-1]:14.2%}{one['held_out']:10.2%}"
            lines.append(f"{name:10}{seed:6}{errors}{one['seconds'] / 60:9.1f}")
    last = "with changes: images cut and mirrored at random, in the batches of the last epoch"
    return "\n".join([*lines, last]) + "\n"


def draw(found: Found, size: Size) -> Figure:
    """Training errors epoch by epoch, as in the paper's figure 6: plain on the left, residual on the right."""
    figure = Figure((9, 3.6))
    for axis, kind in zip(figure.subplots(1, 2, sharey=True), KINDS, strict=True):
        for number, depth in enumerate(size.depths):
            for seed, one in enumerate(found[f"{kind}{depth}"]):
                epochs, shares = range(1, len(one["wrong"]) + 1), [100 * share for share in one["wrong"]]
                label = None if seed else f"{depth} layers"
                axis.plot(epochs, shares, f"C{number}", linewidth=1, label=label)
        axis.set(title={"plain": "plain", "resnet": "residual"}[kind], xlabel="epoch")
        axis.legend()
    figure.axes[0].set_ylabel("training images wrong, %")
    figure.tight_layout()
    return figure


def trainings(recipe: carousel.recipes.Recipe, size: Size, train: Images, held_out: Images) -> Found:
    """All networks, seed by seed."""
    found: Found = {f"{kind}{depth}": [] for kind in KINDS for depth in size.depths}
    for seed in SEEDS[: 2 if recipe.smoke else None]:
        for name, runs in found.items():
            one = partial(trained, recipe, name, size, seed, train, held_out)
            runs.append(recipe.part(f"{name}, {size.filters} filters, seed {seed}", one))
    return found


def run(recipe: carousel.recipes.Recipe) -> None:
    """Train them all, then compare; a stopped run goes on with the epoch where it was."""
    files = [recipe.data(f"cifar10/data_batch_{number + 1}.bin") for number in range(SIZE.files)]
    device, size = "cuda" if torch.cuda.is_available() else "cpu", SIZE
    train, held_out = (
        Images(images.x.to(device), images.y.to(device))
        for images in read(files, 16 if recipe.smoke else size.held_out)
    )
    if recipe.smoke:
        train, size = Images(train.x[:8], train.y[:8]), SIZE._replace(epochs=1, batch=4)
        trained(recipe, "resnet56", FULL._replace(epochs=1, batch=4), 0, train, held_out)
    found = trainings(recipe, size, train, held_out)
    recipe.text(table(found), "table.txt")
    recipe.say(table(found))
    recipe.figure(draw(found, size), "errors.svg")
    sizes = [[found[f"{kind}{depth}"][0]["parameters"] for depth in size.depths] for kind in KINDS]
    recipe.claim(f"parameters of the plain networks of {size.depths} layers, and of the residual ones", "the same",
                 str(sizes), sizes[0] == sizes[1], "their shortcuts have no weights")  # fmt: skip
    few, many = size.depths[0], size.depths[-1]
    pairs = (
        (f"plain{many}", f"plain{few}", 1, "figure 6, left: the deeper plain network has the higher training error"),
        (f"resnet{many}", f"resnet{few}", -1, "figure 6, middle: the deeper residual network has the lower one"),
        (f"resnet{many}", f"plain{many}", -1, "figure 6: shortcuts cure it"),
    )
    for one, other, sign, why in pairs:
        apart = [a["train"] - b["train"] for a, b in zip(found[one], found[other], strict=True)]
        middle, low, high = (100 * value for value in carousel.recipes.interval(apart))
        if not recipe.smoke:
            recipe.claim(f"{one} less {other}: training error in points, mean of {len(apart)} seeds, with its 95 % "
                         f"interval", f"{'>' if sign > 0 else '<'} 0 with each seed",
                         f"{middle:.2f} ({low:.2f} to {high:.2f})", min(sign * value for value in apart) > 0,
                         f"He et al. 2016, {why}")  # fmt: skip
