"""Update rules and learning-rate schedules by name."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from ..errors import UsageError
from ..settings import TrainingSettings

__all__ = ["Momentum", "Schedule", "add_l1", "optimizer"]


def optimizer(parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """The update rule.

    adamw: Loshchilov & Hutter 2019, with β2 = 0.99 instead of 0.999, which learns text faster in short runs;
    adagrad: Duchi, Hazan & Singer 2011; rmsprop: Tieleman & Hinton 2012, with decay 0.9; sgd, with momentum: Polyak
    1964; nesterov: Sutskever et al. 2013; momentum: see `Momentum`.

    Raises:
        UsageError: momentum for a rule that has none, or none for Nesterov's.
    """
    chosen, rate = [p for p in parameters if p.requires_grad], settings.learning_rate
    if settings.optimizer in ("adamw", "adagrad", "rmsprop") and (settings.momentum or settings.momentum_end):
        raise UsageError(
            f"--momentum means nothing for {settings.optimizer}; use --optimizer sgd, momentum or nesterov."
        )
    assert rate is not None
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(chosen, lr=rate, weight_decay=settings.weight_decay, betas=(0.9, 0.99), fused=True)
    if settings.optimizer == "adagrad":
        return torch.optim.Adagrad(chosen, lr=rate)
    decay = settings.weight_decay
    if settings.optimizer == "rmsprop":
        return torch.optim.RMSprop(chosen, lr=rate, alpha=0.9, weight_decay=decay)
    usual = 0.0 if settings.optimizer == "sgd" else 0.9
    momentum = usual if settings.momentum is None else settings.momentum
    if settings.optimizer == "momentum":
        return Momentum(chosen, rate, momentum, decay)
    nesterov = settings.optimizer == "nesterov"
    if nesterov and not (momentum or settings.momentum_end):
        raise UsageError("--optimizer nesterov needs a --momentum above 0; 0.9 is usual.")
    return torch.optim.SGD(chosen, lr=rate, momentum=momentum, weight_decay=decay, nesterov=nesterov)


class Momentum(torch.optim.Optimizer):
    r"""v ← μ v - λ ε w - ε ∂L/∂w, w ← w + v.

    The rate ε is inside of the velocity v, so that steps already taken keep theirs when ε falls;
    `torch.optim.SGD` has it outside, and the two differ in the steps after a change of ε only. Krizhevsky, Sutskever &
    Hinton 2012, section 5, with μ = 0.9 and λ = 0.0005.

    Args:
        parameters: w.
        lr: ε.
        momentum: μ.
        weight_decay: λ.

    Example:
        >>> w = torch.nn.Parameter(torch.ones(1))
        >>> rule = Momentum([w], lr=0.1, momentum=0.9, weight_decay=0.0)
        >>> (w**2 / 2).sum().backward(); rule.step(); w.item()
        0.8999999761581421
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.9, weight_decay: float = 5e-4
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore
        """One update."""
        for group in self.param_groups:
            rate, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
            for w in group["params"]:
                if w.grad is None:
                    continue
                state = self.state[w]
                if not state:
                    state["velocity"] = torch.zeros_like(w)
                v = state["velocity"]
                v.mul_(momentum).add_(w, alpha=-decay * rate).add_(w.grad, alpha=-rate)
                w.add_(v)


@torch.no_grad()
def add_l1(parameters: Iterable[nn.Parameter], strength: float) -> None:
    """Add the derivative of strength · Σ |w| to the gradients; 0 at w = 0."""
    for w in parameters:
        if w.grad is not None:
            w.grad.add_(w.sign(), alpha=strength)


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
        self.momenta = settings.momentum, settings.momentum_end
        self.warmup = min(100, settings.steps // 10) if settings.warmup is None else settings.warmup
        self.factor, self.best, self.stalled = 1.0, math.inf, 0

    def rate(self, step: int) -> float:
        """Learning rate of update number `step`, from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup * self.factor
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        shape = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}.get(self.kind, 1.0)
        return self.peak * shape * self.factor

    def momentum(self, step: int) -> float | None:
        """Momentum of update number `step`, from 0; None to leave it as it is."""
        begin, end = self.momenta
        if end is None:
            return None
        begin = 0.9 if begin is None else begin
        return begin + (end - begin) * step / max(self.steps - 1, 1)

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
