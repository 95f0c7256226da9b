"""The step size is too small: the loss is nearly a straight line.

Decided by experiment: from the same start, with the same batches and a larger learning rate, a few updates get further
than the whole run did.
"""

from __future__ import annotations

from ..findings import Finding
from ..record import Record

CODE = "lr-too-low"
EXPLAINS = ("underfitting",)

PROGRESS = 0.5
"""Share of the experiment's progress that the run made in all its updates: less than half."""

MEANINGFUL = 0.1
"""Of the loss at the start: a fall that is more than chance in the choice of batches."""

TIMES = 2
"""The run must have had so many times the updates of the experiment."""


def findings(record: Record) -> list[Finding]:
    """Where a larger learning rate does far better."""
    rates = record.lab.learning_rates() if record.lab is not None else None
    if rates is None or record.steps < TIMES * rates.updates or 1.0 not in rates.after:
        return []
    own = max(rates.start - record.last_loss(), rates.start - rates.after[1.0])
    better = {
        f: loss for f, loss in rates.after.items() if f > 1 and rates.start - loss > MEANINGFUL * abs(rates.start)
    }
    for factor in sorted(better):
        if own < PROGRESS * (rates.start - better[factor]):
            assert record.lab is not None
            return [
                Finding(
                    CODE,
                    "error",
                    record.lab.place,
                    f"With {factor:g} times the learning rate, {rates.updates} updates from the same start brought "
                    f"the loss from {rates.start:.3g} to {better[factor]:.3g} (on batches that were held out); the "
                    f"run, after {record.steps} updates, was at {record.last_loss():.3g}.",
                    f"Raise the learning rate, from {record.lab.rate_text()} to {record.lab.rate_text(factor)}.",
                )
            ]
    return []
