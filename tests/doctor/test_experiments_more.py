"""More runs that experiments decide: attention, clipped gradients, noise in held-out losses, bare matrices."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carousel.doctor.apart import can_fork

from .test_experiments import Deep, first_symbol, islands
from .test_rules import Run, blobs, codes, cross_entropy

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system cannot copy a process")


class Attends(nn.Module):
    """One layer of a transformer over (batch, time, features), and the mean over time."""

    def __init__(self, *, batch_first: bool, noise: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=noise, batch_first=batch_first)
        self.last = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layer(self.embed(x)).mean(1))


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


def clipped(net: nn.Module, lr: float) -> Callable[[], None]:
    x, y = islands()
    rule = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)

    def train() -> None:
        for _ in range(5):
            for rows in torch.randperm(len(x)).split(20):
                rule.zero_grad()
                F.cross_entropy(net(x[rows]), y[rows]).backward()
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                rule.step()

    return train


def matrices(std: float) -> Callable[[], None]:
    """Four matrices of the script's own, gradients by `autograd.grad`, and its own updates."""

    def train() -> None:
        x, y = blobs()
        sizes = (8, 64, 64, 64, 5)
        weights = [(std * torch.randn(a, b) * (2 / a) ** 0.5).requires_grad_() for a, b in itertools.pairwise(sizes)]
        for _ in range(4):
            for rows in torch.randperm(len(x)).split(30):
                h = x[rows]
                for number, w in enumerate(weights):
                    h = h @ w
                    h = h.relu() if number < 3 else h
                gradients = torch.autograd.grad(F.cross_entropy(h, y[rows]), weights)
                with torch.no_grad():
                    for w, g in zip(weights, gradients, strict=True):
                        w -= 1e-2 * g / max(1.0, float(g.norm()))

    return train


def dropping() -> nn.Module:
    """Its held-out losses differ by chance, as those of experiments are made with dropout too."""
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 5))


FAULTS: dict[str, Callable[[], Any]] = {
    "batch-time-swapped": lambda: Run(Attends(batch_first=False), *first_symbol(7, 400), epochs=2, size=20),
    "too-deep-plain": lambda: clipped(Deep("plain", 30), lr=1e-2),
    "bad-init": lambda: matrices(12.0),
    "lr-too-low": lambda: Run(dropping(), *blobs(150), lr=1e-6, epochs=40, loss=cross_entropy),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "attention over steps": lambda: Run(Attends(batch_first=True), *first_symbol(7, 400), epochs=6, size=20),
    "attention over steps, time first": lambda: each_step(Attends(batch_first=False)),
    "deep, residual and clipped": lambda: clipped(Deep("residual", 10), lr=1e-2),
    "matrices of He's size": lambda: matrices(1.0),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str, findings: Callable) -> None:
    assert codes(findings(FAULTS[name])) == [name]


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, findings: Callable) -> None:
    assert codes(findings(HEALTHY[name])) == []
