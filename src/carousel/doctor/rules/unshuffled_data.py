"""Batches ordered by class: the network forgets one class while it sees only the next.

Two things must come together: a batch has far fewer classes than as many samples drawn at random, and neighboring
batches have the same commonest class. Few classes alone are drawn on purpose in metric and few-shot learning.

Numbers that drift along the stream are no fault by themselves: a series is often read in its order, and learned well.
So an experiment decides, where the means of the batches lie much farther apart than those of samples drawn at random,
and neighbors are alike: the same rows, mixed, get further in a few updates than the whole run did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch

from ..findings import Finding
from ..lab import UPDATES, Lab
from ..pairs import target_of, targets
from ..record import Record
from ..seen import Labels

CODE = "unshuffled-data"
EXPLAINS = ("dead-relu", "overfitting")

LEAST = 12
"""Batches looked at."""

VARIETY = 0.6
"""Classes in a batch over those expected at random, which is 1 for shuffled batches but for chance; chosen."""

ALIKE = 0.5
"""Share of neighboring batches with the same commonest class; at random it is that class's share, or a little more."""

APART, CLOSE = 4.0, 0.5
"""Variance of the means of batches over that of as many samples drawn at random, which is 1 for shuffled batches, and
with a dozen of them below 2.5 in 99 of 100 runs; and correlation of neighbors, which is then 0 within 0.3."""

MEANINGFUL, PROGRESS = 0.1, 0.5
"""As for learning rates: the fall of the loss in the experiment, of the loss at the start; and the part of it that the
run has made."""


@dataclass(frozen=True)
class Mixed:
    """How far batches lie apart, and how close neighbors; the loss on mixed rows at the start and after the updates."""

    apart: float
    close: float
    start: float
    after: float


def findings(record: Record) -> list[Finding]:
    """Where the batches are sorted."""
    found = [f for kind, labels in record.labels.items() if (f := _judge(kind, labels)) is not None]
    return found if found or record.labels else _drift(record)


def _drift(record: Record) -> list[Finding]:
    lab = record.lab
    if lab is None or lab.why_not is not None or not _wanders(*_order(lab)):
        return []
    found: Mixed | None = lab.ask("mixed", lambda in_time: _experiment(lab, in_time))
    if found is None or record.steps < UPDATES or record.has_learned():
        return []
    gain, end = found.start - found.after, record.last_loss()
    if gain <= MEANINGFUL * abs(found.start) or found.start - end >= PROGRESS * gain:
        return []
    return [
        Finding(
            CODE,
            "warning",
            "the order of the training data",
            f"The means of the targets of the batches vary {found.apart:.0f} times as much as those of samples drawn "
            f"at random, and neighbors are alike (correlation {found.close:.2f}). With the rows of the recorded "
            f"batches mixed, {UPDATES} updates from the same start brought the loss from {found.start:.3g} to "
            f"{found.after:.3g} (on rows that were held out); the run, after {record.steps} updates, was at {end:.3g}.",
            "Shuffle: DataLoader(…, shuffle=True), or a new random permutation of the indices in every epoch.",
        )
    ]


def _order(lab: Lab) -> tuple[float, float]:
    """How far batches lie apart, and how close neighbors; 0 where they are not of one size."""
    found = targets(lab)
    if found is None or len(found[1]) < LEAST or len({len(y) for y in found[1]}) != 1:
        return 0.0, 0.0
    y = torch.stack(found[1]).double()
    means = y.mean(1) - y.mean()
    close = (means[1:] * means[:-1]).mean() / means.square().mean()
    return float(means.var() * y.shape[1] / y.var()), float(close)


def _wanders(apart: float, close: float) -> bool:
    return apart >= APART and close >= CLOSE


def _experiment(lab: Lab, in_time: Callable[[], bool]) -> Mixed | None:
    far = _order(lab)
    slots = [(next(iter(lab.data_slots(tape))), found[2].number) for tape in lab.tapes if (found := target_of(tape))]
    rows = [torch.cat([tape.given[pair[i]] for tape, pair in zip(lab.tapes, slots, strict=True)]) for i in (0, 1)]
    order = torch.randperm(len(rows[1])).reshape(len(slots), -1)
    for tape, pair, chosen in zip(lab.tapes, slots, order, strict=True):
        for number, values in zip(pair, rows, strict=True):
            tape.given[number] = values[chosen]
    lab.restore()
    start, after = lab.held_out_loss(), lab.trial(in_time)
    return None if after is None else Mixed(*far, start, after)


def _judge(kind: str, labels: Labels) -> Finding | None:
    batches = [(step, seen) for step, seen, _ in labels.batches if int(seen.sum()) >= 8]
    if len(batches) < LEAST:
        return None
    totals, _ = labels.totals()
    share = totals / totals.sum()
    varieties = [float((seen > 0).sum()) / float((1 - (1 - share) ** int(seen.sum())).sum()) for _, seen in batches]
    neighbors = [(a, b) for (i, a), (j, b) in pairwise(batches) if j == i + 1]
    if len(neighbors) < LEAST // 2 or int((totals > 0).sum()) < 2:
        return None
    variety = sum(varieties) / len(varieties)
    alike = sum(int(a.argmax()) == int(b.argmax()) for a, b in neighbors) / len(neighbors)
    if variety > VARIETY or alike < max(ALIKE, 1.5 * float(share.max())):
        return None
    return Finding(
        CODE,
        "warning",
        "the order of the training data",
        f"A batch has {variety:.0%} of the classes that as many samples drawn at random would have, and "
        f"{alike:.0%} of neighboring batches have the same commonest class: the data come sorted by class.",
        "Shuffle: DataLoader(…, shuffle=True), or a new random permutation of the indices in every epoch.",
    )
