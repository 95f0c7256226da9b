"""Where a recurrence is interrupted inside a step of training, and the same step without that.

A state may be detached on its way, so that no gradient gets from behind to before it; and a cell may begin from zeros
again and again, with nothing left of what it was told. On the tape both are to be seen: a `detach` between two uses of
the same weights, and calls of one recurrent layer that are all given a state of zeros.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .lab import MEANINGFUL, Lab, far_below
from .tape import Call, Change, Slot, Tape, slots_in, tensors_in
from .through_time import CELLS, LAYERS, is_packed

__all__ = ["Changed", "cuts", "fresh", "joined", "until_clear"]

CALLS = 4
"""From zeros, that make a recurrence without memory: two or three may read a question and its answers."""

UPDATES, EVERY = 300, 30
"""Of the experiment, at most: what lies many steps back takes longer than the updates of a trial. And of these, after
how many it is looked whether they suffice."""


@dataclass(frozen=True)
class Changed:
    """The experiment: losses on held-out batches, at the start and, the lowest seen, after so many updates."""

    start: float
    after: float
    updates: int


def cuts(tape: Tape) -> list[Call]:
    """The calls that detach what a parameter has made, and what is made of that by the same parameter."""
    candidates = [call for call in tape.calls if _detaches(call)]
    if not candidates:
        return []
    bit = {n: 1 << i for i, n in enumerate(tape.parameters)}
    number = {id(call): i for i, call in enumerate(candidates)}
    made: dict[Slot, tuple[int, int]] = {}  # the parameters behind a tensor, and the cuts
    before: list[int] = []
    found = set[int]()
    for call in tape.calls:
        inputs = call.inputs
        own = sum({bit[slot.number] for slot in inputs if slot.number in bit})
        past, passed = own, 0
        for slot in inputs:
            more = made.get(slot, (0, 0))
            past, passed = past | more[0], passed | more[1]
        if own and passed:
            found.update(i for i, parameters in enumerate(before) if passed >> i & 1 and parameters & own)
        if id(call) in number:
            before.append(past)
            passed |= 1 << number[id(call)]
        for slot in call.outputs:
            made[slot] = past, passed
    return [call for i, call in enumerate(candidates) if i in found]


def fresh(tape: Tape) -> list[Call]:
    """The calls of recurrent layers and cells, but for the first of each, that are given a state of zeros again."""
    found = dict[tuple[int, ...], list[Call]]()
    for call in tape.calls:
        if call.name in CELLS or (call.name in LAYERS and len(call.args) == 9 and not is_packed(call.args)):
            x, state = call.args[:2]
            weights = tuple(slot.number for slot in call.inputs if slot.number in tape.parameters)
            begins = [tape.given.get(slot.number) for slot in slots_in(state)]
            if isinstance(x, Slot) and weights and begins and all(_is_zero(t) for t in begins):
                found.setdefault(weights, []).append(call)
    return [call for calls in found.values() if len(calls) >= CALLS for call in calls[1:]]


def joined(
    lab: Lab, which: Callable[[Tape], list[Call]], in_time: Callable[[], bool], run: list[float], end: float
) -> Changed | None:
    """Train with the states handed on, as `until_clear`; `which` tells the calls to change: `cuts` or `fresh`."""
    again = {id(call) for tape in lab.tapes for call in which(tape)}
    last: dict[Any, Any] = {}

    def change(call: Call, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if _detaches(call):
            return args[0] if id(call) in again else None
        if call.name not in CELLS and call.name not in LAYERS:
            return None
        key = tuple(map(id, _weights(args)))
        state = last.get(key) if id(call) in again else None
        if state is not None and _sizes(state) == _sizes(args[1]):
            args = (args[0], state, *args[2:])
        result = call.function(*args, **keywords)
        last[key] = _state(call, result)
        return result

    return until_clear(lab, change, in_time, run, end)


def until_clear(lab: Lab, change: Change, in_time: Callable[[], bool], run: list[float], end: float) -> Changed | None:
    """Train with some calls changed, until it is clear that the run was held up, or was ahead of that.

    Args:
        lab: of the run.
        change: of the calls.
        in_time: whether there is time left.
        run: its losses, update by update.
        end: its best loss.

    Returns:
        None where that does not become clear.
    """
    lab.restore()
    start, tapes = lab.held_out_loss(change), lab.training_tapes
    for number in range(min(UPDATES, len(run))):
        if not in_time():
            return None
        lab.update(tapes[number % len(tapes)], change)
        if (number + 1) % EVERY:
            continue
        loss = lab.held_out_loss(change)
        if far_below(start, loss, end):
            return Changed(start, loss, number + 1)
        if loss > (1 + MEANINGFUL) * statistics.median(run[number + 1 - EVERY // 2 : number + 1]):
            return None
    return None


def _detaches(call: Call) -> bool:
    owner = getattr(getattr(call.function, "__self__", None), "__name__", "")
    return call.name in ("detach", "detach_") or (call.name == "__get__" and owner == "data")


def _is_zero(t: Tensor | None) -> bool:
    return t is not None and not t.requires_grad and not bool(t.any())


def _weights(args: tuple[Any, ...]) -> list[Tensor]:
    return tensors_in(args[2] if isinstance(args[2], list | tuple) else args[2:])


def _sizes(state: Any) -> list[torch.Size]:
    return [t.shape for t in tensors_in(state)]


def _state(call: Call, result: Any) -> Any:
    """What a call hands on to the next."""
    if call.name in CELLS:
        return result
    return tuple(result[1:]) if call.name == "lstm" else result[1]
