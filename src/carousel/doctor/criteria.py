"""What a record holds of the loss functions: what they are given, the labels, and their values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .graphs import makers, squashings
from .lines import line
from .recorder import makes_table

__all__ = ["Criteria", "Labels", "LossCalls", "is_mean", "looked_at", "plain_mean"]

CHANCE = ("cross_entropy", "nll_loss")
"""Losses whose value is ln K where nothing is known."""

SQUASHING = (
    "binary_cross_entropy_with_logits", "multilabel_soft_margin_loss", "binary_cross_entropy", "cross_entropy",
)  # fmt: skip
"""Losses of probabilities made by a sigmoid or softmax: their own or, of `binary_cross_entropy`, one in front of it."""

SIGNS = {"soft_margin_loss": 1, "hinge_embedding_loss": 1, "cosine_embedding_loss": 2, "margin_ranking_loss": 2}
"""Losses whose targets are -1 and 1, and where these stand."""


@dataclass
class LossCalls:
    """The calls of one kind of loss function with gradients wanted.

    Attributes:
        count: how often.
        looked: of these, how often the numbers were looked at.
        probabilities: of these, how often every row of the input was a distribution: none below zero, sum one.
        log_probabilities: the same of its exponential.
        columns: of these, how often there was one element in a row.
        classes: elements of a row, 0 where there are no rows.
        positive: of the looked-at calls, how often no element of the input was below zero.
        maker: the function that made the input, as PyTorch calls it in graphs ("Softplus").
        squashed: of the looked-at, how often a sigmoid or softmax had made the input of a loss that applies a sigmoid
            or softmax itself; with `binary_cross_entropy`, which applies none, how often two had.
        traced: how often that was asked.
        unfit: of `checked`, how often the targets had values that the loss is not made for: outside of 0 to 1, or 0
            and 1 in place of -1 and 1.
        table: the sizes of input and target, where one is a column (n, 1) and the other a row (n).
        line: of the script, that made the first.
    """

    kind: str
    count: int = 0
    looked: int = 0
    probabilities: int = 0
    log_probabilities: int = 0
    columns: int = 0
    classes: int = 0
    positive: int = 0
    maker: str = ""
    squashed: int = 0
    traced: int = 0
    unfit: int = 0
    checked: int = 0
    table: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    line: str | None = None

    @property
    def at(self) -> str:
        """The line, in parentheses."""
        return f" ({self.line})" if self.line else ""


WAITING, WAITING_LABELS = 16, 2**16
"""Batches, and labels, that are counted in one go: of small ones that costs a fraction of one by one."""

MOST_COUNTS = 2**21
"""Numbers kept of a loss; of more, as of a large vocabulary, every second batch is dropped."""


@dataclass
class Labels:
    """Class labels of a loss function, batch by batch; one per sample, so that tokens of a text count as samples.

    Attributes:
        weights: the weight of each class, if the loss was told such ones.
        weighted: it was told others, as one for each sample.
    """

    weights: list[float] | None = None
    weighted: bool = False
    _counted: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    _waiting: list[tuple[int, Tensor, Tensor, int]] = field(default_factory=list)
    _numbers: int = 0

    def add(self, step: int, label: Tensor, answer: Tensor, classes: int) -> None:
        """A batch with the network's answers. Labels outside of the classes are left out, and batches of fractions."""
        self._waiting.append((step, label.detach().flatten().clone(), answer.flatten(), classes))
        self._numbers += label.numel()
        if len(self._waiting) >= WAITING or self._numbers >= WAITING_LABELS:
            self._count()

    def counts(self, since: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the counted batches from step `since` on.

        Returns:
            their steps (batches), the samples of each class (batches, classes), and how many of these were recognized.
        """
        self._count()
        classes = max((seen.shape[1] for _, seen, _ in self._counted), default=0)
        none = np.zeros(0, int), *np.zeros((2, 0, classes), int)
        chunks = [(steps, *(_widened(of, classes) for of in counts)) for steps, *counts in self._counted]
        self._counted = [tuple(map(np.concatenate, zip(none, *chunks, strict=True)))]
        steps, seen, right = self._counted[0]
        later = steps >= since
        return steps[later], seen[later], right[later]

    def totals(self, since: int = 0) -> tuple[Tensor, Tensor]:
        """Samples and recognized ones by class, from step `since` on."""
        _, seen, right = self.counts(since)
        return torch.from_numpy(seen.sum(0)), torch.from_numpy(right.sum(0))

    def entropy(self) -> float:
        """Of the classes, in nats: the loss of whoever knows their frequencies and nothing else."""
        counts, _ = self.totals()
        return float(torch.special.entr(counts / max(1, int(counts.sum()))).sum())

    def _count(self) -> None:
        """Count what waits."""
        waiting, self._waiting, self._numbers = self._waiting, [], 0
        for (classes, _), of in groupby(waiting, key=lambda batch: (batch[3], batch[1].dtype)):
            steps, labels, answers, _ = zip(*of, strict=True)
            number = np.repeat(np.arange(len(steps)), [label.numel() for label in labels])
            label, answer = (torch.cat(v).to("cpu", torch.float64).numpy() for v in (labels, answers))
            known = (label >= 0) & (label < classes)  # others as with ignore_index
            at = (number * classes + np.where(known, label, 0)).astype(np.int64)
            seen, right = (
                np.bincount(at[chosen], minlength=len(steps) * classes).reshape(-1, classes)
                for chosen in (known, known & (label == answer))
            )
            whole = np.bincount(number[label % 1 != 0], minlength=len(steps)) == 0
            self._counted.append((np.array(steps)[whole], seen[whole], right[whole]))
        if sum(seen.size for _, seen, _ in self._counted) > MOST_COUNTS:
            self._counted = [tuple(v[::2] for v in chunk) for chunk in self._counted]


def _widened(counts: np.ndarray, classes: int) -> np.ndarray:
    more = classes - counts.shape[1]
    return np.pad(counts, ((0, 0), (0, more))) if more else counts


@dataclass
class Criteria:
    """Gathers it.

    Attributes:
        calls: by kind, those with gradients wanted.
        labels: by kind, where the targets are classes.
        trained: by kind, (step, value) of the counted calls with gradients wanted.
        evaluations: by kind, (step, mean of the values, samples) of the calls without gradients between two updates.
    """

    calls: dict[str, LossCalls] = field(default_factory=dict)
    labels: dict[str, Labels] = field(default_factory=dict)
    trained: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    evaluations: dict[str, list[tuple[int, float, int]]] = field(default_factory=dict)
    _graded: dict[Any, bool] = field(default_factory=dict)

    def chance(self) -> list[float]:
        """What each loss that tells classes apart is where nothing is known."""
        found = []
        for kind, calls in self.calls.items():
            if kind in CHANCE and calls.classes > 1:
                found.append(math.log(calls.classes))
            elif kind.startswith("binary_cross_entropy"):
                found.append(math.log(2))
        return found

    def evaluated(self, kind: str, keywords: dict[str, Any], value: Any, samples: int, step: int) -> None:
        """Join the calls between two updates to one evaluation."""
        how = _reduction(keywords)
        if not isinstance(value, Tensor) or value.numel() != 1 or how == "none":
            return
        mean = float(value.detach()) / (samples if how == "sum" else 1)
        of = self.evaluations.setdefault(kind, [])
        if of and of[-1][0] == step:
            _, before, count = of.pop()
            mean, samples = (before * count + mean * samples) / (count + samples), count + samples
        of.append((step, mean, samples))

    def counted(
        self, kind: str, given: Tensor, target: Tensor, args: tuple[Any, ...], keywords: dict[str, Any], step: int
    ) -> None:
        """Count the classes and those that were recognized, where the targets are classes."""
        if kind in CHANCE and not target.is_floating_point() and given.ndim > 1:
            classes, answer = given.shape[1], given.detach().argmax(1)
            weights = args[2] if len(args) > 2 else keywords.get("weight")
        elif kind.startswith("binary_cross_entropy") and given.shape == target.shape:
            if self._is_graded(kind, target):
                return
            classes, answer = 2, given.detach() > (0.0 if kind.endswith("logits") else 0.5)
            weights = keywords.get("pos_weight")
        else:
            return
        of = self.labels.get(kind)
        if of is None:
            of = self.labels[kind] = Labels()
        others = kind not in CHANCE and (args[2] if len(args) > 2 else keywords.get("weight")) is not None
        if weights is not None and of.weights is None:
            of.weights = _of_classes(weights.detach().flatten().tolist(), classes, kind in CHANCE)
        of.weighted = of.weighted or others or (weights is not None and of.weights is None)
        of.add(step, target, answer, classes)

    def called(self, kind: str, given: Tensor, target: Tensor) -> LossCalls:
        """A call with gradients wanted."""
        calls = self.calls.get(kind)
        if calls is None:
            calls = self.calls[kind] = LossCalls(kind, line=line())
        calls.count += 1
        if given.ndim != target.ndim and makes_table(given, target):
            calls.table = tuple(given.shape), tuple(target.shape)
        return calls

    def _is_graded(self, kind: str, target: Tensor) -> bool:
        """Targets of a binary loss that are no labels, as the pixels of an image; of one shape, told by the first."""
        key = kind, target.shape[1:]
        if key not in self._graded:
            self._graded[key] = not bool(((target == 0) | (target == 1)).all())
        return self._graded[key]


def looked_at(
    calls: LossCalls, given: Tensor, target: Tensor, args: tuple[Any, ...], keywords: dict[str, Any], value: Any
) -> None:
    """What the numbers of a call say."""
    kind = calls.kind
    if kind == "poisson_nll_loss" and (args[2] if len(args) > 2 else keywords.get("log_input", True)):
        calls.looked += 1
        calls.positive += bool((given >= 0).all())
        calls.maker = calls.maker or next((name for name in makers(given) if name != "Add"), "")
        return
    if kind in SQUASHING:
        calls.traced += 1
        calls.squashed += squashings(given) > (kind == "binary_cross_entropy")
    plain = isinstance(value, Tensor) and value.numel() == 1 and keywords.get("weight") is None
    if plain and (kind in SIGNS or kind == "binary_cross_entropy_with_logits"):
        calls.checked += 1
        calls.unfit += _is_unfit(kind, target, args, keywords)
    if given.ndim < 2 or not given.is_floating_point():
        return
    rows = given.detach().movedim(-1 if kind == "ctc_loss" else 1, -1).float()
    calls.classes = rows.shape[-1]
    calls.looked += 1
    calls.columns += calls.classes == 1
    if calls.classes > 1:
        calls.probabilities += bool((rows >= 0).all()) and _is_one(rows.sum(-1))
        last = kind == "kl_div" and given.ndim > 2 and _is_one(given.detach().float().exp().sum(-1))
        calls.log_probabilities += last or _is_one(rows.exp().sum(-1))


def is_mean(value: Any, keywords: dict[str, Any]) -> bool:
    """Whether the value of a loss is one number, the mean over a batch."""
    return isinstance(value, Tensor) and value.numel() == 1 and _reduction(keywords) == "mean"


def plain_mean(args: tuple[Any, ...], keywords: dict[str, Any], value: Any) -> float | None:
    """The value of a loss, if it is the mean over samples that all count the same."""
    changed = any(keywords.get(name) is not None for name in ("weight", "pos_weight")) or len(args) > 2
    same = not changed and not keywords.get("label_smoothing") and is_mean(value, keywords)
    return float(value) if same else None


def _reduction(keywords: dict[str, Any]) -> str:
    return keywords.get("reduction", "mean")


def _is_unfit(kind: str, target: Tensor, args: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    """Whether targets have values that a loss is not made for; with a loss for each sample they may be masked."""
    if kind not in SIGNS:
        return bool(((target < 0) | (target > 1)).any())
    at = SIGNS[kind]
    signs = args[at] if len(args) > at else keywords.get("target")
    return isinstance(signs, Tensor) and bool((signs == 0).any()) and not bool((signs < 0).any())


def _of_classes(weights: list[float], classes: int, each: bool) -> list[float] | None:
    """The weight of each class, or of the second of two over that of the first, if it is the same in all columns."""
    if each:
        return weights if len(weights) == classes else None
    return [1.0, weights[0]] if len(set(weights)) == 1 else None


def _is_one(sums: Tensor) -> bool:
    return bool(((sums - 1).abs() < 1e-3).all())
