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
from ..pairs import pairs, target_of
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
    start: float = 0.0
    after: float = 0.0


def findings(record: Record) -> list[Finding]:
    """Where the batches are sorted."""
    found = [f for kind, labels in record.labels.items() if (f := _judge(kind, labels)) is not None]
    return found if found or record.labels else _drift(record)


def _drift(record: Record) -> list[Finding]:
    lab = record.lab
    found: Mixed | None = None if lab is None else lab.ask("mixed", lambda in_time: _experiment(lab, in_time))
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


def _experiment(lab: Lab, in_time: Callable[[], bool]) -> Mixed | None:
    data = pairs(lab)
    sizes = [len(next(iter(lab.data_slots(tape).values()))) for tape in lab.tapes] if data is not None else []
    if data is None or len(sizes) < LEAST or len(set(sizes)) != 1 or float(data.y.double().std()) == 0:
        return None
    y = data.y.double().reshape(len(sizes), -1)
    means = y.mean(1) - y.mean()
    apart = float(means.var() * y.shape[1] / y.var())
    close = float((means[1:] * means[:-1]).mean() / means.square().mean().clamp_min(1e-30))
    if apart < APART or close < CLOSE:
        return Mixed(apart, close)
    order = torch.randperm(len(data.y)).reshape(len(sizes), -1)
    slots = [(next(iter(lab.data_slots(tape))), found[2].number) for tape in lab.tapes if (found := target_of(tape))]
    rows = [torch.cat([tape.given[pair[i]] for tape, pair in zip(lab.tapes, slots, strict=True)]) for i in (0, 1)]
    for tape, pair, chosen in zip(lab.tapes, slots, order, strict=True):
        for number, values in zip(pair, rows, strict=True):
            tape.given[number] = values[chosen]
    lab.restore()
    start, after = lab.held_out_loss(), lab.trial(in_time)
    return None if after is None else Mixed(apart, close, start, after)


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
