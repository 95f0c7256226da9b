"""Gradients that vanish through the layers, and deep networks in which they do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from ..planted import Run, blobs, deep, runs

FAULTS: dict[str, Callable[[], Any]] = {
    "vanishing-gradient-depth": lambda: Run(deep(nn.Sigmoid), *blobs()),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "deep with batch norm": lambda: Run(deep(nn.Sigmoid, norm=True), *blobs()),
    "deep tanh, Xavier": lambda: Run(deep(nn.Tanh, xavier=True), *blobs()),
}


SLOW = ("deep with batch norm",)
"""Runs that take long."""


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", runs(HEALTHY, slow=SLOW))
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
