"""Noise in evaluations or none in training, and noise that is meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..planted import CLASSES, Run, blobs, frozen_body, mlp, names


class Drops(nn.Module):
    """Dropout, called in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.last, self.how, self.layer = nn.Linear(8, 32), nn.Linear(32, CLASSES), how, nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        p, q = 0.3 if self.training else 0.0, x.unflatten(1, (4, 8))
        return self.last(
            {
                "untold": lambda: F.dropout(x, 0.3),
                "told": lambda: F.dropout(x, 0.3, training=self.training),
                "always": lambda: F.dropout(x, 0.3, True),
                "made": lambda: nn.Dropout(0.3)(x),
                "layer": lambda: self.layer(x),
                "attention": lambda: F.scaled_dot_product_attention(q, q, q, dropout_p=0.3).flatten(1),
                "attention, told": lambda: F.scaled_dot_product_attention(q, q, q, dropout_p=p).flatten(1),
            }[self.how]()
        )


def dropping(*, on_purpose: bool, train_mode: bool) -> Callable[[], None]:
    """Evaluated with dropout on: once, or as the mean of many passes; or never trained with it."""

    def train() -> None:
        (x, y), net = blobs(), mlp(nn.Dropout(0.3), nn.ReLU())
        rule = torch.optim.Adam(net.parameters(), lr=3e-3)
        net.train(train_mode)
        for _ in range(4):
            for batch in torch.randperm(len(x)).split(30):
                rule.zero_grad()
                F.cross_entropy(net(x[batch]), y[batch]).backward()
                rule.step()
            with torch.no_grad():
                parts = [x] if on_purpose else x.split(100)
                for part in parts:
                    torch.stack([net(part) for _ in range(20 if on_purpose else 1)]).mean(0)

    return train


SEEN: dict[str, Callable[[], Any]] = {
    "train-eval-mode": lambda: Run(mlp(nn.Dropout(0.3), nn.ReLU()), *blobs(), dev=blobs(100), eval_mode=False),
    "train-eval-mode, a loss with a mode": lambda: Run(
        mlp(nn.Dropout(0.3), nn.ReLU()), *blobs(), dev=blobs(100), loss=nn.CrossEntropyLoss(), modes="never"
    ),
    "train-eval-mode, after the first evaluation": lambda: Run(
        mlp(nn.Dropout(0.3), nn.ReLU()), *blobs(), dev=blobs(200), modes="once"
    ),
    "train-eval-mode, dropout untold": lambda: Run(Drops("untold"), *blobs(), dev=blobs(200)),
    "train-eval-mode, dropout made in the call": lambda: Run(Drops("made"), *blobs(), dev=blobs(200)),
    "train-eval-mode, dropout of attention": lambda: Run(Drops("attention"), *blobs(), dev=blobs(200)),
    "train-eval-mode, dropout told, no modes": lambda: Run(Drops("told"), *blobs(), dev=blobs(200), eval_mode=False),
}

FAULTS = SEEN | {
    "train-eval-mode, never in training": lambda: dropping(on_purpose=True, train_mode=False),
    "train-eval-mode, in batches": lambda: dropping(on_purpose=False, train_mode=True),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "dropout off": lambda: Run(mlp(nn.Dropout(0.0), nn.ReLU()), *blobs(), dev=blobs(100), eval_mode=False),
    "a loss with a mode": lambda: Run(
        mlp(nn.Dropout(0.3), nn.ReLU()), *blobs(), dev=blobs(200), loss=nn.CrossEntropyLoss()
    ),
    "held, in evaluation mode": lambda: Run(
        nn.Sequential(frozen_body(), nn.Dropout(0.1)), *blobs(), dev=blobs(200), modes="once"
    ),
    "no noise, no modes": lambda: Run(mlp(), *blobs(), dev=blobs(100), eval_mode=False),
    "dropout that is told": lambda: Run(Drops("told"), *blobs(), dev=blobs(200)),
    "dropout that is always on": lambda: Run(Drops("always"), *blobs(), dev=blobs(200)),
    "dropout as a layer": lambda: Run(Drops("layer"), *blobs(), dev=blobs(200)),
    "attention that is told": lambda: Run(Drops("attention, told"), *blobs(), dev=blobs(200)),
    "many passes with dropout, on purpose": lambda: dropping(on_purpose=True, train_mode=True),
}


@pytest.mark.parametrize("name", names(FAULTS, seen=SEEN))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
