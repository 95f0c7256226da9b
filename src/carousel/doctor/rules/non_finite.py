"""NaN or infinity: the first place where one was made out of numbers."""

from __future__ import annotations

from ..findings import Finding
from ..record import Record

CODE = "non-finite"
EXPLAINS = ()


def findings(record: Record) -> list[Finding]:
    """The first value that is no number."""
    first = record.finiteness.first
    if first is None:
        return []
    return [
        Finding(
            CODE,
            "error",
            first.where,
            f"Before update {first.step + 1}, {first.where}: {first.what}; nothing was before.",
            "Guard that place: keep the argument of a logarithm, root or division away from 0 by a small constant, "
            "bound the argument of an exponential; if the numbers grew over the steps before, lower the learning rate.",
            step=first.step,
        )
    ]
