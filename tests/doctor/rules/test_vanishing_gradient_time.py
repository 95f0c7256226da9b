"""Gradients that vanish over the steps, and memories that reach far enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ..planted import Reads, Run, first_symbol, last_symbol, names, plain, runs


class Loop(nn.Module):
    """A plain recurrent network, step by step."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.inner, self.again, self.head = nn.Linear(3, 32), nn.Linear(32, 32), nn.Linear(32, 3)
        nn.init.normal_(self.again.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 32)
        for step in x.unbind(1):
            state = torch.tanh(self.inner(step) + self.again(state))
        return self.head(state)


def orthogonal() -> nn.Module:
    net = Reads("RNN", out=3)
    nn.init.orthogonal_(net.rnn.get_parameter("weight_hh_l0"))
    return net


FAULTS: dict[str, Callable[[], Any]] = {
    "vanishing-gradient-time": lambda: Run(plain(0.05), *first_symbol(60), epochs=5, lr=1e-3),
    "vanishing-gradient-time, noise by heart": lambda: Run(
        plain(0.05), *first_symbol(36, count=400), epochs=13, size=20, lr=3e-3
    ),
    "vanishing-gradient-time, by hand": lambda: Run(
        Loop(0.05), *first_symbol(24, count=320), epochs=12, size=20, lr=5e-3
    ),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "a gated cell": lambda: Run(Reads("GRU", out=3), *first_symbol(15), epochs=8, lr=1e-2),
    "orthogonal": lambda: Run(orthogonal(), *first_symbol(30), epochs=6),
    "a short memory that suffices": lambda: Run(plain(0.05), *last_symbol(12, doubt=0.6), epochs=3, size=20, lr=5e-3),
}


SLOW = (
    "vanishing-gradient-time, noise by heart",
    "vanishing-gradient-time, by hand",
    "a gated cell",
    "a short memory that suffices",
)
"""Runs that take long."""


@pytest.mark.parametrize("name", names(FAULTS, slow=SLOW))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", runs(HEALTHY, slow=SLOW))
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
