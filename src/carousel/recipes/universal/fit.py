"""Functions of one number, networks for them, and how close they come."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

__all__ = ["FUNCTIONS", "bend", "by_hand", "fitted", "grid", "weights"]

POINTS = 512
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Nielsen's": lambda x: 0.2 + 0.4 * x**2 + 0.3 * x * torch.sin(15 * x) + 0.05 * torch.cos(50 * x),
    "three waves": lambda x: torch.sin(6 * math.pi * x),
    "chirp": lambda x: torch.sin(4 * math.pi * x**2) * (1 - x / 2),
    "two bumps": lambda x: torch.exp(-200 * (x - 0.3) ** 2) - 0.6 * torch.exp(-800 * (x - 0.7) ** 2),
}


def grid() -> Tensor:
    """(points, 1): equally spaced on [0, 1]."""
    return torch.linspace(0, 1, POINTS, dtype=torch.float64).unsqueeze(1)


def network(sizes: tuple[int, ...]) -> nn.Sequential:
    """Tanh layers of these sizes between one number and another; the first units turn at random places of [0, 1]."""
    parts: list[nn.Module] = []
    for fan_in, size in itertools.pairwise((1, *sizes)):
        parts += [nn.Linear(fan_in, size), nn.Tanh()]
    first = parts[0]
    assert isinstance(first, nn.Linear)
    with torch.no_grad():
        first.weight.copy_(torch.randn(sizes[0], 1) * max(sizes[0], 8))
        first.bias.copy_(-first.weight[:, 0] * torch.rand(sizes[0]))
    return nn.Sequential(*parts, nn.Linear(sizes[-1], 1)).double()


def weights(sizes: tuple[int, ...]) -> int:
    """How many weights and biases."""
    return sum(p.numel() for p in network(sizes).parameters())


@torch.no_grad()
def fitted(f: Callable[[Tensor], Tensor], sizes: tuple[int, ...], seed: int, rounds: int) -> tuple[float, Tensor]:
    """Root mean square error on the points, and what the network says there, after rounds of Levenberg-Marquardt.

    A round solves (JᵀJ/N + μ 1) s = Jᵀe/N, e the errors and J their derivatives, and takes the step if it helps.
    """
    torch.manual_seed(seed)
    net, x = network(sizes), grid()
    y, shapes = f(x)[:, 0], {name: p.shape for name, p in net.named_parameters()}
    flat, damping = torch.cat([p.flatten() for p in net.parameters()]), 1e-2

    def said(flat: Tensor, x: Tensor) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes.values()])
        values = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return functional_call(net, values, (x,))[..., 0]

    derivatives = vmap(grad(said), (None, 0))
    error = said(flat, x) - y
    for _ in range(rounds):
        jacobian = derivatives(flat, x)
        curvature, slope = jacobian.T @ jacobian / POINTS, jacobian.T @ error / POINTS
        for _ in range(8):
            step = torch.linalg.solve(curvature + damping * torch.eye(len(flat), dtype=flat.dtype), slope)
            new = said(flat - step, x) - y
            if new.norm() < error.norm():
                flat, error, damping = flat - step, new, max(damping / 3, 1e-15)
                break
            damping *= 4
        else:
            break
    return float(error.square().mean().sqrt()), error + y


def by_hand(f: Callable[[Tensor], Tensor], width: int) -> float:
    """The largest error of `width` ReLUs at equal distances, Σ (change of slope) ReLU(x - knot) + f(0)."""
    x, knots = grid(), torch.arange(width, dtype=torch.float64) / width
    values = f(torch.cat([knots, torch.ones(1, dtype=torch.float64)]))
    slopes = values.diff() * width
    change = torch.cat([slopes[:1], slopes.diff()])
    said = torch.relu(x - knots) @ change.unsqueeze(1) + values[0]
    return float((said - f(x)).abs().max())


def bend(f: Callable[[Tensor], Tensor]) -> float:
    """The largest |f''| on [0, 1]."""
    x = torch.linspace(0, 1, 20_001, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    return float(second.abs().max())
