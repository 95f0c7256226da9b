"""Sigmoid or tanh units at their limits, where their derivative is nearly zero, from the start and for good.

A trained gate or probability may well be near 0 or 1; so the outputs must be there before anything was learned, and
still at the end.
"""

from __future__ import annotations

from statistics import fmean

from ..findings import Finding
from ..record import Record

CODE = "saturated-activations"
EXPLAINS = ("vanishing-gradient-depth", "exploding-gradient-depth", "underfitting")

SHARE = 0.5
"""Of a layer's outputs: the most of them; chosen."""

FIRST = 5
"""Updates that count as the start."""


def findings(record: Record) -> list[Finding]:
    """Where most outputs are at a limit."""
    found = []
    for seen in record.activations.values():
        start = [share for step, share in seen.limits if step < FIRST]
        end = [share for step, share in seen.limits if step >= record.steps * 3 // 4]
        if start and end and record.steps >= 2 * FIRST and min(fmean(start), fmean(end)) >= SHARE:
            found.append((seen, fmean(start), fmean(end)))
    if not found:
        return []
    seen, first, last = found[0]
    return [
        Finding(
            CODE,
            "error" if len(found) > 1 else "warning",
            ", ".join(record.place_of(s) for s, _, _ in found[:3]),
            f"{first:.0%} of the outputs of {record.place_of(seen)} were at a limit of {seen.kind} (its derivative "
            f"below a tenth of the greatest) in the first {FIRST} updates, and {last:.0%} at the end.",
            "Initialize with Xavier (nn.init.xavier_uniform_), standardize the inputs, or use a smaller scale of the "
            "weights in front of this layer.",
        )
    ]
