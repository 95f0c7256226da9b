"""What a record holds of answers against targets: how they agree in training and in evaluations, as a few sums."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["Agreement", "Answers"]

MOST = 400
"""Evaluations kept, by kind of loss; of more, every second is dropped."""

NUMBERS = 1024
"""Of a batch of a regression, that are looked at: the first ones."""

REGRESSIONS = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")


@dataclass
class Agreement:
    """Of one evaluation.

    Attributes:
        step: updates before it.
        samples: how many.
        loss: the mean of the loss, None where a sum or classes with weights were asked for.
        table: of classes, how many samples have it as label, as answer, and as both.
        sums: of a regression, number, then the sums of answers, targets, answers², targets², answers · targets.
    """

    step: int
    samples: int = 0
    loss: float | None = 0.0
    table: Tensor | None = None
    sums: Tensor | None = None


@dataclass
class Answers:
    """Gathers them.

    Attributes:
        evaluations: by kind of loss, of the calls without gradients between two updates.
        batches: of regressions, by kind of loss: (step, centered sums of answers², targets², answers · targets).
    """

    evaluations: dict[str, list[Agreement]] = field(default_factory=dict)
    batches: dict[str, list[tuple[int, float, float, float]]] = field(default_factory=dict)

    def trained(self, kind: str, given: Tensor, target: Tensor, step: int) -> None:
        """A batch of a regression."""
        if kind in REGRESSIONS and given.shape == target.shape and given.numel() > 1:
            p, t = (v.detach().flatten()[:NUMBERS].to("cpu", torch.float64).numpy() for v in (given, target))
            p, t = p - p.sum() / len(p), t - t.sum() / len(t)
            self.batches.setdefault(kind, []).append((step, p @ p, t @ t, p @ t))

    def evaluated(self, kind: str, given: Tensor, target: Tensor, loss: float | None, step: int) -> None:
        """A call without gradients."""
        table, sums = _table(kind, given, target), None
        if kind in REGRESSIONS and given.shape == target.shape and given.numel():
            p, t = given.detach().flatten().double(), target.detach().flatten().double()
            sums = torch.stack([p.new_tensor(len(p)), p.sum(), t.sum(), p @ p, t @ t, p @ t]).cpu()
        if table is None and sums is None:
            return
        of = self.evaluations.setdefault(kind, [])
        if not of or of[-1].step != step:
            if len(of) >= MOST:
                del of[1::2]
            of.append(Agreement(step))
        n, one = (len(given) if given.ndim else 1), of[-1]
        one.loss = None if loss is None or one.loss is None else (one.loss * one.samples + loss * n) / (one.samples + n)
        one.samples += n
        one.sums = sums if one.sums is None or sums is None else one.sums + sums
        if table is not None and one.table is not None and table.shape == one.table.shape:
            table = table + one.table
        one.table = table


def _table(kind: str, scores: Tensor, target: Tensor) -> Tensor | None:
    if kind in ("cross_entropy", "nll_loss") and not target.is_floating_point() and scores.ndim > 1:
        classes, guess = scores.shape[1], scores.argmax(1).flatten()
    elif kind.startswith("binary_cross_entropy") and scores.shape == target.shape and scores.numel() == len(target):
        if not bool(((target == 0) | (target == 1)).all()):
            return None
        classes, guess = 2, (scores > (0.0 if kind.endswith("logits") else 0.5)).flatten().long()
    else:
        return None
    label = target.flatten().long()
    inside = (label >= 0) & (label < classes)
    label, guess = label[inside], guess[inside]
    return torch.stack([torch.bincount(v, minlength=classes) for v in (label, guess, label[label == guess])]).cpu()
