"""A network that learns its data by heart, and gaps that are none of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ..planted import Run, hard, mlp, noise

FAULTS: dict[str, Callable[[], Any]] = {
    "overfitting": lambda: Run(mlp(width=256, out=2), *hard(120), dev=hard(400), epochs=60),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "hard data, partly learned by heart": lambda: Run(mlp(width=64, out=2), *hard(200), dev=hard(400), epochs=15),
    "a gap that does not grow": lambda: noise(mlp(width=4), epochs=10, lr=1e-3),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
