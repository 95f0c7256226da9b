"""Units at the ends of their range, and those that move."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ..planted import CLASSES, Run, blobs, mlp, scaled


def by_hand(std: float) -> Callable[[], None]:
    """A network of tensors, with updates that are written out."""

    def train() -> None:
        (x, y), sizes = blobs(), [8, 64, 64, CLASSES]
        weights = [(std * torch.randn(n, m)).requires_grad_() for n, m in itertools.pairwise(sizes)]
        for _ in range(8):
            for batch in torch.randperm(len(x)).split(30):
                h = torch.tanh(torch.tanh(x[batch] @ weights[0]) @ weights[1])
                F.cross_entropy(h @ weights[2], y[batch]).backward()
                with torch.no_grad():
                    for w in weights:
                        w -= 0.05 * w.grad
                        w.grad = None

    return train


FAULTS: dict[str, Callable[[], Any]] = {
    "saturated-activations": lambda: Run(scaled(mlp(nn.Tanh()), 10), *blobs()),
    "saturated-activations, updates by hand": lambda: by_hand(1.0),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "updates by hand": lambda: by_hand(0.2),
    "tanh as it comes": lambda: Run(mlp(nn.Tanh()), *blobs()),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
