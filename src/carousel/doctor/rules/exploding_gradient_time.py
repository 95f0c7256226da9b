"""The error of a recurrent network grows on its way back through the steps: each update is one of chance."""

from __future__ import annotations

from ..findings import Finding
from ..record import Record
from ..through_time import through_time

CODE = "exploding-gradient-time"
EXPLAINS = ("bad-init", "saturated-activations", "lr-too-high", "non-finite")

STEPS = 10

GROWTH = 100.0
"""Of the gradient, from the last state back to the first. Orthogonal weights keep it at 1 or below; chosen."""

LEARNED, CLIPPED = 0.2, 0.5
"""The loss at the end over that at the start, if gradients are not clipped and if they are: a network that learns well
can bear some growth.
"""


def findings(record: Record) -> list[Finding]:
    """Where the gradient grows by orders of magnitude, and little was learned."""
    lab = record.lab
    if lab is None or record.steps < 20:
        return []
    before = through_time(lab, at_start=True)
    if before is None or len(before.last) < STEPS or before.last[0] < GROWTH:
        return []
    start, end = record.course()[0][1], record.last_loss()
    clips = all(tape.clips for tape in lab.tapes)
    if end < (CLIPPED if clips else LEARNED) * start:
        return []
    return [
        Finding(
            CODE,
            "error",
            f"{before.kind} over {len(before.last)} steps",
            f"At the start of the run the gradient of the last state is {before.last[0]:.3g} times as large at the "
            f"first of {len(before.last)} steps; that of the loss grows from {before.loss[-1]:.2g} to "
            f"{before.loss[0]:.2g}. The loss went from {start:.3g} to {end:.3g} in {record.steps} updates.",
            ("" if clips else "Clip the gradient norm, nn.utils.clip_grad_norm_(model.parameters(), 1.0), and start")
            + ("Start" if clips else "")
            + " the recurrent weights orthogonal (nn.init.orthogonal_) or smaller; a gated cell is less prone to it.",
        )
    ]
