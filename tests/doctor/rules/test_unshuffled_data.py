"""Data in an order that hurts, and orders that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..planted import CLASSES, Run, blobs, mlp, names, runs, squared


def by_class(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    order = y.argsort()
    return x[order], y[order]


def regimes(shuffle: bool) -> Run:
    """A log of six regimes, each with its own law and level."""
    regime = torch.arange(1200) // 200
    x = 0.35 * torch.randn(1200, 8)
    x[:, 0] += 2 * torch.sin(2.1 * regime)
    x[:, 1] += 2 * torch.cos(2.1 * regime)
    y = 1.5 * torch.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:3] + 0.8 * torch.cos(1.7 * regime)[:, None]
    return Run(mlp(out=1, width=48), x, y, loss=squared, lr=0.1, epochs=8, shuffle=shuffle)


def series() -> None:
    """The next value of a wandering one, read in order."""
    torch.manual_seed(1)
    values = [0.0]
    for step in torch.randn(2000).tolist():
        values.append(0.98 * values[-1] + 0.2 * step)
    windows = torch.tensor(values).unfold(0, 9, 1)
    Run(mlp(out=1), windows[:, :8], windows[:, 8:], loss=squared, lr=3e-3, epochs=4, shuffle=False)()


def curve(shuffle: bool) -> Run:
    """A measured curve, point by point along it."""
    x = torch.linspace(-1, 1, 800)[:, None]
    net = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    y = torch.sin(5 * x) + 0.6 * x**2 + 0.1 * torch.randn(800, 1)
    return Run(net, x, y, loss=squared, epochs=40, size=20, shuffle=shuffle)


def blocks(size: int, lr: float, epochs: int = 3, *, norm: bool = False) -> Callable[[], None]:
    """Batches of 30 samples, made of blocks of a single class in random order."""

    def run() -> None:
        torch.manual_seed(5)
        x, y = blobs(1200)
        order = y.argsort()
        pure = [order[y[order] == k] for k in range(CLASSES)]
        pieces = torch.cat([rows[: len(rows) // size * size].reshape(-1, size) for rows in pure])
        net = mlp(*[nn.BatchNorm1d(32)] * norm, nn.ReLU())
        rule = torch.optim.Adam(net.parameters(), lr=lr)
        for _ in range(epochs):
            mixed = pieces[torch.randperm(len(pieces))].flatten()
            for rows in mixed.split(30):
                if len(rows) == 30:
                    rule.zero_grad()
                    F.cross_entropy(net(x[rows]), y[rows]).backward()
                    rule.step()

    return run


SEEN: dict[str, Callable[[], Any]] = {
    "unshuffled-data": lambda: Run(mlp(), *by_class(*blobs()), shuffle=False),
}

FAULTS = SEEN | {
    "unshuffled-data, of numbers": lambda: regimes(shuffle=False),
    "unshuffled-data, along a curve": lambda: curve(shuffle=False),
    "unshuffled-data, in whole batches": lambda: blocks(size=30, lr=1e-2, norm=True),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "data sorted, batches shuffled": lambda: Run(mlp(), *by_class(*blobs())),
    "not shuffled, but mixed": lambda: Run(mlp(), *blobs(), shuffle=False),
    "regimes, shuffled": lambda: regimes(shuffle=True),
    "a curve, shuffled": lambda: curve(shuffle=True),
    "blocks of classes, all in a batch": lambda: blocks(size=6, lr=1e-2, norm=True),
    "batches of one class, by small steps": lambda: blocks(size=30, lr=1e-3, epochs=60),
    "episodes of two classes": lambda: blocks(size=15, lr=3e-3, epochs=12),
    "a series in its order": lambda: series,
}


SLOW = (
    "unshuffled-data, of numbers",
    "unshuffled-data, along a curve",
    "a curve, shuffled",
    "batches of one class, by small steps",
    "a series in its order",
)
"""Runs that take long."""


@pytest.mark.parametrize("name", names(FAULTS, seen=SEEN, slow=SLOW))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", runs(HEALTHY, slow=SLOW))
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
