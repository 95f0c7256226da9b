"""Gradients that are never dropped: each update uses the sum of all gradients so far.

Told from accumulation on purpose by the order of events: there the gradients are gone when the first backward pass
after an update begins; here those of the update before are still there.
"""

from __future__ import annotations

from ..findings import Finding
from ..record import Record

CODE = "missing-zero-grad"
EXPLAINS = ("lr-too-high", "exploding-gradient-depth")

LEAST = 5


def findings(record: Record) -> list[Finding]:
    """Where most updates of an optimizer lay on the one before."""
    found = []
    for of in record.updates.values():
        if of.carried < LEAST or of.carried <= of.fresh:
            continue
        called = f"zero_grad() was called {record.dropped} times" if record.dropped else "zero_grad() was never called"
        found.append(
            Finding(
                CODE,
                "error",
                f"the updates of {of.kind}" + (f" ({of.line})" if of.line else ""),
                f"In {of.carried} of {of.carried + of.fresh} updates the gradients of the update before were still "
                f"there when backward() added to them; {called}.",
                "Call optimizer.zero_grad() once per update, before loss.backward().",
            )
        )
    return found
