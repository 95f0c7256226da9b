r"""An own function with a hand-written backward pass: checked against differences, and trained beside the built-in one.

Forward :math:`\max(x, 0)`; backward, the gradient of the output where x is positive, else 0. Source: "Supervised deep
learning", slides "implement your own forward and backward in PyTorch"; CS 343 (UT Austin), slide "gradient descent".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

import carousel

BATCH, INPUTS, HIDDEN, OUTPUTS, RATE, UPDATES = 64, 1_000, 100, 10, 1e-6, 500


class MyReLU(torch.autograd.Function):
    """What forward has to remember goes through `ctx`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """max(x, 0)."""
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """∂L/∂x, given ∂L/∂(output)."""
        (x,) = ctx.saved_tensors
        return gradients[0].masked_fill(x <= 0, 0)


class Lecture(MyReLU):
    """As on the slide, which zeroes x < 0: at exactly 0 the gradient passes."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """∂L/∂x."""
        (x,) = ctx.saved_tensors
        return gradients[0].masked_fill(x < 0, 0)


class Wrong(MyReLU):
    """With a mistake: what is not far below zero passes too."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """∂L/∂x, wrongly."""
        (x,) = ctx.saved_tensors
        return gradients[0].masked_fill(x < -0.1, 0)


def train(relu: Callable[[Tensor], Tensor], updates: int) -> tuple[list[float], Tensor, Tensor]:
    """The lecture's two layers on random numbers; losses, and the weights at the end."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(BATCH, size, generator=generator) for size in (INPUTS, OUTPUTS))
    first = torch.randn(INPUTS, HIDDEN, generator=generator).requires_grad_()
    second = torch.randn(HIDDEN, OUTPUTS, generator=generator).requires_grad_()
    losses = []
    for _ in range(updates):
        loss = (relu(x @ first) @ second - y).square().sum()
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, (first, second))
        with torch.no_grad():
            for weight, gradient in zip((first, second), gradients, strict=True):
                weight -= RATE * gradient
    return losses, first.detach(), second.detach()


def checked(function: Callable[[Tensor], Tensor]) -> bool:
    """`torch.autograd.gradcheck` at 200 numbers, none of them within 0.005 of the kink."""
    x = torch.linspace(-1, 1, 200, dtype=torch.float64, requires_grad=True)
    return torch.autograd.gradcheck(function, x, raise_exception=False)


def differences(recipe: carousel.recipes.Recipe) -> Figure:
    """How far difference quotients are from the gradient of the network's loss, over the width of the difference."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 20, generator=generator, dtype=torch.float64)
    w = torch.randn(20, generator=generator, dtype=torch.float64) / math.sqrt(20)

    def loss(v: Tensor) -> Tensor:
        return MyReLU.apply(torch.tanh(x @ v) + 2).square().sum()  # away from the kink, else no quotient is smooth

    at = w.clone().requires_grad_()
    (exact,) = torch.autograd.grad(loss(at), at)
    widths, along = [10.0**-k for k in torch.arange(0, 13.1, 0.5).tolist()], torch.ones_like(w)
    slope = float(exact @ along)
    forward = [abs(float((loss(w + h * along) - loss(w)) / h) / slope - 1) for h in widths]
    central = [abs(float((loss(w + h * along) - loss(w - h * along)) / (2 * h)) / slope - 1) for h in widths]
    for name, found, order in (("forward", forward, 1), ("central", central, 2)):
        near, far = widths.index(10**-2.0), widths.index(10**-3.0)
        measured = math.log10(found[near] / found[far])
        recipe.claim(f"{name} difference: decades of error for a decade of h, from 10⁻² to 10⁻³", order, measured,
                     abs(measured - order) < 0.05, "Taylor; within 0.05")  # fmt: skip
    recipe.claim("central difference: least relative error over all h", "< 1e-9", min(central), min(central) < 1e-9,
                 "truncation h² against rounding ε/h: about ε^(2/3)")  # fmt: skip
    figure = Figure((6, 3.4))
    axis = figure.add_subplot()
    axis.loglog(widths, forward, "o-", markersize=4, label="(f(w+h) - f(w)) / h")
    axis.loglog(widths, central, "s--", markersize=4, label="(f(w+h) - f(w-h)) / 2h")
    axis.invert_xaxis()
    axis.set(xlabel="h", ylabel="relative error", title="difference quotients against the backward pass, float64")
    axis.legend(fontsize=8)
    figure.tight_layout()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """All of it."""
    mine, lecture = MyReLU.apply, Lecture.apply
    checks = ("MyReLU", mine, True), ("the lecture's", lecture, True), ("with a mistake in it", Wrong.apply, False)
    for name, function, expected in checks:
        words = [("fails", "passes")[right] for right in (expected, checked(function))]
        recipe.claim(f"{name}: gradient check at 200 points", words[0], words[1], words[0] == words[1],
                     "torch.autograd.gradcheck, float64")  # fmt: skip
    recipe.figure(differences(recipe), "differences.svg")
    zero = torch.zeros(1, requires_grad=True)
    at_zero = [float(torch.autograd.grad(f(zero).sum(), zero)[0]) for f in (mine, lecture, torch.relu)]
    recipe.claim("gradient at exactly 0: MyReLU, the lecture's, built-in", "0, 1, 0",
                 ", ".join(f"{g:g}" for g in at_zero), at_zero == [0, 1, 0], "x <= 0, x < 0; PyTorch")  # fmt: skip
    updates, zeros = 20 if recipe.smoke else UPDATES, []

    def watched(x: Tensor) -> Tensor:
        zeros.append(int((x == 0).sum()))
        return torch.relu(x)

    (losses, *weights), (theirs, *others) = train(mine, updates), train(watched, updates)
    apart = max(float((a - b).abs().max()) for a, b in zip(weights, others, strict=True))
    what = f"64 × 1000 → 100 → 10, {updates} updates: largest difference from the built-in ReLU"
    off = max(abs(a - b) for a, b in zip(losses, theirs, strict=True))
    for of, difference in (("loss", off), ("weight", apart)):
        recipe.claim(f"{what}, of a {of}", 0, difference, difference == 0, "same arithmetic, float32")
    fall, bar = losses[-1] / losses[0], 1 if recipe.smoke else 1e-3
    recipe.claim("the same: last loss over the first", f"< {bar:g}", fall, fall < bar, "640 targets, 101,000 weights")
    if recipe.smoke:
        return
    first = next((k + 1 for k, count in enumerate(zeros) if count), None)
    differs = next((k for k, (a, b) in enumerate(zip(train(lecture, updates)[0], theirs, strict=True)) if a != b), None)
    recipe.claim("the lecture's: first update after which a loss differs from the built-in ReLU's",
                 f"{first}, the first with a sum of exactly 0", differs, differs == first,
                 f"in {updates} updates {sum(zeros)} of {updates * BATCH * HIDDEN:,} sums are")  # fmt: skip
