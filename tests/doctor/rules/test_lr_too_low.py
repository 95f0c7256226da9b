"""Learning rates that are too low or fall too early, and small ones that do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..planted import Run, blobs, cross_entropy, mlp, names, noisy_line, spirals, squared


def falling(per_batch: bool) -> Callable[[], None]:
    """A schedule in epochs, stepped once an epoch or once a batch."""

    def train() -> None:
        (x, y), net = spirals(), mlp(out=3)
        rule = torch.optim.Adam(net.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.StepLR(rule, 3, 0.3)
        for _ in range(8):
            for batch in torch.randperm(len(x)).split(30):
                rule.zero_grad()
                F.cross_entropy(net(x[batch]), y[batch]).backward()
                rule.step()
                if per_batch:
                    schedule.step()
            if not per_batch:
                schedule.step()

    return train


def decaying(x: Tensor, y: Tensor, net: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], None]:
    """A learning rate that falls by the batch, to nothing in the first third of the run."""

    def train() -> None:
        rule = torch.optim.Adam(net.parameters(), lr=4e-3)
        schedule = torch.optim.lr_scheduler.ExponentialLR(rule, 0.9)
        for _ in range(8):
            for batch in torch.randperm(len(x)).split(30):
                rule.zero_grad()
                loss(net(x[batch]), y[batch]).backward()
                rule.step()
                schedule.step()

    return train


def dropping() -> nn.Module:
    """Its held-out losses differ by chance, as those of experiments are made with dropout too."""
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 5))


FAULTS: dict[str, Callable[[], Any]] = {
    "lr-too-low": lambda: Run(mlp(), *blobs(900), lr=1e-6, epochs=8),
    "lr-too-low, a schedule stepped by batch": lambda: falling(per_batch=True),
    "lr-too-low, a schedule that decays by batch": lambda: decaying(*spirals(), mlp(nn.Tanh(), out=3), cross_entropy),
    "lr-too-low, losses that differ by chance": lambda: Run(
        dropping(), *blobs(150), lr=1e-6, epochs=40, loss=cross_entropy
    ),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "a small learning rate that does": lambda: Run(mlp(), *blobs(900), lr=3e-4, epochs=15),
    "a schedule that decays by batch, to a converged end": lambda: decaying(*noisy_line(), nn.Linear(8, 1), squared),
    "a schedule stepped by epoch": lambda: falling(per_batch=False),
}


@pytest.mark.parametrize("name", names(FAULTS))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
