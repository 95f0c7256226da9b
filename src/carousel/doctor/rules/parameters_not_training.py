"""Parameters that never change though they should: no optimizer has them, or no gradient reaches them.

A gradient may arrive and be zero everywhere, each time: that of a step function is. Other causes, as units that are
dead or a loss with the weight 0, have rules of their own or are meant.

Frozen on purpose (`requires_grad` false) is no fault, nor is a part of the network that is never called.
"""

from __future__ import annotations

from ..findings import Finding
from ..record import Record
from ..seen import ParameterSeen

CODE = "parameters-not-training"
EXPLAINS = ("vanishing-gradient-depth", "underfitting")
"""The gradient of what gets none is small, too."""

LEAST = 3
SHOWN = 3

LEAST_ZEROS = 10
"""Updates with a gradient of zeros: the first may be for other reasons, as a last layer that begins with zeros."""

STEPS = ("sign", "sgn", "round", "floor", "ceil", "trunc", "fix")
"""Functions whose derivative is zero wherever it exists; by their names, in place or not."""


def findings(record: Record) -> list[Finding]:
    """Where parameters want a gradient and get none, or get one that no optimizer uses."""
    if record.looked < LEAST or (record.non_finite is not None and record.non_finite.step == 0):
        return []
    wanting = [p for p in record.parameters if p.wanted]
    unheld = [p for p in wanting if not p.held and p.gradients]
    unreached = [p for p in wanting if p.held and p.called and not p.gradients]
    found = []
    if unheld and any(p.held for p in wanting):
        lists = len({p.owner for p in wanting}) > 1
        why = (
            "Modules kept in a plain Python list or dict are not registered: use nn.ModuleList or nn.ModuleDict; "
            if lists
            else ""
        )
        found.append(
            Finding(
                CODE,
                "error",
                _names(unheld),
                f"{_numbers(unheld)} get a gradient, but no optimizer has them: they stay as they were made.",
                f"{why}pass all parameters to the optimizer, or set requires_grad_(False) on those that are to stay.",
            )
        )
    if unreached:
        found.append(
            Finding(
                CODE,
                "error",
                _names(unreached),
                f"{_numbers(unreached)} are in the optimizer, but no gradient has reached them in {record.looked} "
                "updates: they stay as they were made.",
                "Look for .detach(), torch.no_grad(), .data or a conversion to NumPy between them and the loss, or for "
                "a part of the network whose output is not used.",
            )
        )
    stopped = [p for p in wanting if p.held and p.called and p.gradients >= LEAST_ZEROS and not p.pushed]
    step = _step_function(record) if stopped else None
    if step is not None:
        found.append(
            Finding(
                CODE,
                "error",
                _names(stopped),
                f"{_numbers(stopped)} are in the optimizer, but in all {stopped[0].gradients} updates looked at their "
                f"gradient was zero everywhere: torch.{step}, of what depends on parameters, has no other.",
                f"Give the gradient a way around it: x + (torch.{step}(x) - x).detach() has the value of "
                f"torch.{step}(x) and the gradient of x (straight-through); or use a smooth function while training.",
            )
        )
    return found


def _step_function(record: Record) -> str | None:
    """The name of one through which a loss depends on parameters."""
    tapes = record.lab.tapes[:1] if record.lab is not None else []
    names = [call.name.rstrip("_") for tape in tapes for call in tape.calls if call.gradients]
    return next((name for name in names if name in STEPS), None)


def _names(of: list[ParameterSeen]) -> str:
    more = f" and {len(of) - SHOWN} more" if len(of) > SHOWN else ""
    return ", ".join(p.name for p in of[:SHOWN]) + more


def _numbers(of: list[ParameterSeen]) -> str:
    count = 0
    for p in of:
        size = 1
        for n in p.shape:
            size *= n
        count += size
    return f"{len(of)} parameters ({count:,} numbers)"
