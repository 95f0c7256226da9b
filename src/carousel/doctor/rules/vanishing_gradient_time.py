"""The error of a recurrent network dies on its way back through the steps: what came early is never learned.

Where near steps hold all that is needed, such a network learns all the same. So two things must come together: the
gradient vanishes, at the start and still at the end, and the network says the same whatever it is given.

A network may also make something of its inputs, such as learn noise by heart, and by it move the gradient. Then an
experiment tells: if the same start but for recurrent weights that are orthogonal, which keep a gradient its length,
gets far lower in no more updates, the vanishing was what held the run up. With gates there is no such matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..findings import Finding
from ..lab import Lab, far_below
from ..record import Record
from ..through_time import ThroughTime, recurrent_matrices, through_time

CODE = "vanishing-gradient-time"
EXPLAINS = ("horizon-too-short",)

STEPS = 10

LOST = 1e-3
"""Of the gradient of the last state, what is left at the first step. Plain recurrent networks lose a factor a step."""

UPDATES, EVERY = 300, 30
"""Of the experiment, at most: what lies many steps back takes longer than the updates of a trial. And of these, after
how many it is looked whether they suffice."""

SHARE = 0.5
"""Of the time left for experiments: where this one says nothing, others may."""


@dataclass(frozen=True)
class Orthogonal:
    """The experiment: held-out losses at the start, and the lowest seen, after so many updates."""

    start: float
    after: float
    updates: int

    def is_far_below(self, end: float) -> bool:
        """Whether the run, which was there at its end, made less than half of its progress."""
        return far_below(self.start, self.after, end)


def findings(record: Record) -> list[Finding]:
    """Where nothing arrives at the first steps, and nothing was learned."""
    lab = record.lab
    if lab is None or record.steps < 100:
        return []
    now, before = through_time(lab, at_start=False), through_time(lab, at_start=True)
    if now is None or before is None or len(before.last) < STEPS or before.last[0] > LOST:
        return []
    reliance = lab.reliance() if now.last[0] <= LOST else None
    if reliance is None or not reliance.is_none:
        return _by_experiment(lab, record, before)
    reach = sum(norm > 0.01 for norm in now.last)
    return [
        Finding(
            CODE,
            "error",
            f"{now.kind} over {len(now.last)} steps",
            f"Of the gradient of the last state, {before.last[0]:.1g} was left at the first of {len(now.last)} steps "
            f"at the start of the run, and {now.last[0]:.1g} at its end; more than a hundredth only in the last "
            f"{reach} steps. The loss ({reliance.loss:.3g}) is the same when the inputs are exchanged "
            f"({reliance.mixed:.3g}): the network makes no use of them.",
            "Use a gated cell (nn.LSTM with a forget-gate bias of 1, nn.GRU) in place of a plain one, or start the "
            "recurrent weights orthogonal (nn.init.orthogonal_).",
        )
    ]


def _by_experiment(lab: Lab, record: Record, before: ThroughTime) -> list[Finding]:
    """Where orthogonal recurrent weights do far better."""
    if not recurrent_matrices(lab.tapes[0]):
        return []
    end, most = record.last_loss(), min(UPDATES, record.steps)
    found: Orthogonal | None = lab.ask("orthogonal", lambda in_time: _experiment(lab, in_time, end, most), SHARE)
    if found is None or not found.is_far_below(end):
        return []
    return [
        Finding(
            CODE,
            "error",
            f"{before.kind} over {len(before.last)} steps",
            f"At the start of the run, of the gradient of the last state {before.last[0]:.1g} was left at the first of "
            f"{len(before.last)} steps. From the same start, but with orthogonal recurrent weights, {found.updates} "
            f"updates brought the loss from {found.start:.3g} to {found.after:.3g} (on batches that were held out); "
            f"the run, after {record.steps} updates, was at {end:.3g}.",
            "Start the recurrent weights orthogonal (nn.init.orthogonal_), or use a gated cell (nn.LSTM with a "
            "forget-gate bias of 1, nn.GRU) in place of a plain one.",
        )
    ]


def _experiment(lab: Lab, in_time: Callable[[], bool], end: float, most: int) -> Orthogonal | None:
    """It ends as soon as it is clear."""
    lab.restore()
    best, tapes = Orthogonal(start := lab.held_out_loss(), start, 0), lab.training_tapes
    for p in recurrent_matrices(tapes[0]):
        torch.nn.init.orthogonal_(p, generator=torch.Generator(p.device).manual_seed(0))
    for number in range(most):
        if not in_time():
            break
        lab.update(tapes[number % len(tapes)])
        if (number + 1) % EVERY == 0 and (loss := lab.held_out_loss()) < best.after:
            best = Orthogonal(start, loss, number + 1)
            if best.is_far_below(end):
                break
    return best
