"""Rare classes that are not learned, and those that are or that weights make up for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ..planted import Run, mlp, rare, runs


def weighted(*weights: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda scores, y: F.cross_entropy(scores, y, weight=torch.tensor(weights))


def half_told(count: int = 3000) -> tuple[Tensor, Tensor]:
    """Rare samples that overlap with the others, so that one of five is rather one of them."""
    y = (torch.rand(count) < 0.04).long()
    x = torch.randn(count, 8)
    x[:, 0] += 1.9 * y
    return x, y


FAULTS: dict[str, Callable[[], Any]] = {
    "class-imbalance": lambda: Run(mlp(out=2), *rare(0.04, apart=False)),
    "class-imbalance, weights all one": lambda: Run(mlp(out=2), *rare(0.04, apart=False), loss=weighted(1.0, 1.0)),
    "class-imbalance, weights the wrong way": lambda: Run(
        mlp(out=2), *rare(0.04, apart=False), loss=weighted(0.96, 0.04)
    ),
    "class-imbalance, some recognized": lambda: Run(mlp(out=2), *half_told(), dev=half_told(1000), compare=True),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "imbalance with weights": lambda: Run(mlp(out=2), *rare(0.04, apart=False), loss=weighted(1.0, 30.0)),
    "imbalance, judged by scores": lambda: Run(mlp(out=2), *half_told(), dev=half_told(1000)),
    "imbalance, easy": lambda: Run(mlp(out=2), *rare(0.04, apart=True), epochs=8),
    "imbalance, dev no better than the majority": lambda: Run(
        mlp(out=2), *rare(0.15, apart=True), dev=rare(0.15, apart=True)
    ),
}


SLOW = (
    "imbalance, judged by scores",
    "imbalance, dev no better than the majority",
)
"""Runs that take long."""


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", runs(HEALTHY, slow=SLOW))
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
