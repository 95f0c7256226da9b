"""Labels that belong to other inputs, and tasks in which there is little to learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ..planted import Run, apart, blobs, hard, line, mlp, names, noise, runs, squared


def misaligned(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x, y[torch.randperm(len(y))]


def drifted(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x, y + 5


def faint(count: int) -> tuple[Tensor, Tensor]:
    """Labels that the inputs determine by a little."""
    x = torch.randn(count, 8)
    return x, (x[:, 0] + 3 * torch.randn(count) > 0).long()


def copied(*, aligned: bool) -> Run:
    """Each row three times with some noise, one round after the other."""
    x, y = torch.randn(200, 30), torch.arange(200) % 4
    x[:, :2] += 3.0 * torch.stack([y % 2, y // 2], 1)
    order = torch.randperm(200)
    x, y = x[order], y[order]
    x = torch.cat([x + 0.1 * torch.randn(200, 30) for _ in range(3)])
    net = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 4))
    return Run(net, x, y.repeat(3) if aligned else y.repeat_interleave(3), epochs=40, size=20)


SEEN: dict[str, Callable[[], Any]] = {
    "label-noise": lambda: apart(misaligned(*hard(700)), mlp(width=256, out=2), epochs=60),
    "label-noise, small": lambda: noise(mlp(width=256), epochs=40),
    "label-noise, training data evaluated too": lambda: apart(
        misaligned(*hard(700)), mlp(width=256, out=2), epochs=60, train_too=True
    ),
    "label-noise, dev only": lambda: Run(mlp(), *blobs(), dev=misaligned(*blobs(300)), epochs=8),
    "label-noise, compared": lambda: apart(misaligned(*hard(700)), mlp(width=256, out=2), epochs=60, compare=True),
    "label-noise, of numbers": lambda: apart(misaligned(*line()), mlp(width=128, out=1), loss=squared, epochs=100),
}

FAULTS = SEEN | {
    "label-noise, little learned": lambda: apart(
        misaligned(*hard(900)), mlp(width=64, out=2), epochs=8, dev_size=500, size=10
    ),
    "label-noise, of copies": lambda: copied(aligned=False),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "compared": lambda: apart(hard(700), mlp(out=2), epochs=8, compare=True),
    "numbers that drift": lambda: Run(mlp(out=1), *line(), loss=squared, dev=drifted(*line(200)), epochs=8),
    "noise, few samples": lambda: Run(mlp(), *blobs(), dev=misaligned(*blobs(60))),
    "copies with their labels": lambda: copied(aligned=True),
    "little to learn": lambda: apart(faint(900), mlp(width=64, out=2), epochs=8, dev_size=500, size=10),
}


SLOW = (
    "label-noise, training data evaluated too",
    "label-noise, little learned",
    "label-noise, of copies",
    "compared",
    "numbers that drift",
    "copies with their labels",
    "little to learn",
)
"""Runs that take long."""


@pytest.mark.parametrize("name", names(FAULTS, seen=SEEN, slow=SLOW))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", runs(HEALTHY, slow=SLOW))
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
