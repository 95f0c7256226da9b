"""ReLU units that are zero on every sample: no gradient goes through them, and they will not come back.

Mere sparsity is healthy: a unit counts as dead only if it was zero on all samples of the last half of the run.
"""

from __future__ import annotations

from functools import reduce

from ..findings import Finding
from ..record import Record
from ..seen import ActivationSeen

CODE = "dead-relu"
EXPLAINS = ("vanishing-gradient-depth", "parameters-not-training", "class-imbalance", "underfitting")

SAMPLES = 200
"""Samples in the last half of the run, so that "all" means something."""

SHARE = 0.6
"""Of a layer's units: more than half, since a network with units to spare learns without some; chosen, not measured."""

NEARLY_ALL = 0.9


def findings(record: Record) -> list[Finding]:
    """Where most units of a layer are dead."""
    dead = [(seen, count, units) for seen in record.activations.values() if (count := _dead(record, seen)) is not None
            for units in [len(seen.alive[-1][2])] if count >= (SHARE if units >= 8 else 1.0) * units]  # fmt: skip
    if not dead:
        return []
    parts = [f"{count} of {units} in {record.place_of(seen)}" for seen, count, units in dead[:4]]
    all_dead = any(count >= NEARLY_ALL * units for _, count, units in dead)
    return [
        Finding(
            CODE,
            "error" if all_dead else "warning",
            record.place_of(dead[0][0]),
            f"Units that were zero on every sample of the last half of the run: {', '.join(parts)}.",
            "Start with biases of zero and He initialization; if the units died during training, lower the learning "
            "rate; nn.LeakyReLU or nn.GELU keep a gradient on both sides.",
        )
    ]


def _dead(record: Record, seen: ActivationSeen) -> int | None:
    late = [(rows, mask) for step, rows, mask in seen.alive if step >= record.steps // 2]
    if seen.kind != "relu" or sum(rows for rows, _ in late) < SAMPLES:
        return None
    return int((~reduce(lambda a, b: a | b, (mask for _, mask in late))).sum())
