"""Learning rates that are too high, and large ones that do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ..planted import Run, blobs, mlp, names, rolled_out, spirals


def heavy(momentum: float, lr: float) -> Callable[[], None]:
    """A regression by momentum: with too much of it the network swings past what it has learned, and back."""

    def train() -> None:
        x, net = torch.randn(1500, 10), nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 1))
        y = torch.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:3] + 0.1 * torch.randn(len(x), 1)
        rule = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum)
        for _ in range(12):
            for batch in torch.randperm(len(x)).split(30):
                rule.zero_grad()
                F.mse_loss(net(x[batch]), y[batch]).backward()
                rule.step()

    return train


FAULTS: dict[str, Callable[[], Any]] = {
    "lr-too-high": lambda: Run(mlp(out=3), *spirals(), lr=20.0, epochs=6),
    "lr-too-high, momentum": lambda: heavy(0.99, lr=0.01),
    "lr-too-high, late": lambda: heavy(0.99, lr=0.03),
    "lr-too-high, over time": lambda: rolled_out(dt=0.1, steps=20, lr=5.0),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "a large learning rate that does": lambda: Run(mlp(), *blobs(900), lr=3e-2, epochs=6),
    "momentum that does": lambda: heavy(0.9, lr=0.03),
}


SLOW = (
    "lr-too-high, momentum",
    "lr-too-high, over time",
)
"""Runs that take long."""


@pytest.mark.parametrize("name", names(FAULTS, slow=SLOW))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
