"""Batch and time axes of a recurrent layer exchanged: it runs from sample to sample, and mixes them.

The loss shows it. In a network that reads sequences, each sample has a part in the loss through one step or several;
with exchanged axes, one index of what the layer takes for the batch has it through all of its "steps", or all have the
same part.

Where there is a target for each step the loss shows nothing. There an experiment decides: with the axes of the layer
exchanged, a few updates from the start get further than the whole run did.

And `view` is no transpose: it takes the numbers as they lie in memory, and so puts a sequence together of pieces of
several. The calls that shaped the layer's input tell for each of its numbers where it came from. Behind the layer it
is the gradient that tells: what the network says of a sample is made of others, two and more, and not of its own.

Scores of all steps and samples in one long row may be in another order than the targets. That an experiment shows,
too: with the targets in the other order, the network learns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..findings import Finding
from ..joined import Changed, until_clear
from ..lab import UPDATES, Lab, far_below
from ..pairs import target_of
from ..record import Record
from ..tape import Call, Change, Shaping, Tape, slots_in
from ..through_time import LAYERS

CODE = "batch-time-swapped"
EXPLAINS = ("vanishing-gradient-time", "exploding-gradient-time")

LEAST = 3
"""Steps and samples."""

ATTENTION = "multi_head_attention_forward"

SHARE = 0.9
"""Of the "steps" through which the only sample has a part."""

ASKED, PART = 8, 0.1
"""Samples of which it is asked what they are made of; and of the largest part in one, that counts as a part. Batch
normalization gives each sample a small part in all others."""

TIME = 0.5
"""Of that left for experiments: where this one says nothing, others may."""


@dataclass(frozen=True)
class Parts:
    """How a recurrent layer's outputs have a part in the loss.

    Attributes:
        kind: of the layer.
        steps, samples: as the layer takes its axes.
        batch_first: which axis it takes for the batch.
        lone: the only sample through which the loss sees the layer; -1 where there are several.
        lone_steps: the steps through which it does.
        same: all samples have the same part at each step, and steps differ.
        every: each sample has a part at each step.
        foreign: of `ASKED` samples, how many are made of others, and not of what the layer was given of them.
    """

    kind: str
    steps: int
    samples: int
    batch_first: bool
    lone: int
    lone_steps: int
    same: bool
    every: bool
    foreign: int = 0


@dataclass(frozen=True)
class Exchanged:
    """The loss on held-out batches at the start, and after `UPDATES` updates with the axes of the layer exchanged."""

    start: float
    after: float


def findings(record: Record) -> list[Finding]:
    """Where one sample stands for all, at all steps, or where the layer does better with its axes exchanged."""
    lab = record.lab
    if lab is None or not lab.tapes:
        return []
    if not _recurs(lab):
        return _attention(lab, record)
    if torn := _torn(lab.tapes[0]):
        return [torn]
    parts: Parts | None = lab.ask("axes", lambda in_time: experiment(lab, in_time))
    if parts is None or min(parts.steps, parts.samples) < LEAST:
        return []
    if 2 * parts.foreign > ASKED:
        return [_of_others(parts)]
    if parts.lone >= 0 and parts.lone_steps >= SHARE * parts.steps:
        seen = f"the loss depends on sample {parts.lone} alone, through {parts.lone_steps} of its steps"
    elif parts.same:
        seen = "all samples have the same part in the loss, at each step"
    elif parts.every and (found := _better(lab, record, _runs_along_the_other_axis, _turns)):
        seen = found
    else:
        return _in_other_order(lab, record, parts)
    order = "(batch, time, features)" if parts.batch_first else "(time, batch, features)"
    fix = "drop batch_first=True" if parts.batch_first else "pass batch_first=True"
    return [
        Finding(
            CODE,
            "error",
            f"the input of the {parts.kind.upper().split('_')[0]}",
            f"The layer takes its input for {order}: {parts.steps} steps of {parts.samples} samples. But {seen}: the "
            "axes are exchanged, and the state runs from one sample to the next.",
            f"Build the layer for the data, {fix}, or transpose the input (x.transpose(0, 1)).",
        )
    ]


def _attention(lab: Lab, record: Record) -> list[Finding]:
    """Where attention goes from sample to sample.

    What it takes for steps is as long as there are targets; or there are targets for each step of each sample, and with
    the axes exchanged the network learns.
    """
    tape = lab.tapes[0]
    calls = [call for call in tape.calls if call.name == ATTENTION and call.args]
    found = target_of(tape)
    if found is None or not calls:
        return []
    axes = lab.ask("attention", lambda in_time: _sizes(tape, {slots_in(call.args[0])[0].number for call in calls}))
    count = tape.given[found[2].number].numel()
    if axes is None or len(axes) != 2 or axes[1] in (1, count):
        return []
    if axes[0] == count:
        seen = (
            f"But there are {count} targets, one for each of what they take for steps: the samples of a batch look at "
            "each other, and no position at another of the same sample."
        )
    elif axes[0] * axes[1] == count and (text := _better(lab, record, _looks_along_the_other_axis, _unmasked)):
        seen = f"But {text}."
    else:
        return []
    return [
        Finding(
            CODE,
            "error",
            f"the input of {len(calls)} calls of nn.MultiheadAttention",
            f"They take their input for (steps, samples, features): {axes[0]} steps of {axes[1]} samples. {seen}",
            "Build the layer for (batch, time, features): nn.MultiheadAttention, nn.TransformerEncoderLayer(…, "
            "batch_first=True), or transpose the input (x.transpose(0, 1)).",
        )
    ]


def _unmasked(tape: Tape) -> bool:
    """Whether all attention may look everywhere, and is of a sequence to itself."""
    calls = [call for call in tape.calls if call.name == ATTENTION]
    masks = [call.keywords.get(name) for call in calls for name in ("key_padding_mask", "attn_mask")]
    return all(len(call.args) > 3 and call.args[0] == call.args[1] == call.args[2] for call in calls) and not any(
        mask is not None for mask in masks
    )


def _looks_along_the_other_axis(call: Call, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    if call.name != ATTENTION:
        return None
    other = [x.transpose(0, 1) for x in args[:3]]
    result, *rest = call.function(*other, *args[3:], **keywords)
    return (result.transpose(0, 1), *rest)


def _sizes(tape: Tape, numbers: set[int]) -> tuple[int, ...] | None:
    """Of tensors of a tape, without their features, if all have the same."""
    keep: dict[int, Tensor] = {}
    with torch.no_grad():
        tape.replay(backward=False, keep=keep)
    sizes = {tuple(keep[number].shape[:-1]) for number in numbers}
    return sizes.pop() if len(sizes) == 1 else None


def _of_others(parts: Parts) -> Finding:
    name = parts.kind.upper().split("_")[0]
    return Finding(
        CODE,
        "error",
        f"what is made of the output of the {name}",
        f"The layer reads {parts.steps} steps of {parts.samples} samples. Of {ASKED} samples that were looked at, what "
        f"the network says of {parts.foreign} does not depend on their own sequence but on those of other samples: "
        "axes of the output or of the last state were taken for each other.",
        "view and reshape do not exchange axes: of h_n (layers, batch, units) take torch.cat([h_n[-2], h_n[-1]], 1) or "
        "h_n.transpose(0, 1).reshape(batch, -1), of an output (time, batch, units) out.transpose(0, 1).",
    )


def _in_other_order(lab: Lab, record: Record, parts: Parts) -> list[Finding]:
    """Where scores and targets of all steps and samples are flat, and the network learns from the exchanged ones."""
    steps, samples, end = parts.steps, parts.samples, record.lowest_loss()
    if record.steps < UPDATES or not all(_is_flat(tape, steps * samples) for tape in lab.tapes):
        return []
    targets = {id(of[0]) for of in map(target_of, lab.tapes) if of is not None}
    sizes = (steps, samples) if parts.batch_first else (samples, steps)

    def change(call: Call, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if id(call) not in targets:
            return None
        ordered = args[1].unflatten(0, sizes).transpose(0, 1).flatten(0, 1)
        return call.function(args[0], ordered, *args[2:], **keywords)

    run = [loss for _, loss in record.course()]
    found: Changed | None = lab.ask("order", lambda in_time: until_clear(lab, change, in_time, run, end), TIME)
    if found is None:
        return []
    return [
        Finding(
            CODE,
            "error",
            "the order of the targets",
            f"The scores are those of {steps} steps of {samples} samples in one row. With the targets in the other "
            f"order (time before batch, or batch before time), {found.updates} updates from the same start brought the "
            f"loss from {found.start:.3g} to {found.after:.3g} (on batches that were held out); the run, in "
            f"{record.steps} updates, came to {end:.3g}.",
            "Give scores and targets the same order before they are made flat: transpose one of them (y.transpose(0, "
            "1).reshape(-1)), or build the layer with batch_first=True.",
        )
    ]


def _is_flat(tape: Tape, rows: int) -> bool:
    found, shaped = target_of(tape), [c for c in tape.calls if c.name in LAYERS and len(c.args) == 9]
    y = None if found is None else tape.given.get(found[2].number)
    return bool(shaped) and y is not None and y.ndim >= 1 and len(y) == rows


def _better(lab: Lab, record: Record, change: Change, can_change: Callable[[Tape], bool]) -> str | None:
    """What the experiment with the axes exchanged says, if the run is far behind it."""
    if record.steps < UPDATES or record.has_learned() or not all(map(can_change, lab.tapes)):
        return None
    found: Exchanged | None = lab.ask("exchanged", lambda in_time: _exchanged(lab, in_time, change))
    end = record.last_loss()
    if found is None or not far_below(found.start, found.after, end):
        return None
    return (
        f"with these two exchanged, {UPDATES} updates from the same start brought the loss from {found.start:.3g} to "
        f"{found.after:.3g} (on batches that were held out); the run, after {record.steps} updates, was at {end:.3g}"
    )


def _turns(tape: Tape) -> bool:
    """Whether its recurrent layers can run along the other axis: they begin from zeros, and leave no state."""
    layers = [call for call in tape.calls if call.name in LAYERS]
    begins = [tape.given.get(s.number) for call in layers if len(call.args) == 9 for s in slots_in(call.args[1])]
    ends = {slot for call in layers for slot in call.outputs[1:]}
    used = any(slot in ends for call in tape.calls for slot in call.inputs)
    return (
        not used
        and all(call.args[0] is not None and len(call.args) == 9 for call in layers)
        and all(s is not None and not s.requires_grad and not bool(s.any()) for s in begins)
    )


def _runs_along_the_other_axis(call: Call, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    if call.name not in LAYERS:
        return None
    x, state = args[:2]
    samples = x.shape[1] if args[8] else x.shape[0]
    zeros = [s.new_zeros(s.shape[0], samples, s.shape[2]) for s in (state if call.name == "lstm" else [state])]
    return call.function(x, zeros if call.name == "lstm" else zeros[0], *args[2:8], not args[8], **keywords)


def _exchanged(lab: Lab, in_time: Callable[[], bool], change: Change) -> Exchanged | None:
    lab.restore()
    start, after = lab.held_out_loss(change), lab.trial(in_time, change=change)
    return None if after is None else Exchanged(start, after)


def _torn(tape: Tape) -> Finding | None:
    """A layer's input that a `view` has put together of pieces of several samples."""
    for shaping in tape.shapings:
        pieces = _pieces(shaping)
        if pieces < LEAST:
            continue
        size, steps, samples = shaping.sizes, *shaping.axes
        return Finding(
            CODE,
            "error",
            f"the input of the {shaping.kind.upper().split('_')[0]}",
            f"The layer takes {steps} steps of {samples} samples, made of {tuple(size)} by "
            f"{', '.join(call.name for call in shaping.calls)}. It does not exchange the axes but keeps the numbers in "
            f"their order in memory: what the layer reads as one sequence is put together of pieces of {pieces} "
            "samples.",
            "Exchange axes by x.transpose(0, 1), or build the layer with batch_first=True; view and reshape never do.",
        )
    return None


