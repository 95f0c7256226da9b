"""The network learns its training data by heart: their loss falls on while that of other data rises.

A gap alone is no fault; a rise that lasts is. The best three evaluations in a row are compared with the last quarter.
"""

from __future__ import annotations

import math
from statistics import fmean

from ..findings import Finding
from ..record import Record

CODE = "overfitting"
EXPLAINS = ()

LEAST = 8
"""Evaluations."""

RISE = 1.15
"""The last quarter of the evaluations over the best three in a row."""

HIGH = 0.5
"""The loss of a classifier over that of chance, above which it is harm enough by itself."""

GAP = 0.6
"""Training loss over evaluation loss at the end."""

FALL = 0.7
"""Training loss at the end over that at the best evaluation."""


def findings(record: Record) -> list[Finding]:
    """Where an evaluation loss has risen for long while the training loss fell."""
    found = []
    for kind, of in record.criteria.evaluations.items():
        trained = record.criteria.trained.get(kind, [])
        if len(of) < LEAST or not trained or min(value for _, value, _ in of) <= 0:
            continue
        values = [value for _, value, _ in of]
        if not all(map(math.isfinite, values)):
            continue
        smooth = [fmean(values[i : i + 3]) for i in range(len(values) - 2)]
        best = min(range(len(smooth)), key=smooth.__getitem__)
        last = fmean(values[-max(2, len(values) // 4) :])
        then = _around(trained, of[best + 1][0], record.steps)
        now = _around(trained, record.steps, record.steps)
        if best > len(smooth) * 2 / 3 or last < RISE * smooth[best] or now > GAP * last or now > FALL * then:
            continue
        found.append(
            Finding(
                CODE,
                "warning" if _harms(record, kind, of[best + 1][0], last) else "note",
                f"{kind} without gradients, as in an evaluation",
                f"The evaluation's loss was best at update {of[best + 1][0]} ({smooth[best]:.3g}) and has risen to "
                f"{last:.3g}, while the training loss fell from {then:.3g} to {now:.3g}.",
                "Stop at the best evaluation and keep those weights; more data, dropout, weight decay or a smaller "
                "network make the gap smaller.",
                step=of[best + 1][0],
            )
        )
    return found


def _harms(record: Record, kind: str, best: int, last: float) -> bool:
    """Whether more than confidence is lost: the share of right answers has fallen, or the loss is far from small."""
    tables = [(one.step, one.table) for one in record.answers.evaluations.get(kind, []) if one.table is not None]
    if len(tables) < LEAST:
        return True
    chance = math.log(max(2, len(tables[0][1][0])))
    right = [(step, float(table[2].sum()) / max(1.0, float(table[0].sum()))) for step, table in tables]
    then = fmean(share for _, share in sorted(right, key=lambda pair: abs(pair[0] - best))[:3])
    now = fmean(share for _, share in right[-max(2, len(right) // 4) :])
    error = math.sqrt(max(now * (1 - now), 1e-4) / max(1.0, float(tables[-1][1][0].sum())))
    return now < then - error or last > HIGH * chance


def _around(trained: list[tuple[int, float]], step: int, steps: int) -> float:
    """The mean training loss near a step."""
    near = sorted(trained, key=lambda pair: abs(pair[0] - step))[: max(3, min(20, len(trained) // 10))]
    return fmean(value for _, value in near)
