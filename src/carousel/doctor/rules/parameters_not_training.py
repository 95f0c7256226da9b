"""Parameters that never change though they should: no optimizer has them, or no gradient reaches them.

A tensor that is kept as an attribute and is no `nn.Parameter` (as what `.t()` or `.to()` makes of one) is registered
nowhere; nor is a parameter in a plain list. And an optimizer may hold the parameters of another network than the one
that is trained, as of a copy, so that none of them ever has a gradient.

A gradient may arrive and be zero everywhere, each time: that of a step function is. Other causes, as units that are
dead or a loss with the weight 0, have rules of their own or are meant.

Frozen on purpose (`requires_grad` false) is no fault, nor is a part of the network that is never called, nor what was
loaded and is left out of the optimizer, as the body of a network that gets a new head, or a yardstick of images.
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

UNUSED = 30
"""Gradients that are made and dropped: for a picture of what a network looks at, a few are enough."""

LEAST_ZEROS = 10
"""Updates with a gradient of zeros: the first may be for other reasons, as a last layer that begins with zeros."""

STEPS = ("sign", "sgn", "round", "floor", "ceil", "trunc", "fix")
"""Functions whose derivative is zero wherever it exists; by their names, in place or not."""


def findings(record: Record) -> list[Finding]:
    """Where parameters want a gradient and get none, or get one that no optimizer uses."""
    if not record.steps:
        return _no_update(record)
    first = record.finiteness.first
    if record.looked < LEAST or (first is not None and first.step == 0):
        return []
    wanting = [p for p in record.parameters if p.wanted]
    unheld = [p for p in wanting if not p.held and p.gradients]
    unreached = [p for p in wanting if p.held and p.called and not p.gradients]
    found = _stray(record) + _another(record, unheld)
    unheld = [p for p in unheld if not p.loaded]
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
    if record.emptied == record.looked:
        return [_emptied(record)]
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


def _no_update(record: Record) -> list[Finding]:
    """Where gradients are made and dropped again and again, and nothing is ever changed by them."""
    if not record.optimizers or record.backwards < UNUSED or 2 * record.dropped < record.backwards:
        return []
    return [
        Finding(
            CODE,
            "error",
            "all parameters",
            f"backward() was called {record.backwards} times and zero_grad() {record.dropped} times, but no update was "
            "made in between: the parameters stay as they were made.",
            "Call optimizer.step() after loss.backward(), before the gradients are dropped again.",
        )
    ]


def _emptied(record: Record) -> Finding:
    return Finding(
        CODE,
        "error",
        "all parameters",
        f"In all {record.emptied} updates looked at, zero_grad() was called between backward() and step(): the "
        "gradients were gone when they were to be used, and the parameters stay as they were made.",
        "Call zero_grad() before backward(), or behind step().",
    )


def _stray(record: Record) -> list[Finding]:
    """Where a tensor that is part of the network is registered nowhere."""
    held = {id(p) for of in record.updates.values() for p in of.held}
    strays = record.strays.unheld(held) if held else []
    if not strays:
        return []
    names = list(dict.fromkeys(one.name or "" for one in strays))
    numbers = sum(one.tensor.numel() for one in strays)
    return [
        Finding(
            CODE,
            "error",
            ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""),
            f"Tensors that no module has as parameters, and no optimizer has ({len(strays)} with {numbers:,} numbers), "
            "get a gradient in each step: they stay as they were made.",
            "Assign an nn.Parameter itself as the attribute, with nothing applied to it (no .t(), .to(), * 0.1), or "
            "use nn.ParameterList; then pass all parameters to the optimizer.",
        )
    ]


def _another(record: Record, unheld: list[ParameterSeen]) -> list[Finding]:
    """Where an optimizer updates what has no part in the loss, and what has is in none."""
    optimizers = list(record.updates.values())
    if not unheld or not optimizers or any(of.pushed or not of.held for of in optimizers):
        return []
    return [
        Finding(
            CODE,
            "error",
            f"the optimizer {optimizers[0].kind}" + (f" ({optimizers[0].line})" if optimizers[0].line else ""),
            f"None of its {len(optimizers[0].held)} parameters had a gradient in {record.looked} updates, while "
            f"{_numbers(unheld)} of the network that is trained have one: it holds those of another network.",
            "Make the optimizer from the parameters of the network that is called, and after that is copied, replaced "
            "or made anew.",
        )
    ]


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
