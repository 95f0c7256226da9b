"""Gradients that grow over the steps, and dynamics in which they do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ..planted import Run, first_symbol, names, plain, rolled_out, runs


def adding(spread: float, lr: float, updates: int = 200) -> Callable[[], None]:
    """The sum of the marked numbers of a sequence, by a loop of rectifiers without modules."""

    def train() -> None:
        start = torch.eye(32) + spread * torch.randn(32, 32)
        weights = [0.1 * torch.randn(2, 32), start, torch.zeros(32), 0.1 * torch.randn(32, 1), torch.zeros(1)]
        inner, again, bias, outer, last = (w.requires_grad_() for w in weights)
        rule = torch.optim.Adam(weights, lr=lr)
        for _ in range(updates):
            x = torch.rand(30, 32, 2)
            x[..., 1] = (torch.rand(30, 32).argsort(0) < 3).float()
            y = (x[..., :1] * x[..., 1:]).sum(0)
            state = torch.zeros(32, 32)
            for step in x:
                state = torch.relu(step @ inner + state @ again + bias)
            loss = ((state @ outer + last - y) ** 2).mean()
            rule.zero_grad()
            loss.backward()
            if spread < 0.01:
                nn.utils.clip_grad_norm_(weights, 1.0)
            rule.step()

    return train


FAULTS: dict[str, Callable[[], Any]] = {
    "exploding-gradient-time": lambda: Run(plain(0.5), *first_symbol(40), epochs=5, lr=1e-3),
    "exploding-gradient-time, behind an update": lambda: rolled_out(dt=1.0, steps=40),
    "exploding-gradient-time, by hand": lambda: adding(spread=0.08, lr=1e-3),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "rectifiers by hand": lambda: adding(spread=0.002, lr=3e-3),
    "small steps": lambda: rolled_out(dt=0.1, steps=40),
}

SLOW = (
    "exploding-gradient-time, behind an update",
    "exploding-gradient-time, by hand",
    "small steps",
)
"""Runs that take long."""


@pytest.mark.parametrize("name", names(FAULTS, slow=SLOW))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", runs(HEALTHY, slow=SLOW))
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
