"""Plain networks too deep to be trained, and deep ones that are trained well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..planted import Run, names, runs, spirals


def islands(count: int = 900) -> tuple[Tensor, Tensor]:
    """Ten classes of three clouds each."""
    centers = 1.5 * torch.randn(10, 3, 8)
    y, which = torch.randint(10, (count,)), torch.randint(3, (count,))
    return centers[y, which] + 0.3 * torch.randn(count, 8), y


class Deep(nn.Module):
    def __init__(self, kind: str, layers: int = 20) -> None:
        super().__init__()
        self.kind, self.first, self.last = kind, nn.Linear(8, 24), nn.Linear(24, 10)
        self.layers = nn.ModuleList(nn.Linear(24, 24) for _ in range(layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(24) for _ in range(layers))
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.get_parameter("weight"), nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            y = F.relu(layer(x))
            x = x + 0.2 * y if self.kind == "residual" else norm(y) if self.kind == "norm" else y
        return self.last(x)


def clipped(net: nn.Module, lr: float) -> Callable[[], None]:
    x, y = islands()
    rule = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)

    def train() -> None:
        for _ in range(5):
            for rows in torch.randperm(len(x)).split(20):
                rule.zero_grad()
                F.cross_entropy(net(x[rows]), y[rows]).backward()
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                rule.step()

    return train


FAULTS: dict[str, Callable[[], Any]] = {
    "too-deep-plain": lambda: Run(Deep("plain", 40), *islands(), epochs=5, size=20, lr=1e-3),
    "too-deep-plain, as it comes": lambda: Run(
        nn.Sequential(
            nn.Linear(8, 24), *(m for _ in range(24) for m in (nn.Linear(24, 24), nn.ReLU())), nn.Linear(24, 10)
        ),
        *islands(),
        epochs=8,
        size=20,
        lr=1e-3,
    ),
    "too-deep-plain, by small steps": lambda: Run(Deep("plain", 40), *islands(), epochs=2, size=20, lr=2e-4),
    "too-deep-plain, clipped": lambda: clipped(Deep("plain", 30), lr=1e-2),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "deep and residual": lambda: Run(Deep("residual"), *spirals(), epochs=3, size=20, lr=1e-3),
    "deep with norms": lambda: Run(Deep("norm", 10), *spirals(), epochs=4, size=20, lr=1e-2),
    "deep and plain, by small steps": lambda: Run(Deep("plain", 8), *islands(), epochs=6, size=20, lr=1e-3),
    "deep, residual and clipped": lambda: clipped(Deep("residual", 10), lr=1e-2),
}

SLOW = (
    "too-deep-plain, as it comes",
    "too-deep-plain, by small steps",
    "too-deep-plain, clipped",
    "deep and residual",
    "deep with norms",
    "deep, residual and clipped",
)
"""Runs that take long."""


@pytest.mark.parametrize("name", names(FAULTS, slow=SLOW))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", runs(HEALTHY, slow=SLOW))
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
