"""The error of a recurrent network grows on its way back through the steps: each update is one of chance.

It need not grow at the start. Where a step adds what it computes to the state, as in a roll-out, one large update can
make every step an expansion, and the next is no number any more. So where a run has blown up, its first updates are
made again: the gradient must grow through the steps at the end of them, and the same updates with clipped gradients,
at the same learning rate, must learn well. If the learning rate alone were to blame, clipping to a length of 1 would
not save it.

What grows through the steps makes the first loss huge, too, so that a fall from it says little. Of squared errors it is
known what is nothing: who always says the mean of the targets has their variance. A run that ends no lower has not
learned, wherever it began.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..findings import Finding
from ..lab import Lab
from ..pairs import variance
from ..record import Record
from ..through_time import ThroughTime, of_tape, through_time

CODE = "exploding-gradient-time"
EXPLAINS = ("bad-init", "saturated-activations", "lr-too-high", "non-finite")

STEPS = 10

GROWTH = 100.0
"""Of the gradient, from the last state back to the first. Orthogonal weights keep it at 1 or below; chosen."""

LEARNED, CLIPPED = 0.2, 0.5
"""The loss at the end over that at the start, if gradients are not clipped and if they are: a network that learns well
can bear some growth.
"""

CLIP = 1.0
"""The length to which gradients are clipped in the experiment, as is usual."""

SOON, UPDATES = 10, 30
"""Updates from the start in which the blow-up must come again, and of the trial with clipped gradients: few, for a
step of many steps takes its time.
"""


@dataclass(frozen=True)
class BlownUp:
    """The first updates of the run, made again.

    Attributes:
        update: after how many the gradient grew.
        growth: of the gradient of the last state then, from the last step to the first.
        start: the loss on held-out batches at the start.
        clipped: the same after `UPDATES` updates with clipped gradients.
    """

    update: int
    growth: float
    start: float
    clipped: float


def findings(record: Record) -> list[Finding]:
    """Where the gradient grows by orders of magnitude, and little was learned."""
    lab = record.lab
    if lab is None or record.steps < 20:
        return []
    before = through_time(lab, at_start=True)
    if before is None or len(before.last) < STEPS:
        return []
    if before.last[0] < GROWTH:
        return _blown_up(lab, record, before)
    start, end = record.course()[0][1], record.last_loss()
    clips = all(tape.clips for tape in lab.tapes)
    nothing = ""
    if record.has_learned() or end < (CLIPPED if clips else LEARNED) * start:
        spread: float | None = lab.ask("variance", lambda in_time: variance(lab, in_time))
        if spread is None or end < spread:
            return []
        nothing = f"; the targets' variance, the error of whoever says their mean, is {spread:.3g}"
    return [
        Finding(
            CODE,
            "error",
            f"{before.kind} over {len(before.last)} steps",
            f"At the start of the run the gradient of the last state is {before.last[0]:.3g} times as large at the "
            f"first of {len(before.last)} steps; that of the loss grows from {before.loss[-1]:.2g} to "
            f"{before.loss[0]:.2g}. The loss went from {start:.3g} to {end:.3g} in {record.steps} updates{nothing}.",
            ("" if clips else "Clip the gradient norm, nn.utils.clip_grad_norm_(model.parameters(), 1.0), and start")
            + ("Start" if clips else "")
            + " the recurrent weights orthogonal (nn.init.orthogonal_) or smaller; a gated cell is less prone to it.",
        )
    ]


def _blown_up(lab: Lab, record: Record, before: ThroughTime) -> list[Finding]:
    """Where it grows from one update to the next, and the run ends there."""
    end = record.last_loss()
    if math.isfinite(end) or all(tape.clips for tape in lab.tapes):
        return []
    found: BlownUp | None = lab.ask("blown up", lambda in_time: _experiment(lab, in_time))
    if found is None or not 0 <= found.clipped < CLIPPED * found.start:
        return []
    return [
        Finding(
            CODE,
            "error",
            f"{before.kind} over {len(before.last)} steps",
            f"At update {found.update + 1} the gradient of the last state was {found.growth:.3g} times as large at the "
            f"first of {len(before.last)} steps ({before.last[0]:.3g} times at the start), and the loss of the run "
            f"became no number. With the gradient norm clipped to {CLIP:g}, {UPDATES} updates at the same learning "
            f"rate brought it from {found.start:.3g} to {found.clipped:.3g} (on batches that were held out).",
            f"Clip the gradient norm, nn.utils.clip_grad_norm_(model.parameters(), {CLIP:g}), and let a step change "
            "the state by less (state + dt * f(state), smaller or orthogonal weights, a gated cell).",
        )
    ]


def _experiment(lab: Lab, in_time: Callable[[], bool]) -> BlownUp | None:
    lab.restore()
    start, tapes, grown = lab.held_out_loss(), lab.training_tapes, None
    for number in range(SOON):
        if not in_time():
            return None
        growth = of_tape(tapes[number % len(tapes)])
        if growth is not None and growth.last[0] >= GROWTH:
            grown = number, growth.last[0]
            break
        lab.update(tapes[number % len(tapes)])
    if grown is None:
        return None
    lab.restore()
    for number in range(UPDATES):
        if not in_time():
            return None
        lab.update(tapes[number % len(tapes)], clip=CLIP)
    return BlownUp(*grown, start, lab.held_out_loss())
