"""Weights that begin alike, too small, too large or of one sign, and odd ones that do."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..planted import Reads, Run, blobs, first_symbol, hard, mlp, names


def filled(net: nn.Sequential, *values: float | None) -> nn.Sequential:
    """With constant weights, where a value is given."""
    layers = [module for module in net if isinstance(module, nn.Linear)]
    for layer, value in zip(layers, values, strict=True):
        if value is not None:
            nn.init.constant_(layer.weight, value)
    return net


def one_sided(net: nn.Module, std: float = 1.0) -> nn.Module:
    """Weights above zero."""
    for p in net.parameters():
        if p.ndim > 1:
            nn.init.uniform_(p, 0.0, std * 2 / p.shape[1] ** 0.5)
    return net


def relus(*sizes: int) -> nn.Sequential:
    pairs = itertools.pairwise((8, *sizes))
    return nn.Sequential(*(m for a, b in pairs for m in (nn.Linear(a, b), nn.ReLU())))[:-1]


def all_zero(net: nn.Module) -> nn.Module:
    for p in net.parameters():
        nn.init.zeros_(p)
    return net


def huge() -> nn.Module:
    net = nn.Sequential(*(m for n in (8, 32, 32, 32) for m in (nn.Linear(n, 32), nn.ReLU())), nn.Linear(32, 5))
    for p in net.parameters():
        nn.init.normal_(p)
    return net


def tiny(norm: type[nn.Module] | None = None) -> nn.Module:
    """Five layers whose weights begin at a hundredth."""
    layers: list[nn.Module] = []
    for n in (8, 32, 32, 32):
        layers += [nn.Linear(n, 32), *([] if norm is None else [norm(32)]), nn.ReLU()]
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
    return nn.Sequential(*layers, nn.Linear(32, 5))


class ByHand(nn.Module):
    """Two matrices, of which all units between them may have the same weights."""

    def __init__(self, *, alike: bool = True, std: float = 0.3) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.full((8, 16), 0.1) if alike else std * torch.randn(8, 16))
        self.second = nn.Parameter(torch.randn(1, 5).repeat(16, 1) if alike else torch.zeros(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.first).tanh() @ self.second


class Products(nn.Module):
    """Five layers written as products with matrices (inputs, outputs)."""

    def __init__(self, std: float | None = None) -> None:
        super().__init__()
        sizes = [(8, 32), (32, 32), (32, 32), (32, 32), (32, 5)]
        self.first, *more = (nn.Parameter((std or (2 / n) ** 0.5) * torch.randn(n, m)) for n, m in sizes)
        self.bias, self.more = nn.Parameter(torch.zeros(32)), nn.ParameterList(more)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.addmm(self.bias, x, self.first)
        for matrix in self.more:
            x = x.relu() @ matrix
        return x


def matrices(std: float) -> Callable[[], None]:
    """Four matrices of the script's own, gradients by `autograd.grad`, and its own updates."""

    def train() -> None:
        x, y = blobs()
        sizes = (8, 64, 64, 64, 5)
        weights = [(std * torch.randn(a, b) * (2 / a) ** 0.5).requires_grad_() for a, b in itertools.pairwise(sizes)]
        for _ in range(4):
            for rows in torch.randperm(len(x)).split(30):
                h = x[rows]
                for number, w in enumerate(weights):
                    h = h @ w
                    h = h.relu() if number < 3 else h
                gradients = torch.autograd.grad(F.cross_entropy(h, y[rows]), weights)
                with torch.no_grad():
                    for w, g in zip(weights, gradients, strict=True):
                        w -= 1e-2 * g / max(1.0, float(g.norm()))

    return train


SEEN: dict[str, Callable[[], Any]] = {
    "bad-init": lambda: Run(filled(mlp(nn.Tanh()), 0.1, 0.1), *blobs()),
}

FAULTS = SEEN | {
    "bad-init, of one sign": lambda: Run(one_sided(relus(64, 64, 64, 64, 5), 3.0), *blobs(900), epochs=2, lr=1e-3),
    "bad-init, of one sign, over time": lambda: Run(
        one_sided(Reads("LSTM", out=3), 3.0), *first_symbol(9), epochs=3, size=20, lr=1e-3
    ),
    "bad-init, zeros": lambda: Run(all_zero(mlp()), *blobs()),
    "bad-init, tiny": lambda: Run(tiny(), *blobs(900), lr=1e-3, epochs=3),
    "bad-init, tiny by hand": lambda: Run(Products(std=0.01), *blobs(900), lr=1e-3, epochs=3),
    "bad-init, by hand": lambda: Run(ByHand(), *blobs(900), lr=1e-2, epochs=4),
    "bad-init, huge": lambda: Run(huge(), *blobs(), lr=1e-4),
    "bad-init, bare matrices": lambda: matrices(12.0),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "last layer zero": lambda: Run(filled(mlp(nn.Tanh()), None, 0.0), *blobs()),
    "small numbers in front of norms": lambda: Run(tiny(nn.BatchNorm1d), *blobs(900), lr=1e-2, epochs=4),
    "five matrices by hand": lambda: Run(Products(), *blobs(900), lr=1e-3, epochs=4),
    "a tiny matrix by hand, that is learned": lambda: Run(ByHand(alike=False, std=0.005), *blobs(900), lr=1e-2),
    "matrices by hand": lambda: Run(ByHand(alike=False), *blobs(900), lr=1e-2, epochs=4),
    "weights of one sign that do": lambda: Run(one_sided(mlp(out=2), 0.3), *hard(900), epochs=8, lr=1e-2),
    "matrices of He's size": lambda: matrices(1.0),
}


@pytest.mark.parametrize("name", names(FAULTS, seen=SEEN))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
