"""Labels among the inputs and samples in both parts, and data that only look like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..planted import CENTERS, CLASSES, Run, apart, blobs, hard, line, mlp, names, squared


def with_column(x: Tensor, column: Tensor) -> Tensor:
    return torch.cat([x, column.reshape(len(x), -1).float()], 1)


def told(data: tuple[Tensor, Tensor], noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """With the labels as a last column."""
    x, y = data
    return with_column(x, 2.0 * y - 3 + noise * torch.randn(y.shape)), y


def binned(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """With the mean target of one of twenty groups, which were made by the target."""
    x, y = data
    group = torch.bucketize(y[:, 0], y.quantile(torch.linspace(0.05, 0.95, 19)))
    return with_column(x, torch.stack([y[group == k].mean() for k in range(20)])[group]), y


def storeys(count: int = 600) -> tuple[Tensor, Tensor]:
    """Heights of buildings, and their storeys, which tell them but for the roof."""
    storey = torch.randint(1, 20, (count, 1)).float()
    x = with_column(torch.randn(count, 8), storey / 10)
    return x, (storey + 0.3 * torch.rand(count, 1) * x[:, :1].sigmoid()) / 10


def told_in_codes() -> tuple[Tensor, Tensor]:
    x, y = blobs()
    return with_column(x, F.one_hot(y)), y


def overlapping(data: tuple[Tensor, Tensor], net: nn.Module, shuffled: bool = False, **options: Any) -> Run:
    """The last 50 training rows are the first of the evaluated ones, if these are not shuffled."""
    x, y = data
    order = torch.randperm(len(x) - 350) + 350 if shuffled else torch.arange(350, len(x))
    return Run(net, x[:400], y[:400], dev=(x[order], y[order]), **options)


def bits(count: int = 600) -> tuple[Tensor, Tensor]:
    """Rows that repeat by nature; the label is one of the bits."""
    x = torch.randint(2, (count, 8)).float()
    return x, x[:, 0].long()


def wide(out: int = CLASSES) -> nn.Sequential:
    return nn.Sequential(nn.Linear(9, 32), nn.ReLU(), nn.Linear(32, out))


def windows(*, by_series: bool | None) -> Run:
    """Which of two frequencies is in a series; split by series, in time, or at random."""
    kind = torch.arange(40) % 2
    phase = 6 * torch.rand(40, 1)
    series = torch.sin(torch.arange(120) * (0.4 + 0.3 * kind[:, None]) + phase) + 0.3 * torch.randn(40, 120)
    x, y = series.unfold(1, 24, 6), kind[:, None].expand(-1, 17)
    if by_series is None:
        x, y = x.transpose(0, 1), y.T
    x, y = x.reshape(-1, 24), y.reshape(-1)
    order = torch.randperm(len(x)) if by_series is False else torch.arange(len(x))
    train, dev = order[:480], order[480:]
    net = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 2))
    return Run(net, x[train], y[train], dev=(x[dev], y[dev]), epochs=8)


SEEN: dict[str, Callable[[], Any]] = {
    "data-leakage": lambda: Run(wide(), *told(blobs())),
    "data-leakage, with noise": lambda: Run(wide(2), *told(hard(600), 0.02)),
    "data-leakage, in codes": lambda: Run(nn.Linear(13, CLASSES), *told_in_codes()),
    "data-leakage, of numbers": lambda: Run(wide(1), *told(line()), loss=squared),
    "data-leakage, of numbers in steps": lambda: Run(wide(1), *binned(line()), loss=squared),
    "data-leakage, split": lambda: overlapping(blobs(), mlp(), shuffled=True),
    "data-leakage, split, one batch": lambda: overlapping(blobs(), mlp(), dev_size=250, train_too=True),
    "data-leakage, split, boundary inside a batch": lambda: overlapping(blobs(), mlp(), dev_size=40),
}

FAULTS = SEEN | {
    "data-leakage, of windows that overlap": lambda: windows(by_series=False),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "a measurement in steps": lambda: Run(wide(1), *storeys(), loss=squared),
    "training data evaluated too": lambda: apart(blobs(), mlp(), train_too=True, epochs=6),
    "all data evaluated at once": lambda: Run(
        mlp(), *(d := blobs()), dev=tuple(torch.cat([t, u]) for t, u in zip(d, blobs(200), strict=True)), dev_size=1000
    ),
    "all data evaluated in order": lambda: Run(
        mlp(), *(d := blobs()), dev=tuple(torch.cat([t, u]) for t, u in zip(d, blobs(100), strict=True)), dev_size=64
    ),
    "only training data evaluated": lambda: Run(mlp(), *(d := blobs()), dev=d),
    "rows that repeat by nature": lambda: apart(bits(), mlp(out=2), epochs=6),
    "clusters far apart": lambda: Run(
        mlp(), *(lambda y: (CENTERS[y] + 0.02 * torch.randn(600, 8), y))(torch.randint(CLASSES, (600,)))
    ),
    "windows, split by series": lambda: windows(by_series=True),
    "windows, split in time": lambda: windows(by_series=None),
}


@pytest.mark.parametrize("name", names(FAULTS, seen=SEEN))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
