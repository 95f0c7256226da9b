"""Sigmoid or tanh units at their limits, where their derivative is nearly zero, from the start and for good.

A trained gate or probability may well be near 0 or 1; so the outputs must be there before the first update, and still
at the end. What only the first updates bring to the limits is the learning rate's doing.
"""

from __future__ import annotations

from statistics import fmean

from ..findings import Finding
from ..record import Record
from ..seen import ActivationSeen

CODE = "saturated-activations"
EXPLAINS = ("vanishing-gradient-depth", "exploding-gradient-depth", "lr-too-high", "underfitting")

SHARE = 0.5
"""Of a layer's outputs: the most of them; chosen."""

LEAST = 10
"""Updates."""


def findings(record: Record) -> list[Finding]:
    """Where most outputs are at a limit."""
    found = at_limits(record)
    if not found:
        return []
    seen, first, last = found[0]
    return [
        Finding(
            CODE,
            "error" if len(found) > 1 else "warning",
            ", ".join(record.place_of(s) for s, _, _ in found[:3]),
            f"{first:.0%} of the outputs of {record.place_of(seen)} were at a limit of {seen.kind} (its derivative "
            f"below a tenth of the greatest) before the first update, and {last:.0%} at the end.",
            "Initialize with Xavier (nn.init.xavier_uniform_), standardize the inputs, or use a smaller scale of the "
            "weights in front of this layer.",
        )
    ]


def at_limits(record: Record) -> list[tuple[ActivationSeen, float, float]]:
    """The activations with most outputs at a limit, and the share of these before the first update and at the end."""
    found = []
    for seen in record.activations.values():
        start = [share for step, share in seen.limits if step == 0]
        end = [share for step, share in seen.limits if step >= record.steps * 3 // 4]
        if start and end and record.steps >= LEAST and min(fmean(start), fmean(end)) >= SHARE:
            found.append((seen, fmean(start), fmean(end)))
    return found
