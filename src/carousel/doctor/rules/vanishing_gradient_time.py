"""The error of a recurrent network dies on its way back through the steps: what came early is never learned.

Where near steps hold all that is needed, such a network learns all the same. So two things must come together: the
gradient vanishes, at the start and still at the end, and the network says the same whatever it is given.
"""

from __future__ import annotations

from ..findings import Finding
from ..record import Record
from ..through_time import through_time

CODE = "vanishing-gradient-time"
EXPLAINS = ("horizon-too-short",)

STEPS = 10

LOST = 1e-3
"""Of the gradient of the last state, what is left at the first step. Plain recurrent networks lose a factor a step."""


def findings(record: Record) -> list[Finding]:
    """Where nothing arrives at the first steps, and nothing was learned."""
    lab = record.lab
    if lab is None or record.steps < 100:
        return []
    now = through_time(lab, at_start=False)
    if now is None or len(now.last) < STEPS or now.last[0] > LOST:
        return []
    before, reliance = through_time(lab, at_start=True), lab.reliance()
    if before is None or before.last[0] > LOST or reliance is None or not reliance.is_none:
        return []
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
