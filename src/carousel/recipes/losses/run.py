r"""Cross-entropy, mean squared error and hinge: what they say to an output that is surely wrong.

Scores z, softmax p, target class y, t its one-hot vector. With respect to the scores, the gradients are
:math:`p - t` (cross-entropy), :math:`p_i (e_i - \sum_j p_j e_j)` with :math:`e = p - t` (squared error of the softmax,
½ Σ e²), and the signs of the violated margins (hinge). Source: "Supervised deep learning", slides "loss function: …",
after G. Hinton's lecture 4.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

import carousel

from .learning import KINDS, compared

CLASSES, MARGINS = 10, (0, 1, 2, 5, 10, 20)


def losses(z: Tensor, y: Tensor) -> dict[str, Tensor]:
    """(examples, classes) scores and (examples,) classes → the sum over examples of each loss."""
    error = z.softmax(1) - F.one_hot(y, z.shape[1])
    return {
        "cross-entropy": F.cross_entropy(z, y, reduction="sum"),
        "squared error": error.square().sum() / 2,
        "hinge": F.multi_margin_loss(z, y, reduction="sum") * z.shape[1],  # PyTorch divides by the classes
    }


def by_hand(z: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Their gradients, (examples, classes)."""
    p, t = z.softmax(1), F.one_hot(y, z.shape[1]).to(z)
    error = p - t
    violated = ((z - z.gather(1, y.unsqueeze(1)) + 1 > 0) & (t == 0)).to(z)
    return {
        "cross-entropy": error,
        "squared error": p * (error - (p * error).sum(1, keepdim=True)),
        "hinge": violated - t * violated.sum(1, keepdim=True),
    }


def wrong(margin: float) -> Tensor:
    """(1, classes): the class 1 leads by `margin`, the right one is 0."""
    z = torch.zeros(1, CLASSES, dtype=torch.float64)
    z[0, 1] = margin
    return z.requires_grad_()


def closed_forms(recipe: carousel.recipes.Recipe) -> None:
    """Gradients by hand against autograd, and their values where the output is surely wrong."""
    generator, zero = torch.Generator().manual_seed(0), torch.zeros(1, dtype=torch.int64)
    z = (5 * torch.randn(200, CLASSES, generator=generator, dtype=torch.float64)).requires_grad_()
    y = torch.randint(CLASSES, (200,), generator=generator)
    for name, loss in losses(z, y).items():
        (gradient,) = torch.autograd.grad(loss, z, retain_graph=True)
        off = float((gradient - by_hand(z, y)[name]).abs().max().detach())
        recipe.claim(f"{name}: gradient by hand against autograd, 200 random examples, largest difference", "< 1e-14",
                     off, off < 1e-14, "derived on this page")  # fmt: skip
    lines = [f"{'margin':>6}{'p of right':>13}" + "".join(f"{name:>16}" for name in KINDS)]
    for margin in MARGINS:
        z = wrong(margin)
        pull = [-torch.autograd.grad(loss, z, retain_graph=True)[0][0, 0] for loss in losses(z, zero).values()]
        lines.append(f"{margin:6}{float(z.detach().softmax(1)[0, 0]):13.3g}" + "".join(f"{g:16.3g}" for g in pull))
    recipe.text("-∂L/∂z of the right class, which is behind by a margin\n" + "\n".join(lines) + "\n", "table.txt")
    recipe.say("\n".join(lines))
    z = wrong(20)
    p = float(z.detach().softmax(1)[0, 0])
    gradients = {name: torch.autograd.grad(loss, z, retain_graph=True)[0] for name, loss in losses(z, zero).items()}
    pull = {name: -float(gradient[0, 0]) for name, gradient in gradients.items()}
    for name, exact, why in (
        ("cross-entropy", 1.0, "1 - p"),
        ("squared error", 2 * math.exp(-20), "2 p, p = e^-margin, but for terms of p²"),
        ("hinge", 9.0, "one for each of nine violated margins"),
    ):
        recipe.claim(f"{name}: pull on the right class at a margin of 20", exact, pull[name],
                     math.isclose(pull[name], exact, rel_tol=1e-6), why)  # fmt: skip
    y = z.softmax(1)[0, 0]
    (steep,), (flat,) = torch.autograd.grad(-y.log(), y, retain_graph=True), torch.autograd.grad(y, z)
    product, exact = float(steep * flat[0, 0]), p - 1
    recipe.claim("cross-entropy: dC/dy times dy/dz of the right class, at y = 2e-9", round(exact, 9), product,
                 abs(product - exact) < 1e-12, "slide: the steepness balances the flatness")  # fmt: skip
    gain = math.log(0.001 / 0.0000001)
    two = [torch.tensor([[q, 1 - q]]).double().log() for q in (1e-3, 1e-7)]
    found = [-float(F.cross_entropy(scores, zero)) for scores in two]
    recipe.claim("cross-entropy: nats between a target of probability 0.001 and 0.0000001", round(gain, 6),
                 found[0] - found[1], math.isclose(found[0] - found[1], gain), "ln 10⁴, much better")  # fmt: skip
    found = [float(losses(scores, zero)["squared error"]) for scores in two]
    recipe.claim("squared error: the same", round(1 - 0.999**2, 6), found[1] - found[0],
                 math.isclose(found[1] - found[0], 1 - 0.999**2, rel_tol=1e-3), "(1 - p)²")  # fmt: skip


def draw() -> Figure:
    """The pull on the right class, over the margin by which it is behind."""
    margins = torch.linspace(0, 16, 300, dtype=torch.float64)
    z = torch.zeros(300, CLASSES, dtype=torch.float64)
    z[:, 1] = margins
    z.requires_grad_()
    figure = Figure((6, 3.4))
    axis = figure.add_subplot()
    for style, (name, loss) in zip(
        ("-", "--", "-."), losses(z, torch.zeros(300, dtype=torch.int64)).items(), strict=True
    ):
        (gradient,) = torch.autograd.grad(loss, z, retain_graph=True)
        axis.semilogy(margins, -gradient[:, 0], style, label=name)
    axis.set(xlabel="margin by which the right class is behind a wrong one", ylabel="pull -∂L/∂z", ylim=(1e-6, 30))
    axis.legend(fontsize=8)
    figure.tight_layout()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """Closed forms, then training."""
    closed_forms(recipe)
    recipe.figure(draw(), "pull.svg")
    compared(recipe, losses)
