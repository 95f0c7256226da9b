"""Dropout or batch norm in the wrong mode.

In training mode an evaluation is noisy: dropout drops units, batch norm uses the statistics of the batch at hand and
changes the running ones. In evaluation mode a network that learns has no dropout, and batch norm that does not adapt.
"""

from __future__ import annotations

from ..findings import Finding
from ..record import Record

CODE = "train-eval-mode"
EXPLAINS = ()

LEAST = 3


def findings(record: Record) -> list[Finding]:
    """Where such a module was called without gradients in training mode only."""
    wrong = [
        seen
        for seen in record.modules
        if seen.noisy and seen.learning and seen.evaluating >= LEAST and seen.evaluating_in_training == seen.evaluating
    ]
    if not wrong:
        return []
    batch_norm = any(seen.noisy == "batch norm" for seen in wrong)
    what = "batch norm uses and changes the statistics of the evaluated batches" if batch_norm else "dropout is on"
    return [
        Finding(
            CODE,
            "warning",
            ", ".join(seen.name for seen in wrong[:3]),
            f"All {wrong[0].evaluating} calls without gradients, as in an evaluation, were made in training mode: "
            f"{what}.",
            "Call model.eval() before evaluating, and model.train() before training goes on.",
        )
    ]
