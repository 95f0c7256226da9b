"""Gradients that are never cleared, and those that are added up on purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ..planted import Run, blobs, codes, mlp

FAULTS: dict[str, Callable[[], Any]] = {
    "missing-zero-grad": lambda: Run(mlp(), *blobs(), zero="never"),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "accumulation on purpose": lambda: Run(mlp(), *blobs(), zero="accumulate"),
    "gradients set to None by hand": lambda: Run(mlp(), *blobs(), zero="none"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])


def test_a_network_of_two_optimizers_is_left_in_peace(findings: Callable) -> None:
    """Each one's gradients wait while the other is updated, as in adversarial training."""

    def train() -> None:
        made, judge = nn.Linear(4, 8), mlp(out=1)
        rules = [torch.optim.Adam(net.parameters(), lr=1e-3) for net in (made, judge)]
        for _ in range(60):
            fake, real = made(torch.randn(20, 4)), torch.randn(20, 8)
            rules[1].zero_grad()
            (F.softplus(judge(fake.detach())) + F.softplus(-judge(real))).mean().backward()
            rules[1].step()
            rules[0].zero_grad()
            F.softplus(-judge(fake)).mean().backward()
            rules[0].step()

    assert codes(findings(train)) == []
