"""Losses that do not fit what the network says or what the data are, and unusual ones that do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..planted import (
    CLASSES,
    Run,
    bce_with_logits,
    blobs,
    codes,
    line,
    mlp,
    names,
    noisy_line,
    scaled,
    squared,
    yes_or_no,
)


def divergence(answer: Tensor, y: Tensor) -> Tensor:
    return F.kl_div(answer, 0.9 * F.one_hot(y, CLASSES) + 0.02, reduction="batchmean")


def masked(scores: Tensor, y: Tensor) -> Tensor:
    """Whether a point is of a class, where that is known; -1 else."""
    label = F.one_hot(y, CLASSES).float()
    label[::3] = -1
    return (F.binary_cross_entropy_with_logits(scores, label, reduction="none") * (label >= 0)).mean()


class Speaks(nn.Module):
    """Symbols in time."""

    def __init__(self, *, log: bool) -> None:
        super().__init__()
        self.layer, self.log = nn.Linear(4, 4), log

    def forward(self, x: Tensor) -> Tensor:
        scores = self.layer(x).transpose(0, 1)
        return scores.log_softmax(-1) if self.log else scores


def spoken(count: int = 300) -> tuple[Tensor, Tensor]:
    """Three symbols, a blank behind each."""
    y = torch.randint(1, 4, (count, 3))
    return torch.stack([F.one_hot(y, 4), F.one_hot(0 * y, 4)], 2).flatten(1, 2).float(), y


def ctc(answer: Tensor, y: Tensor) -> Tensor:
    return F.ctc_loss(answer, y, torch.full((len(y),), 6), torch.full((len(y),), 3))


def numbered(order: Tensor) -> Run:
    """Eight levels of a quantity, by their numbers or by others."""
    level = torch.randint(8, (1200,))
    x = torch.randn(1200, 8)
    x[:, 0] = level / 2 - 2 + 0.05 * torch.randn(1200)
    return Run(mlp(out=1), x, order[level].float()[:, None], loss=squared, epochs=12, lr=3e-3)


def shares(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return data[0], F.one_hot(data[1]).float()


def rate(p: Tensor, y: Tensor, log_input: bool = True) -> Tensor:
    return F.poisson_nll_loss(p, y, log_input)


def counts() -> tuple[Tensor, Tensor]:
    """Numbers of events, and what their rate depends on."""
    x = torch.randn(900, 8)
    return x, torch.poisson((0.5 * x[:, :1] + 0.5).exp())


SEEN: dict[str, Callable[[], Any]] = {
    "wrong-loss": lambda: Run(mlp(), *blobs(), loss=F.nll_loss),
    "wrong-loss, divergence of probabilities": lambda: Run(mlp().append(nn.Softmax(1)), *blobs(), loss=divergence),
    "wrong-loss, divergence of scores": lambda: Run(mlp(), *blobs(), loss=divergence),
    "wrong-loss, sequences of scores": lambda: Run(Speaks(log=False), *spoken(), loss=ctc),
    "wrong-loss, labels of a binary loss": lambda: Run(
        mlp(out=1), *yes_or_no(), loss=lambda s, y: bce_with_logits(s[:, 0], 2 * y - 1)
    ),
    "wrong-loss, labels of a margin": lambda: Run(
        mlp(out=1), *yes_or_no(), loss=lambda s, y: F.soft_margin_loss(s[:, 0], y)
    ),
}

FAULTS = SEEN | {
    "wrong-loss, a table": lambda: Run(mlp(out=1), *noisy_line(), loss=lambda p, y: ((p - y[:, 0]) ** 2).mean()),
    "wrong-loss, names of classes": lambda: numbered(torch.randperm(8)),
    "wrong-loss, of shares": lambda: Run(
        scaled(mlp(width=64), 20.0).append(nn.Softmax(1)), *shares(blobs()), loss=squared, lr=1e-3
    ),
    "wrong-loss, one score": lambda: Run(mlp(out=1), *noisy_line(), loss=F.cross_entropy),
    "wrong-loss, a rate as its logarithm": lambda: Run(mlp(out=1).append(nn.Softplus()), *counts(), loss=rate),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "divergence": lambda: Run(mlp().append(nn.LogSoftmax(1)), *blobs(), loss=divergence),
    "sequences": lambda: Run(Speaks(log=True), *spoken(), loss=ctc),
    "labels that are masked": lambda: Run(mlp(), *blobs(), loss=masked),
    "a margin": lambda: Run(mlp(out=1), *yes_or_no(), loss=lambda s, y: F.soft_margin_loss(s[:, 0], 2 * y - 1)),
    "log-softmax and nll": lambda: Run(mlp().append(nn.LogSoftmax(1)), *blobs(), loss=F.nll_loss),
    "a rate": lambda: Run(mlp(out=1).append(nn.Softplus()), *counts(), loss=lambda p, y: rate(p, y, False)),
    "a logarithm of a rate": lambda: Run(mlp(out=1), *counts(), loss=rate),
    "numbers that count": lambda: numbered(torch.arange(8)),
    "squared error of shares": lambda: Run(
        mlp(width=64).append(nn.Softmax(1)), *shares(blobs()), loss=squared, lr=1e-2, epochs=8
    ),
}


@pytest.mark.parametrize("name", names(FAULTS, seen=SEEN))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_column_against_a_row_is_seen_without_experiments(findings: Callable) -> None:
    x, y = line()
    assert codes(findings(Run(mlp(out=1), x, y[:, 0], loss=squared), probe=False)) == ["wrong-loss"]
    assert codes(findings(Run(mlp(out=1), x, y, loss=squared), probe=False)) == []