def _pieces(shaping: Shaping) -> int:
    """Of how many samples the layer's typical sequence is made, and 1 where each is of one.

    A sequence comes from one row of the data, or from one column where time comes first.
    """
    sizes, place = shaping.sizes, shaping.places()
    if len(sizes) < 3 or min(sizes[:2]) < LEAST or sizes[0] == sizes[1] or place is None:
        return 1
    inner = place.numel() // (sizes[0] * sizes[1])
    of = place.transpose(0, 1) if shaping.batch_first else place  # (steps, samples, features)
    rows, columns = of // (sizes[1] * inner), of // inner % sizes[1]
    counts = [
        (len(rows[:, i].unique()), len(columns[:, i].unique()))
        for i in range(0, of.shape[1], max(1, of.shape[1] // 16))
    ]
    row, column = (sorted(c)[len(c) // 2] for c in zip(*counts, strict=True))
    by_rows = tuple(shaping.axes) == (sizes[1], sizes[0])  # as many samples as the data have rows
    return row if row > 1 and (column > 1 or by_rows) else 1


def _recurs(lab: Lab) -> bool:
    return any(call.name in LAYERS for tape in lab.tapes[:1] for call in tape.calls)


def experiment(lab: Lab, in_time: Callable[[], bool]) -> Parts | None:
    """Which part each sample and step has in the loss; None where there is no recurrent layer."""
    if not _recurs(lab):
        return None
    lab.restore()
    seen: list[tuple[str, bool, Tensor]] = []
    read: list[Tensor] = []
    keep: dict[int, Tensor] = {}

    def change(call: Call, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if call.name not in LAYERS or len(args) != 9 or not isinstance(args[8], bool) or args[0].ndim != 3:
            return None
        x = args[0] if args[0].requires_grad else args[0].detach().requires_grad_()
        result = call.function(x, *args[1:], **keywords)
        if not seen:
            seen.append((call.name, args[8], result[0]))
            read.append(x)
        return result

    roots = lab.tapes[0].replay(backward=False, change=change, keep=keep)
    if not seen:
        return None
    kind, batch_first, out = seen[0]
    (grad,) = torch.autograd.grad(torch.stack(roots).sum(), [out], allow_unused=True, retain_graph=True)
    foreign = _foreign(lab.tapes[0], keep, read[0], 0 if batch_first else 1)
    if grad is None:  # the last state alone is used
        steps, count = (read[0] if not batch_first else read[0].transpose(0, 1)).shape[:2]
        return Parts(kind, steps, count, batch_first, -1, 0, False, False, foreign)
    grad = grad.transpose(0, 1) if batch_first else grad  # (steps, samples, units)
    has = grad.abs().sum(-1) > 0
    samples = has.any(0).nonzero().flatten().tolist()
    lone = samples[0] if len(samples) == 1 else -1
    scale = float(grad.abs().max())
    same = bool(has.all()) and float((grad - grad[:, :1]).abs().max()) < 1e-6 * scale
    differs = float((grad - grad[:1]).abs().max()) > 1e-3 * scale
    steps, count = has.shape
    through = int(has[:, lone].sum()) if lone >= 0 else 0
    return Parts(kind, steps, count, batch_first, lone, through, bool(same and differs), bool(has.all()), foreign)


def _foreign(tape: Tape, keep: dict[int, Tensor], x: Tensor, axis: int) -> int:
    """Of how many samples what the network says is made of others; none where each is made of one other, as if sorted.

    Args:
        tape: the step.
        keep: its tensors.
        x: the input of the recurrent layer.
        axis: that of the samples.
    """
    found = target_of(tape)
    said = None if found is None else keep[found[1].number]
    if said is None or not said.ndim or len(said) != x.shape[axis] or len(said) < ASKED or not said.requires_grad:
        return 0
    direction = torch.randn(said.shape, generator=torch.Generator().manual_seed(0)).to(said)
    others = list[frozenset[int]]()
    for i in range(0, len(said) // ASKED * ASKED, len(said) // ASKED):
        (grad,) = torch.autograd.grad((direction[i] * said[i]).sum(), [x], allow_unused=True, retain_graph=True)
        if grad is None:
            return 0
        part = grad.abs().transpose(0, axis).flatten(1).sum(1)
        of = frozenset((part > PART * part.max()).nonzero().flatten().tolist())
        if of and i not in of:
            others.append(of)
    sorted_ = all(len(of) == 1 for of in others) and len(set(others)) == len(others)
    return 0 if sorted_ else len(others)
