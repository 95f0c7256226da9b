"""The step size is too small: the loss is nearly a straight line.

Decided by experiment: from the same start, with the same batches and a larger learning rate, a few updates get further
than the whole run did.
"""

from __future__ import annotations

from ..findings import Finding
from ..lab import MEANINGFUL, PROGRESS, LearningRates, far_below
from ..record import Record

CODE = "lr-too-low"
EXPLAINS = ("underfitting",)

EARLY = 0.5
"""The part of the run in which a learning rate that has fallen to nearly nothing has fallen too early."""

TIMES = 2
"""The run must have had so many times the updates of the experiment."""


def findings(record: Record) -> list[Finding]:
    """Where a larger learning rate does far better."""
    rates = record.lab.learning_rates() if record.lab is not None else None
    if rates is None or record.steps < TIMES * rates.updates or 1.0 not in rates.after:
        return []
    lab, end = record.lab, record.last_loss()
    fell = None if lab is None else lab.fell
    if fell is not None and fell < EARLY * record.steps and far_below(rates.start, rates.after[1.0], end):
        return [_fell(record, rates, fell)]
    own = max(rates.start - end, rates.start - rates.after[1.0])
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


def _fell(record: Record, rates: LearningRates, at: int) -> Finding:
    """A schedule that ends too early."""
    assert record.lab is not None
    return Finding(
        CODE,
        "error",
        record.lab.place,
        f"The learning rate had fallen below a hundredth of its peak ({record.lab.rate_text()}) by update {at}. At "
        f"that peak, {rates.updates} updates from the start brought the loss from {rates.start:.3g} to "
        f"{rates.after[1.0]:.3g} (on batches that were held out); the run, after {record.steps} updates, was at "
        f"{record.last_loss():.3g}.",
        "Let the schedule last as long as the training; if its numbers are epochs, call scheduler.step() once an epoch"
        " and not once a batch.",
        step=at,
    )
