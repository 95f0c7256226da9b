"""The step size is too small: the loss is nearly a straight line.

Decided by experiment: from the same start, with the same batches and a larger learning rate, a few updates get further
than the whole run did.

Where a schedule has let the learning rate fall to next to nothing long before the end, the run goes on from there, once
with the learning rate from which it fell: what has converged gets no further by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from ..findings import Finding
from ..lab import MEANINGFUL, PROGRESS, Lab, far_below
from ..record import Record

CODE = "lr-too-low"
EXPLAINS = ("underfitting",)

EARLY = 0.5
"""The part of the run in which a learning rate that has fallen to nearly nothing has fallen too early."""

TIMES = 2
"""The run must have had so many times the updates of the experiment."""

LONGER, FURTHER = 240, 0.6
"""Updates of going on, and the part of the loss that is then left: a converged network that goes on with a large
learning rate wavers about its end."""


@dataclass(frozen=True)
class Resumed:
    """The loss on held-out batches at the end of the run, and when it goes on with the learning rate from which a
    schedule has fallen.
    """

    now: float
    after: float


def findings(record: Record) -> list[Finding]:
    """Where a larger learning rate does far better."""
    rates = record.lab.learning_rates() if record.lab is not None else None
    if rates is None or record.steps < TIMES * rates.updates or 1.0 not in rates.after:
        return []
    lab, end = record.lab, record.last_loss()
    fell = None if lab is None else lab.fell
    if lab is not None and fell is not None and fell < EARLY * record.steps:
        if far_below(rates.start, rates.after[1.0], end):
            text = f"{rates.updates} updates from the start brought the loss from {rates.start:.3g} to"
            return [_fell(record, fell, f"{text} {rates.after[1.0]:.3g}")]
        resumed: Resumed | None = lab.ask("resumed", lambda in_time: _experiment(lab, in_time))
        if resumed is not None and 0 < resumed.after < FURTHER * min(resumed.now, end):
            text = f"{LONGER} updates more, from the end of the run, brought the loss from {resumed.now:.3g} to"
            return [_fell(record, fell, f"{text} {resumed.after:.3g}")]
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


def _fell(record: Record, at: int, what: str) -> Finding:
    """A schedule that ends too early."""
    assert record.lab is not None
    return Finding(
        CODE,
        "error",
        record.lab.place,
        f"The learning rate had fallen below a hundredth of its peak ({record.lab.rate_text()}) by update {at}. At "
        f"that peak, {what} (on batches that were held out); the run, after {record.steps} updates, was at "
        f"{record.last_loss():.3g}.",
        "Let the schedule last as long as the training; if its numbers are epochs, call scheduler.step() once an epoch"
        " and not once a batch.",
        step=at,
    )


def _experiment(lab: Lab, in_time: Callable[[], bool]) -> Resumed | None:
    """The mean of the last of some looks: a large learning rate is restless."""
    back, now, tapes = lab.from_here(), lab.held_out_loss(), lab.training_tapes
    back(1.0)
    lab.set_rates()
    losses = list[float]()
    for number in range(LONGER):
        if not in_time():
            return None
        lab.update(tapes[number % len(tapes)])
        if number >= LONGER * 3 // 4 and number % 10 == 9:
            losses.append(lab.held_out_loss())
    return Resumed(now, fmean(losses))
