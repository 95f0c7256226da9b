"""Units that are never active, and those that seldom are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn

from ..planted import Run, blobs, mlp, names, noisy_line, rare, scaled, squared


class Bound(nn.Module):
    def __init__(self, upper: float | None = None) -> None:
        super().__init__()
        self.upper = upper

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=0) if self.upper is None else x.clamp(0, self.upper)


SEEN: dict[str, Callable[[], Any]] = {
    "dead-relu": lambda: Run(scaled(mlp(), 0.1, bias=-3), *blobs()),
    "dead-relu, as a lower bound": lambda: Run(scaled(mlp(Bound()), 0.1, bias=-3), *blobs()),
    "dead-relu, few positives": lambda: Run(scaled(mlp(out=2), 0.1, bias=-3), *rare(0.1, apart=True)),
}

FAULTS = SEEN | {
    "dead-relu, at the output": lambda: Run(
        mlp(width=16, out=1).append(nn.ReLU()), *(d := noisy_line())[:1], -3 - d[1].abs(), loss=squared
    ),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "a lower bound": lambda: Run(mlp(Bound(), width=64), *blobs()),
    "bounds of pixels": lambda: Run(mlp(nn.ReLU(), Bound(upper=1.0), width=64), *blobs()),
    "sparse but living": lambda: Run(mlp(width=64), *blobs()),
}


@pytest.mark.parametrize("name", names(FAULTS, seen=SEEN))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
