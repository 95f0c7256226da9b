"""Gradients that grow through the layers, and deep networks in which they do not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ..planted import CLASSES, Run, blobs, names, runs


def stack(phi: nn.Module, gain: float) -> nn.Module:
    """Fourteen layers whose weights begin at `gain` over the root of their inputs."""
    net = nn.Sequential(
        *(m for n in [8, *[32] * 13] for m in (nn.Linear(n, 32), copy.copy(phi))), nn.Linear(32, CLASSES)
    )
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=gain / layer.in_features**0.5)
    return net


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sin()


class Blocks(nn.Module):
    """A deep sum; each block adds `scale` times as much as there is."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale, self.head = scale, nn.Linear(32, CLASSES)
        self.layers = nn.ModuleList(nn.Linear(n, 32) for n in [8, *[32] * 30])
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.get_parameter("weight"), nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers[0](x)
        for layer in self.layers[1:]:
            x = x + self.scale * torch.relu(layer(x))
        return self.head(x)


FAULTS: dict[str, Callable[[], Any]] = {
    "exploding-gradient-depth": lambda: Run(Blocks(1.0), *blobs()),
    "exploding-gradient-depth, without ReLU": lambda: Run(stack(nn.ELU(), 3.0), *blobs()),
    "exploding-gradient-depth, of a bounded signal": lambda: Run(stack(Sine(), 3.0), *blobs()),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "deep, with ELU": lambda: Run(stack(nn.ELU(), 1.2), *blobs(), lr=1e-3),
    "deep, with leaky ReLU": lambda: Run(stack(nn.LeakyReLU(), 1.4), *blobs(), lr=1e-3),
    "deep, with GELU": lambda: Run(stack(nn.GELU(), 1.5), *blobs(), lr=1e-3),
    "deep, with sines": lambda: Run(stack(Sine(), 1.4), *blobs()),
    "residual blocks, scaled": lambda: Run(Blocks(0.1), *blobs()),
}


SLOW = (
    "exploding-gradient-depth, of a bounded signal",
    "residual blocks, scaled",
)
"""Runs that take long."""


@pytest.mark.parametrize("name", names(FAULTS, seen=FAULTS, slow=SLOW))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", runs(HEALTHY, slow=SLOW))
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])


def test_a_deep_network_whose_loss_is_not_seen_is_no_error_of_ours(findings: Callable) -> None:
    def train() -> None:
        net, (x, _) = stack(Sine(), 3.0), blobs()
        rule = torch.optim.SGD(net.parameters(), lr=1e-3)
        for batch in x.split(20):
            rule.zero_grad()
            out = net(batch)
            out.backward(torch.ones_like(out))
            rule.step()

    assert [f.code for f in findings(train)] == ["non-finite"]
