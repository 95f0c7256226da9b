"""The majority class dominates: the network says it for nearly every sample, and the rare ones are never recognized.

A rare class alone is no fault: with weights, or where the network recognizes it, all is well. In the first part of a
run every network says the majority; so only the last part counts.
"""

from __future__ import annotations

from ..findings import Finding
from ..record import Record

CODE = "class-imbalance"
EXPLAINS = ("underfitting",)

COMMON = 0.85
"""Share of the commonest class: a network that always says it looks good, and its loss is near what it can get so."""

RECOGNIZED = 0.1
"""Share of the other classes' samples that is recognized, below which they count as not learned."""

LEAST_RARE = 20
"""Samples of the other classes in the last part, so that the share means something."""


def findings(record: Record) -> list[Finding]:
    """Where the last quarter of the run recognizes hardly any but the commonest class."""
    found = []
    for kind, labels in record.labels.items():
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
        if share < COMMON or rare < LEAST_RARE or recognized >= RECOGNIZED * rare:
            continue
        found.append(
            Finding(
                CODE,
                "warning",
                f"the targets of {kind}",
                f"{share:.1%} of the labels are class {common}; in the last quarter of the run {recognized} of {rare} "
                f"samples of the other classes were recognized. To say class {common} always gives an accuracy of "
                f"{share:.1%}.",
                "Weight the classes in the loss (weight= one over the frequency, or pos_weight= for two classes), or "
                "draw the rare ones more often (WeightedRandomSampler); judge by the recall of each class.",
            )
        )
    return found
