"""Scores that are normalized twice, and those that only look it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch.nn.functional as F
from torch import nn

from ..planted import Run, bce_with_logits, blobs, mlp, yes_or_no

FAULTS: dict[str, Callable[[], Any]] = {
    "double-softmax": lambda: Run(mlp(nn.ReLU()).append(nn.Softmax(1)), *blobs()),
    "double-softmax, of sigmoids": lambda: Run(
        mlp(out=1).append(nn.Sigmoid()), *yes_or_no(), loss=lambda s, y: bce_with_logits(s.squeeze(1), y)
    ),
    "double-softmax, two sigmoids": lambda: Run(
        mlp(out=1).append(nn.Sigmoid()), *yes_or_no(), loss=lambda s, y: F.binary_cross_entropy(s[:, 0].sigmoid(), y)
    ),
    "double-softmax, sigmoids and cross-entropy": lambda: Run(mlp().append(nn.Sigmoid()), *blobs()),
    "double-softmax, along the other axis": lambda: Run(mlp().append(nn.Softmax(0)), *blobs()),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "sigmoids as scores, enlarged": lambda: Run(
        mlp().append(nn.Sigmoid()), *blobs(), loss=lambda s, y: F.cross_entropy(10 * s, y)
    ),
    "log-softmax and cross-entropy": lambda: Run(mlp().append(nn.LogSoftmax(1)), *blobs()),
    "a sigmoid and its loss": lambda: Run(
        mlp(out=1).append(nn.Sigmoid()), *yes_or_no(), loss=lambda s, y: F.binary_cross_entropy(s[:, 0], y)
    ),
    "scores behind a sigmoid layer": lambda: Run(
        mlp(nn.Sigmoid(), out=1), *yes_or_no(), loss=lambda s, y: bce_with_logits(s[:, 0], y)
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
