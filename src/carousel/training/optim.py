"""Update rules and learning-rate schedules by name."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from ..settings import TrainingSettings

__all__ = ["Schedule", "optimizer"]


def optimizer(parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """The update rule.

    adamw: Loshchilov & Hutter 2019, with β2 = 0.99 instead of 0.999, which learns text faster in short runs;
    adagrad: Duchi, Hazan & Singer 2011; sgd, with momentum: Polyak 1964.
    """
    chosen, rate = [p for p in parameters if p.requires_grad], settings.learning_rate
    assert rate is not None
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(chosen, lr=rate, weight_decay=settings.weight_decay, betas=(0.9, 0.99), fused=True)
    if settings.optimizer == "adagrad":
        return torch.optim.Adagrad(chosen, lr=rate)
    return torch.optim.SGD(chosen, lr=rate, momentum=settings.momentum, weight_decay=settings.weight_decay)


class Schedule:
    """The learning rate as a function of the step, never of the clock.

    linear falls to zero at the last step, cosine likewise on half a cosine, constant stays, plateau halves whenever two
    evaluations in a row bring no better dev loss. All rise linearly over the warm-up's steps first.
    """

    PLATEAU_PATIENCE = 2

    def __init__(self, settings: TrainingSettings):
        assert settings.steps is not None
        assert settings.learning_rate is not None
        self.kind, self.peak = settings.schedule, settings.learning_rate
        self.steps = settings.steps
        self.warmup = min(100, settings.steps // 10) if settings.warmup is None else settings.warmup
        self.factor, self.best, self.stalled = 1.0, math.inf, 0

    def rate(self, step: int) -> float:
        """Learning rate of update number `step`, from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup * self.factor
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        shape = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}.get(self.kind, 1.0)
        return self.peak * shape * self.factor

    def evaluated(self, dev_loss: float) -> None:
        """Tell the schedule the dev loss; only plateau listens."""
        self.stalled = 0 if dev_loss < self.best else self.stalled + 1
        self.best = min(self.best, dev_loss)
        if self.kind == "plateau" and self.stalled >= self.PLATEAU_PATIENCE:
            self.factor, self.stalled = self.factor / 2, 0

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint needs."""
        return {"factor": self.factor, "best": self.best, "stalled": self.stalled}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from a checkpoint."""
        self.factor, self.best, self.stalled = state["factor"], state["best"], int(state["stalled"])
