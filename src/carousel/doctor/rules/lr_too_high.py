"""The step size is too large: the updates throw the network out of where it could learn.

Decided by experiment: from the same start, with the same batches and a smaller learning rate, a few updates get further
than the whole run did. Where the run's own learning rate does as well in the same number of updates, something else
went wrong.
"""

from __future__ import annotations

import math

from ..findings import Finding
from ..record import Record

CODE = "lr-too-high"
EXPLAINS = ("dead-relu", "non-finite", "saturated-activations", "exploding-gradient-time", "underfitting")

PROGRESS = 0.5
"""Share of the experiment's progress that the run made in all its updates: less than half."""

LONGEST, SLOWER = 400, 0.5
"""Where the run has learned all the same: updates of a longer experiment, and the part of the run's loss it must reach
on batches that were held out.
"""

MEANINGFUL = 0.1
"""Of the loss at the start: a fall that is more than chance in the choice of batches."""


def findings(record: Record) -> list[Finding]:
    """Where a smaller learning rate does far better."""
    rates = record.lab.learning_rates() if record.lab is not None else None
    if rates is None or record.steps < rates.updates:
        return []
    end, own = record.last_loss(), rates.after.get(1.0, math.inf)
    better = {
        f: loss for f, loss in rates.after.items() if f < 1 and rates.start - loss > MEANINGFUL * abs(rates.start)
    }
    factor = min(better, key=better.__getitem__, default=None)
    if factor is None:
        return []
    gain, updates, after = rates.start - better[factor], rates.updates, better[factor]
    if rates.start - own >= (1 + PROGRESS) / 2 * gain:
        return []
    if rates.start - end >= PROGRESS * gain:  # it has learned after all: as well as it could?
        updates = min(record.steps, LONGEST)
        longer = record.lab.long_trial(factor, updates) if record.lab is not None else None
        if longer is None or longer > SLOWER * end:
            return []
        after = longer
    reached = "was no number any more" if math.isinf(end) else f"was at {end:.3g}"
    assert record.lab is not None
    return [
        Finding(
            CODE,
            "error" if updates == rates.updates else "warning",
            record.lab.place,
            f"With {factor:g} times the learning rate, {updates} updates from the same start brought the loss "
            f"from {rates.start:.3g} to {after:.3g} (on batches that were held out); the run, after "
            f"{record.steps} updates, {reached}.",
            f"Lower the learning rate, from {record.lab.rate_text()} to {record.lab.rate_text(factor)}; warm-up and "
            "clipping (nn.utils.clip_grad_norm_) allow for larger ones.",
        )
    ]
