"""Inputs and targets on scales that keep a network from learning, and those that are taken care of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ..planted import Run, blobs, mlp, names, squared


def raw() -> tuple[Tensor, Tensor]:
    """The classes are in small features; a large one says nothing."""
    x, y = blobs(900)
    return torch.cat([x[:, :7], 3000.0 + 1000.0 * torch.randn(len(x), 1)], 1), y


def row_by_row(x: Tensor, y: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Each row by itself of mean 0 and standard deviation 1; the last feature is far above all others, or is not."""
    x = torch.cat([x[:, :7], level + x[:, 7:]], 1)
    return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True), y


class WithCodes(nn.Module):
    """A table for the codes in the last column, joined to the other columns as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.net = nn.Embedding(10, 4), nn.Sequential(nn.Linear(11, 64), nn.ReLU(), nn.Linear(64, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.cat([self.table(x[:, 7].long()), x[:, :7]], 1))


def coded(scale: float) -> Run:
    x, y = blobs(900)
    x = torch.cat([scale * (x[:, :1] + 2), x[:, 1:7], torch.randint(10, (900, 1)).float()], 1)
    return Run(WithCodes(), x, y, epochs=6, lr=1e-3)


def large(scale: float) -> tuple[Tensor, Tensor]:
    """A regression with targets around `scale`."""
    x = torch.randn(900, 8)
    return x, scale * (3.0 + x[:, :1] + 0.5 * x[:, 1:2])


FAULTS: dict[str, Callable[[], Any]] = {
    "unnormalized-input": lambda: Run(mlp(), *raw(), epochs=4),
    "unnormalized-input, row by row": lambda: Run(mlp(), *row_by_row(*blobs(900), 60.0), epochs=4, lr=1e-3),
    "unnormalized-input, beside codes": lambda: coded(3000.0),
    "unnormalized-input, targets": lambda: Run(mlp(out=1), *large(2e4), loss=squared, epochs=8, lr=1e-3),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "raw, but normalized inside": lambda: Run(nn.Sequential(nn.BatchNorm1d(8), mlp()), *raw(), epochs=6, lr=1e-2),
    "rows of unit length": lambda: Run(mlp(), *row_by_row(*blobs(900), 0.0), epochs=6, lr=1e-2),
    "small numbers beside codes": lambda: coded(1.0),
    "targets of some size": lambda: Run(mlp(out=1), *large(1.0), loss=squared, epochs=8, lr=1e-2),
}


@pytest.mark.parametrize("name", names(FAULTS))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
