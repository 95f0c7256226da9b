"""Batches ordered by class: the network forgets one class while it sees only the next.

Two things must come together: a batch has far fewer classes than as many samples drawn at random, and neighboring
batches have the same commonest class. Few classes alone are drawn on purpose in metric and few-shot learning.
"""

from __future__ import annotations

from itertools import pairwise

from ..findings import Finding
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


def findings(record: Record) -> list[Finding]:
    """Where the batches of a classifier are sorted."""
    return [f for kind, labels in record.labels.items() if (f := _judge(kind, labels)) is not None]


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
