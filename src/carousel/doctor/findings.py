"""What the doctor says: a fault, how bad it is, where, on what evidence, and what to change."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = ["Finding", "Severity"]

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes:
        code: a stable public name, such as "double-softmax".
        severity: "error" (the run cannot learn, or learns the wrong thing), "warning" (it learns markedly worse than it
            should) or "note" (worth knowing).
        where: the module, parameter or line of the script.
        evidence: what was measured, in words and numbers.
        advice: the concrete change.
        step: the update before which it was first seen, from 0.
        consequences: codes of what follows from this fault, which are no findings of their own.
    """

    code: str
    severity: Severity
    where: str
    evidence: str
    advice: str
    step: int = 0
    consequences: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"consequences": list(self.consequences)}
