"""The majority class dominates: the network says it for nearly every sample, and the rare ones are hardly recognized.

A rare class alone is no fault: with weights, or where the network recognizes it, all is well. In the first part of a
run every network says the majority; so only the last part counts. Weights that leave the majority its share, or give it
more, are none.

Where some of the rare samples are recognized, it may be all that can be said of them. So the scores decide that the
network has in the end: if they tell most of the rare samples apart as soon as they are measured by the frequency of the
classes, it is only their number that keeps the answers from saying so. Some judge by scores, not answers, and set a
threshold of their own; so the script must compare the answers with labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..criteria import Labels
from ..findings import Finding
from ..lab import Lab
from ..pairs import target_of, targets
from ..record import Record

CODE = "class-imbalance"
EXPLAINS = ("underfitting",)

COMMON = 0.85
"""Share of the commonest class: a network that always says it looks good, and its loss is near what it can get so."""

RECOGNIZED = 0.1
"""Share of the other classes' samples that is recognized, below which they count as not learned."""

MISSED = 1 / 3
"""The same, below which the scores are asked: of three rare samples two are missed."""

TOLD = 2 / 3
"""Share of them that the scores must tell, and of the common samples that they must leave: the reverse of it."""

LEAST_RARE = 20
"""Samples of the other classes in the last part, so that the share means something."""


@dataclass(frozen=True)
class Told:
    """Shares of the recorded rare samples and of the others that are recognized by scores over frequencies."""

    rare: float
    others: float


def findings(record: Record) -> list[Finding]:
    """Where the last quarter of the run recognizes hardly any but the commonest class."""
    found = []
    for kind, labels in record.criteria.labels.items():
        if labels.weighted or record.steps < 30:
            continue
        seen, right = labels.totals(since=record.steps * 3 // 4)
        total = int(seen.sum())
        if not total or int((seen > 0).sum()) < 2:
            continue
        common = int(seen.argmax())
        share = int(seen[common]) / total
        rare = total - int(seen[common])
        recognized = int(right.sum() - right[common])
        if _share(labels, seen, common) < COMMON or share < COMMON or rare < LEAST_RARE or recognized >= MISSED * rare:
            continue
        told = _told(record, kind) if recognized >= RECOGNIZED * rare else None
        if told is None and recognized >= RECOGNIZED * rare:
            continue
        found.append(
            Finding(
                CODE,
                "warning",
                f"the targets of {kind}",
                f"{share:.1%} of the labels are class {common}; in the last quarter of the run {recognized} of {rare} "
                f"samples of the other classes were recognized. To say class {common} always gives an accuracy of "
                f"{share:.1%}.{_weights(labels)}{_said(told)}",
                "Weight the classes in the loss (weight= one over the frequency, or pos_weight= for two classes), or "
                "draw the rare ones more often (WeightedRandomSampler); judge by the recall of each class.",
            )
        )
    return found


def _share(labels: Labels, seen: Tensor, common: int) -> float:
    """Of a class in the loss, with the weights that this was told."""
    if labels.weights is None or len(labels.weights) != len(seen):
        return float(seen[common] / seen.sum())
    weighed = seen * torch.tensor(labels.weights)
    return float(weighed[common] / weighed.sum().clamp_min(1e-12))


def _weights(labels: Labels) -> str:
    if labels.weights is None:
        return ""
    return f" The weights in the loss, {', '.join(f'{w:.3g}' for w in labels.weights[:10])}, leave it so."


def _said(told: Told | None) -> str:
    if told is None:
        return ""
    return (
        f" Yet its scores tell them apart: measured by the frequencies of the classes they recognize {told.rare:.0%} "
        f"of the recorded rare samples, and {told.others:.0%} of the others."
    )


def _told(record: Record, kind: str) -> Told | None:
    """Where the scores at the end tell most of the rare samples, and the script judges by answers."""
    lab, judged = record.lab, record.comparisons.evaluations
    if lab is None or kind == "binary_cross_entropy" or not judged or judged[-1].step < record.steps * 3 / 4:
        return None
    found: Told | None = lab.ask("scores", lambda in_time: _by_scores(lab, in_time))
    return found if found is not None and found.rare >= TOLD and found.others >= TOLD else None


def _by_scores(lab: Lab, in_time: Callable[[], bool]) -> Told | None:
    known, rows = targets(lab), list[Tensor]()
    if known is None:
        return None
    for tape in lab.tapes:
        found, keep = target_of(tape), dict[int, Tensor]()
        if found is None or not in_time():
            return None
        with torch.no_grad():
            tape.replay(backward=False, keep=keep)
        scores = keep[found[1].number].detach()
        rows.append(scores if scores.ndim == 2 and scores.shape[1] > 1 else scores.reshape(-1, 1))
    y, scores = torch.cat(known[1]).long(), torch.cat(rows)
    if len(y) != len(scores) or int(y.min()) < 0:
        return None
    if scores.shape[1] == 1:
        scores = torch.cat([torch.zeros_like(scores), scores], 1)
    counts = torch.bincount(y, minlength=scores.shape[1])
    right, common = (scores - counts.clamp_min(1).log()).argmax(1) == y, y == counts.argmax()
    if int((~common).sum()) < LEAST_RARE:
        return None
    return Told(float(right[~common].float().mean()), float(right[common].float().mean()))
