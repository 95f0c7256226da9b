"""The step size is too large: the updates throw the network out of where it could learn.

Decided by experiment: from the same start, with the same batches and a smaller learning rate, a few updates get further
than the whole run did. Where the run's own learning rate does as well in the same number of updates, something else
went wrong.

A network that has learned all the same, and forgets again what it has learned, shows it at the end: a smaller step size
lets it settle at once, far below where the run was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from ..findings import Finding
from ..lab import MEANINGFUL, PROGRESS, Lab, LearningRates
from ..record import Record

CODE = "lr-too-high"
EXPLAINS = ("dead-relu", "non-finite", "saturated-activations", "exploding-gradient-time", "underfitting")

LONGEST, SLOWER = 400, 0.75
"""Where the run has learned all the same: updates of a longer experiment, if the short one did not do, and the part of
the run's loss it must reach. The experiment has the worse chance, by thirty batches and a loss on others that were held
out; a step size that only makes a good network waver about its end costs less than a quarter.
"""

RISE, WINDOWS = 1.5, 20
"""How far the mean loss rises again in the second half of the run, and in how many parts of the run it is taken. What
the choice of batches does to a mean over a twentieth of a run is a matter of some percent."""

SETTLED, LONGER, FACTOR = 0.5, 120, 0.1
"""The part of the run's loss that is left when it goes on with `FACTOR` of its learning rate, for so many updates: less
than half, so that the step size costs more than all else, and the same with the run's own learning rate does not."""

BLOWN_UP = 1e3
"""Times the loss at the start: targets that change during a run, as in reinforcement learning, hardly do that."""


@dataclass(frozen=True)
class Settled:
    """The loss on held-out batches at the end of the run, and when it goes on with its learning rate and a smaller one
    (means over the second half of the updates).
    """

    now: float
    own: float
    smaller: float


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
        return _late(record, rates)
    gain, updates, after = rates.start - better[factor], rates.updates, better[factor]
    if rates.start - own >= (1 + PROGRESS) / 2 * gain:
        return _late(record, rates)
    learned = rates.start - end >= PROGRESS * gain
    if learned and after > SLOWER * end:  # as well as it could?
        updates = min(record.steps, LONGEST)
        longer = record.lab.long_trial(factor, updates) if record.lab is not None else None
        if longer is None or longer > SLOWER * end:
            return _late(record, rates)
        after = longer
    reached = "was no number any more" if math.isinf(end) else f"was at {end:.3g}"
    assert record.lab is not None
    return [
        Finding(
            CODE,
            "warning" if learned else "error",
            record.lab.place,
            f"With {factor:g} times the learning rate, {updates} updates from the same start brought the loss "
            f"from {rates.start:.3g} to {after:.3g} (on batches that were held out); the run, after "
            f"{record.steps} updates, {reached}.",
            f"Lower the learning rate, from {record.lab.rate_text()} to {record.lab.rate_text(factor)}; warm-up and "
            "clipping (nn.utils.clip_grad_norm_) allow for larger ones.",
        )
    ]


def _late(record: Record, rates: LearningRates) -> list[Finding]:
    """Where the run was well at first."""
    lab, end = record.lab, record.last_loss()
    if lab is None or not rates.after.get(1.0, math.inf) < rates.start or not 0 < BLOWN_UP * rates.start < end:
        return _unsettled(record)
    updates = min(record.steps, LONGEST)
    longer = lab.long_trial(FACTOR, updates)
    if longer is None or not 0 <= longer <= PROGRESS * rates.start:
        return []
    return [
        Finding(
            CODE,
            "error",
            lab.place,
            f"After {rates.updates} updates the loss was lower than at the start ({rates.after[1.0]:.3g} after "
            f"{rates.start:.3g}); at the end of the run it "
            + ("was no number any more" if math.isinf(end) else f"was at {end:.3g}")
            + f". With {FACTOR:g} times the learning rate, {updates} updates brought it to {longer:.3g} (on batches "
            "that were held out).",
            f"Lower the learning rate, from {lab.rate_text()} to {lab.rate_text(FACTOR)}, or the momentum.",
        )
    ]


def _unsettled(record: Record) -> list[Finding]:
    """Where the run forgets what it has learned, and a smaller learning rate keeps it."""
    lab, rise, end = record.lab, _rise([value for _, value in record.course()]), record.last_loss()
    if lab is None or rise < RISE or not 0 < end < math.inf:
        return []
    found: Settled | None = lab.ask("settled", lambda in_time: _experiment(lab, in_time))
    if found is None or found.smaller > SETTLED * min(found.now, end) or found.smaller > SLOWER * found.own:
        return []
    return [
        Finding(
            CODE,
            "warning",
            lab.place,
            f"In the second half of the run the loss rose again to {rise:.3g} times what it had been (means over a "
            f"twentieth of the run). From the end of the run, {LONGER} updates with {FACTOR:g} times the learning rate "
            f"brought it from {found.now:.3g} to {found.smaller:.3g} on batches that were held out; with its own, to "
            f"{found.own:.3g}.",
            f"Lower the learning rate ({lab.rate_text()}) or the momentum, at least towards the end of the run "
            "(torch.optim.lr_scheduler).",
        )
    ]


def _rise(losses: list[float]) -> float:
    """The greatest mean of a part of the second half of the run, over the least of a part before."""
    size = max(10, len(losses) // WINDOWS)
    half = losses[len(losses) // 2 :]
    means = [fmean(half[i : i + size]) for i in range(0, len(half) - size + 1, size)]
    if not means or min(means) <= 0 or not all(map(math.isfinite, means)):
        return 0.0
    return max(mean / min(means[: number + 1]) for number, mean in enumerate(means))


def _experiment(lab: Lab, in_time: Callable[[], bool]) -> Settled | None:
    back, now, tapes = lab.from_here(), lab.held_out_loss(), lab.training_tapes
    after = list[float]()
    for factor in (1.0, FACTOR):
        back(factor)
        losses = list[float]()
        for number in range(LONGER):
            if not in_time():
                return None
            lab.update(tapes[number % len(tapes)])
            if number >= LONGER // 2 and number % 10 == 9:
                losses.append(lab.held_out_loss())
        after.append(fmean(losses))
    return Settled(now, *after)
