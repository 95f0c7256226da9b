"""A hand-written backward whose gradient is not that of its forward.

Each `torch.autograd.Function` of the script is tried in double precision: numerical against analytic derivative along
random directions. Some are wrong on purpose and left alone: a forward that changes nothing (gradient reversal, scaling,
clipping), one that is constant piece by piece or not smooth (rounding, thresholds with a stand-in for their
derivative), one that gives a gradient just where its own is zero (clamping), and inputs that get no gradient at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..findings import Finding
from ..lab import Lab
from ..record import Record
from ..tape import Call, Custom, Slot

CODE = "wrong-gradient"
EXPLAINS = ()

STEP = 1e-5
"""Of the numerical derivative, relative to the size of the input; the error of double precision is then about 1e-10."""

SMOOTH = 1e-3
"""Relative difference of derivatives by this step and one of half its size, above which a function is not smooth."""

WRONG = 1e-2

LEVELS = 0.1
"""Different outputs over different inputs: a function with fewer rounds."""

DIRECTIONS = 6

CHECKED_ELSEWHERE = ("torch.", f"{__name__.partition('.')[0]}.")
"""Modules whose functions are not the script's: those of PyTorch, and our own compiled cells."""


@dataclass(frozen=True)
class Checked:
    """One function: its name, and (numerical, analytic) derivatives that differ."""

    name: str
    wrong: list[tuple[float, float]]
    tried: int


def findings(record: Record) -> list[Finding]:
    """Where most derivatives differ."""
    lab = record.lab
    if lab is None or not _is_custom(lab):
        return []
    checked: list[Checked] = lab.ask("gradients", lambda in_time: experiment(lab, in_time)) or []
    return [
        Finding(
            CODE,
            "error",
            f"{of.name}.backward",
            f"In {len(of.wrong)} of {of.tried} random directions the derivative that {of.name}.backward gives is not "
            f"that of {of.name}.forward, in double precision: {of.wrong[0][1]:.4g} in place of {of.wrong[0][0]:.4g}.",
            f"Derive the backward of {of.name} anew, and check it with torch.autograd.gradcheck.",
        )
        for of in checked
        if 2 * len(of.wrong) > of.tried
    ]


def _custom(call: Call) -> bool:
    return isinstance(call.function, Custom) and not call.function.owner.__module__.startswith(CHECKED_ELSEWHERE)


def _is_custom(lab: Lab) -> bool:
    return any(_custom(call) for tape in lab.tapes[:1] for call in tape.calls)


def experiment(lab: Lab, in_time: Callable[[], bool]) -> list[Checked]:
    """Compare derivatives with differences, for each function of the script's own."""
    if not _is_custom(lab):
        return []
    lab.restore()
    tape = lab.tapes[0]
    keep: dict[int, Tensor] = {}
    tape.replay(backward=False, keep=keep)
    done: dict[type, Checked] = {}
    for call in tape.calls:
        if _custom(call) and call.function.owner not in done and in_time():
            args = tuple(_double(arg, keep) for arg in call.args)
            done[call.function.owner] = _check(call.function.owner, args)
    return list(done.values())


def _double(arg: Any, keep: dict[int, Tensor]) -> Any:
    if not isinstance(arg, Slot):
        return arg
    t = keep[arg.number].detach()
    return t.double().requires_grad_() if t.is_floating_point() else t


def _check(owner: type[torch.autograd.Function], args: tuple[Any, ...]) -> Checked:
    generator = torch.Generator().manual_seed(0)
    inputs = [a for a in args if isinstance(a, Tensor) and a.requires_grad]

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    def value(shifts: list[Tensor], of: list[Tensor]) -> Tensor:
        moved = iter(shifts)
        given = [a.detach() + next(moved) if isinstance(a, Tensor) and a.requires_grad else a for a in args]
        out = owner.apply(*given)
        return torch.stack([(u * o.double()).sum() for u, o in zip(of, _outputs(out), strict=True)]).sum()

    wrong: list[tuple[float, float]] = []
    tried = 0
    if _differs_where_flat(owner, args, inputs):
        return Checked(owner.__name__, wrong, tried)
    for _ in range(DIRECTIONS):
        outs = _outputs(owner.apply(*args))
        if any(torch.equal(o, i) for o in outs for i in inputs if o.shape == i.shape):
            break  # it changes nothing: its backward is meant to differ
        weights = [draw(o) for o in outs]
        total = torch.stack([(u * o).sum() for u, o in zip(weights, outs, strict=True)]).sum()
        grads = torch.autograd.grad(total, inputs, allow_unused=True)
        ways = [torch.zeros_like(i) if g is None else draw(i) for i, g in zip(inputs, grads, strict=True)]
        size = max([1e-3, *(float(i.abs().mean()) for i in inputs)])
        slopes = []
        for step in (STEP * size, STEP * size / 2):
            ahead, behind = (value([sign * step * w for w in ways], weights) for sign in (1, -1))
            slopes.append(float(ahead - behind) / (2 * step))
        analytic = sum(float((g * w).sum()) for g, w in zip(grads, ways, strict=True) if g is not None)
        scale = max(abs(slopes[0]), abs(slopes[1]), 1e-12)
        if abs(slopes[0] - slopes[1]) > SMOOTH * scale or scale < 1e-8:
            continue
        tried += 1
        if abs(slopes[0] - analytic) > WRONG * max(scale, abs(analytic)):
            wrong.append((slopes[0], analytic))
    return Checked(owner.__name__, wrong, tried)


def _differs_where_flat(owner: type[torch.autograd.Function], args: tuple[Any, ...], inputs: list[Tensor]) -> bool:
    """Of a function element by element: its gradient differs only where that of the forward is zero, or it rounds.

    What rounds to a few levels, perhaps scaled by all its inputs, has a gradient that is made up on purpose.
    """
    outs = _outputs(owner.apply(*args))
    if len(inputs) != 1 or len(outs) != 1 or outs[0].shape != inputs[0].shape:
        return False
    (x,) = inputs
    if len(outs[0].unique()) <= LEVELS * len(x.unique()):
        return True
    (analytic,) = torch.autograd.grad(outs[0].sum(), x)
    step = STEP * max(1e-3, float(x.detach().abs().mean()))
    ahead, behind = (
        _outputs(owner.apply(*(a.detach() + shift if a is x else a for a in args)))[0] for shift in (step, -step)
    )
    numerical = (ahead - behind) / (2 * step)
    differs = (numerical - analytic).abs() > WRONG * numerical.abs().clamp_min(1e-3)
    return bool(differs.any()) and float(numerical[differs].abs().median()) < 1e-6


def _outputs(out: Any) -> list[Tensor]:
    return [o for o in (out if isinstance(out, tuple) else (out,)) if isinstance(o, Tensor) and o.is_floating_point()]
