"""Networks too small for their task, and those that have learned what there is to learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ..planted import Run, mlp, names, noisy_line, runs, spirals, squared


def bent() -> tuple[Tensor, Tensor]:
    """Mostly a line, and a part that is none."""
    x = torch.randn(900, 8)
    return x, x[:, :1] + x[:, 1:2] + 0.7 * x[:, 2:3].abs()


def bumps() -> tuple[Tensor, Tensor]:
    x = torch.randn(900, 8)
    return x, torch.sin(2 * x[:, :1]) + x[:, 1:2].abs()


def mixed() -> Tensor:
    """Eight features that are mostly two."""
    return torch.randn(900, 2) @ torch.randn(2, 8) + 0.5 * torch.randn(900, 8)


def linear(width: int, *between: nn.Module, out: int = 1) -> nn.Module:
    return nn.Sequential(nn.Linear(8, width), *between, nn.Linear(width, out))


def written_out(scores: Tensor, y: Tensor) -> Tensor:
    return ((scores - y) ** 2).mean()


FAULTS: dict[str, Callable[[], Any]] = {
    "underfitting": lambda: Run(mlp(width=1, out=3), *spirals(), epochs=25, size=40, lr=1e-2),
    "underfitting, nothing between the layers": lambda: Run(linear(64), *bent(), loss=squared, epochs=20, size=20),
    "underfitting, a loss written out": lambda: Run(
        mlp(width=1, out=1), *bumps(), loss=written_out, epochs=20, size=20, lr=1e-2
    ),
    "underfitting, of data in one batch": lambda: Run(mlp(width=1, out=3), *spirals(), epochs=400, size=900, lr=1e-2),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "linear layers, and an activation": lambda: Run(linear(64, nn.ReLU()), *bent(), loss=squared, epochs=20, size=20),
    "linear layers that compress": lambda: Run(linear(2, out=8), *[mixed()] * 2, loss=squared, epochs=20, size=20),
    "a converged plateau": lambda: Run(nn.Linear(8, 1), *noisy_line(), loss=squared, epochs=12, lr=3e-2),
    "a loss written out": lambda: Run(mlp(out=1), *bumps(), loss=written_out, epochs=20, size=20, lr=1e-2),
    "narrow on purpose, a loss written out": lambda: Run(
        linear(2, nn.ReLU(), out=8), *[mixed()] * 2, loss=written_out, epochs=20, size=20
    ),
    "data in one batch": lambda: Run(mlp(width=64, out=3), *spirals(), epochs=400, size=900, lr=1e-2),
    "data in one batch, slow but learning": lambda: Run(mlp(width=64, out=3), *spirals(), epochs=400, size=900),
    "data in one batch, mostly noise": lambda: Run(
        nn.Linear(8, 1), *noisy_line(), loss=squared, epochs=400, size=900, lr=1e-2
    ),
}


SLOW = (
    "underfitting, nothing between the layers",
    "underfitting, a loss written out",
    "underfitting, of data in one batch",
    "data in one batch, slow but learning",
    "data in one batch, mostly noise",
)
"""Runs that take long."""


@pytest.mark.parametrize("name", names(FAULTS, slow=SLOW))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", runs(HEALTHY, slow=SLOW))
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
