"""Steps taken for samples, and orders of axes that are right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..planted import Reads, Run, first_symbol, names, runs


def swapped(batch_first: bool, pick: str) -> Run:
    """Batches of samples first, as they come from a data set."""
    return Run(Reads("GRU", batch_first=batch_first, pick=pick, out=3), *first_symbol(9), epochs=3, size=20)


class Ends(nn.Module):
    """Of the last states of two directions."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.rnn, self.head, self.how = nn.GRU(3, 24, bidirectional=True, batch_first=True), nn.Linear(48, 3), how

    def forward(self, x: Tensor) -> Tensor:
        _, last = self.rnn(x)
        return self.head(last.reshape(-1, 48) if self.how == "view" else last.transpose(0, 1).reshape(-1, 48))


class Unsorted(nn.Module):
    """Reads the longest sequences first, and says what it has to say in the order of the data."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Reads("GRU", pick="mean", out=3)

    def forward(self, x: Tensor) -> Tensor:
        order = x.abs().sum((1, 2)).argsort()
        return self.net(x[order])[order.argsort()]


class Flat(nn.Module):
    """Scores of all steps and samples in one row, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x.transpose(0, 1))[0]).flatten(0, 1)


def since(*, ordered: bool) -> Run:
    """At each step: which symbol came one step before? The targets are in the order of the scores, or by samples."""
    which = torch.randint(3, (400, 7))
    before = which.roll(1, 1)

    def loss(scores: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(scores, (y.T if ordered else y).reshape(-1))

    return Run(Flat(), F.one_hot(which, 3).float(), before, loss=loss, epochs=4, size=20, lr=1e-2)


def running(batch_first: bool) -> Run:
    """At each step: is the sum of the signs so far positive?"""
    x = torch.randn(900, 12, 1).sign()
    net = Reads("GRU", batch_first=batch_first, pick="all", width=1)
    return Run(net, x, (x.cumsum(1) > 0).float(), loss=F.binary_cross_entropy_with_logits, epochs=4, lr=1e-2)


class TimeFirst(nn.Module):
    """Brings the time to the front by one of tensors' methods."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.net = how, Reads("GRU", batch_first=False, pick="last in time", out=3)

    def forward(self, x: Tensor) -> Tensor:
        samples, steps = x.shape[:2]
        return self.net(x.view(steps, samples, 3) if self.how == "view" else x.transpose(0, 1).reshape(steps, -1, 3))


class Attends(nn.Module):
    """One layer of a transformer over (batch, time, features), and the mean over time."""

    def __init__(self, *, batch_first: bool, noise: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=noise, batch_first=batch_first)
        self.last = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layer(self.embed(x)).mean(1))


class Tags(nn.Module):
    """One layer of a transformer over (batch, time), with a place for each step, and scores at each."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(3, 16), nn.Parameter(torch.randn(8, 16))
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=batch_first)
        self.last = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layer(self.embed(x) + self.place)).transpose(1, 2)


def tagged(*, batch_first: bool) -> Run:
    """At each step: the first symbol of the sequence."""
    x = torch.randint(3, (800, 8))
    return Run(Tags(batch_first=batch_first), x, x[:, :1].expand(-1, 8), epochs=4, size=20, lr=1e-2)


def each_step(net: Attends, size: int = 20) -> Callable[[], None]:
    """Targets at each step, (time, batch): there are as many as steps and samples, and time comes first."""
    x, y = first_symbol(7, 200)
    rule = torch.optim.Adam(net.parameters(), lr=1e-2)

    def train() -> None:
        for _ in range(3):
            for rows in torch.randperm(len(x)).split(size):
                scores = net.last(net.layer(net.embed(x[rows].transpose(0, 1))))
                rule.zero_grad()
                F.cross_entropy(scores.flatten(0, 1), y[rows].expand(7, -1).flatten()).backward()
                rule.step()

    return train


FAULTS: dict[str, Callable[[], Any]] = {
    "batch-time-swapped": lambda: swapped(False, "last"),
    "batch-time-swapped, mean": lambda: swapped(False, "mean"),
    "batch-time-swapped, each step": lambda: running(batch_first=False),
    "batch-time-swapped, view": lambda: Run(TimeFirst("view"), *first_symbol(9), epochs=3, size=20),
    "batch-time-swapped, last states": lambda: Run(Ends("view"), *first_symbol(7), epochs=3, size=20),
    "batch-time-swapped, targets": lambda: since(ordered=False),
    "batch-time-swapped, attention over steps": lambda: Run(
        Attends(batch_first=False), *first_symbol(7, 400), epochs=2, size=20
    ),
    "batch-time-swapped, attention and targets at each step": lambda: tagged(batch_first=False),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "batch first": lambda: swapped(True, "last"),
    "mean over time": lambda: swapped(True, "mean"),
    "each step": lambda: running(batch_first=True),
    "a transpose": lambda: Run(TimeFirst("transpose"), *first_symbol(9), epochs=3, size=20),
    "last states": lambda: Run(Ends("transpose"), *first_symbol(7), epochs=3, size=20),
    "sorted and back": lambda: Run(Unsorted(), *first_symbol(7), epochs=3, size=20),
    "targets in the order of the scores": lambda: since(ordered=True),
    "attention over steps": lambda: Run(Attends(batch_first=True), *first_symbol(7, 400), epochs=6, size=20),
    "attention over steps, and targets at each": lambda: tagged(batch_first=True),
    "attention over steps, time first": lambda: each_step(Attends(batch_first=False)),
}


SLOW = (
    "each step",
    "targets in the order of the scores",
)
"""Runs that take long."""


@pytest.mark.parametrize("name", names(FAULTS))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", runs(HEALTHY, slow=SLOW))
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
