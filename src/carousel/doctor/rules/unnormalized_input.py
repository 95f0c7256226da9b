"""Inputs or targets of a scale that the network is not made for: large, far from zero, or very different by feature.

What looks badly scaled may do no harm. So the experiment decides: from the same start, with the same batches but every
feature standardized, a few updates get further than the whole run did.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..findings import Finding
from ..lab import MEANINGFUL, PROGRESS, UPDATES, Lab, far_below
from ..record import Record
from ..tape import Call, Slot

CODE = "unnormalized-input"
EXPLAINS = (
    "lr-too-high",
    "dead-relu",
    "exploding-gradient-depth",
    "exploding-gradient-time",
    "saturated-activations",
    "non-finite",
    "bad-init",
)

LARGE, SMALL = 5.0, 0.02
"""Root mean square of the largest feature. Initializations are made for about 1."""

TARGETS = 10.0
"""Root mean square of the targets of a regression: outputs begin at about 1."""

SPREAD = 20.0
"""Of the largest feature, over the standard deviation of the middle one: what tells samples apart is small beside what
they all share, as where features lie far from zero, or were standardized row by row."""

GROSS, TIMES, BETTER = 100.0, 4, 0.9
"""With inputs so large it is enough that the experiment gets further than the run with so many times the updates."""

JOINING = ("cat", "concat")

FACTORS = (1.0, 10.0, 100.0)
"""Of the learning rate: a small one may have been chosen to survive the inputs."""


@dataclass(frozen=True)
class Standardized:
    """The experiment.

    Attributes:
        start: the held-out loss at the start, with standardized inputs.
        after: behind the updates, the best of the learning rates.
        largest: root mean square of the largest feature.
        spread: that over the median of the features' standard deviations; of targets, their variance.
    """

    start: float
    after: float
    largest: float
    spread: float


def findings(record: Record) -> list[Finding]:
    """Where standardized inputs, or targets, do far better."""
    return _inputs(record) or _targets(record)


def _targets(record: Record) -> list[Finding]:
    """Of a regression."""
    lab = record.lab
    if lab is None or record.steps < UPDATES or not any(c.name == "mse_loss" for t in lab.tapes[:1] for c in t.calls):
        return []
    found = lab.ask("standardized targets", lambda in_time: with_targets(lab, in_time))
    if found is None:
        return []
    end = record.last_loss() / found.spread
    if not far_below(found.start, found.after, end):
        return []
    calls = record.criteria.calls.get("mse_loss")
    return [
        Finding(
            CODE,
            "error",
            f"the targets of mse_loss{calls.at if calls else ''}",
            f"The root mean square of the targets is {found.largest:.3g}. Standardized, {UPDATES} updates from the "
            f"same start bring the loss to {found.after:.3g} of their variance (on batches that were held out); the "
            f"run, after {record.steps} updates, was at {end:.3g} of it.",
            "Standardize the targets with the mean and standard deviation of the training data, and turn predictions "
            "back by y * std + mean; or take their logarithm.",
        )
    ]


def with_targets(lab: Lab, in_time: Callable[[], bool]) -> Standardized | None:
    """The experiment; its losses, and that of `spread`, are in units of the targets' variance and in their own."""
    calls = [
        (tape, call) for tape in lab.tapes for call in tape.calls if call.name == "mse_loss" and len(call.args) > 1
    ]
    given = [tape.given.get(call.args[1].number) for tape, call in calls if isinstance(call.args[1], Slot)]
    known = [t.flatten().double() for t in given if t is not None and not t.requires_grad and t.is_floating_point()]
    if not known:
        return None
    values = torch.cat(known)
    mean, std, size = float(values.mean()), float(values.std()), float(values.square().mean().sqrt())
    if size <= TARGETS or std == 0:
        return None

    def change(call: Call, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if call.name != "mse_loss" or len(args) < 2 or args[1].requires_grad:
            return None
        return call.function(args[0], (args[1] - mean) / std, *args[2:], **keywords)

    lab.restore()
    start, best = lab.held_out_loss(change), math.inf
    for factor in FACTORS[:2]:
        after = lab.trial(in_time, factor=factor, change=change)
        best = min(best, math.inf if after is None else after)
    return Standardized(start, best, size, std * std)


def _inputs(record: Record) -> list[Finding]:
    lab = record.lab
    found = None if lab is None else lab.ask("standardized", lambda in_time: with_inputs(lab, in_time))
    if found is None or record.steps < UPDATES:
        return []
    end = record.last_loss()
    gain = found.start - found.after
    gross = found.largest > GROSS and record.steps >= TIMES * UPDATES and found.after < BETTER * end
    if gain < MEANINGFUL * abs(found.start) or (found.start - end >= PROGRESS * gain and not gross):
        return []
    return [
        Finding(
            CODE,
            "error",
            "the inputs of the network",
            f"The root mean square of the largest input feature is {found.largest:.3g}, {found.spread:.3g} times the "
            f"median of the features' standard deviations. With every feature standardized, {UPDATES} updates from the "
            f"same start bring the loss to {found.after:.3g} (on batches that were held out); the run, after "
            f"{record.steps} updates, was at {end:.3g}.",
            "Standardize each feature with the mean and standard deviation of the training data: x = (x - mean) / std, "
            "the same numbers for all other data; or begin the network with nn.BatchNorm1d.",
        )
    ]


def with_inputs(lab: Lab, in_time: Callable[[], bool]) -> Standardized | None:
    """None where the inputs are not suspicious, or there are none."""
    features = _features(lab)
    if features is None:
        return None
    mean, std = features.mean(0), features.std(0)
    sizes = features.square().mean(0).sqrt()
    largest = float(sizes.max())
    spread = largest / float(std[std > 0].median()) if bool((std > 0).any()) else 1.0
    if not bool(features.isfinite().all()) or (SMALL < largest <= LARGE and spread <= SPREAD):
        return None

    def change(call: Call, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if call.name in JOINING:
            parts = [
                ((t - mean) / std.clamp_min(1e-8)).to(t.dtype) if _is_data(call, t) and t.shape[-1] == len(mean) else t
                for t in args[0]
            ]
            return call.function(parts, *args[1:], **keywords)
        if not call.weighs or args[0].requires_grad or not args[0].is_floating_point():
            return None
        at = _axis(call, args[0])
        if args[0].ndim < 2 or args[0].shape[at] != len(mean):
            return None
        x = (args[0].movedim(at, -1) - mean) / std.clamp_min(1e-8)
        return call.function(x.movedim(-1, at).to(args[0].dtype), *args[1:], **keywords)

    lab.restore()
    start, best = lab.held_out_loss(change), math.inf
    for factor in FACTORS:
        after = lab.trial(in_time, factor=factor, change=change)
        best = min(best, math.inf if after is None else after)
        if best < start / 2:
            break
    return Standardized(start, best, largest, spread)


def _is_data(call: Call, t: Any) -> bool:
    """Whether features are joined, along the last axis, to what depends on a parameter, as an embedding."""
    if not isinstance(t, Tensor) or t.requires_grad or not t.is_floating_point() or t.ndim < 2:
        return False
    axis = call.args[1] if len(call.args) > 1 else call.keywords.get("dim", call.keywords.get("axis", 0))
    return axis in (-1, t.ndim - 1)


def _features(lab: Lab) -> Tensor | None:
    """The inputs as rows, of the kind of which there are most."""
    rows: dict[int, list[Tensor]] = {}
    for tape in lab.tapes:
        given = lab.data_slots(tape)
        for call in tape.calls:
            if call.weighs and call.args[0].number in given:
                x = given[call.args[0].number]
                x = x.movedim(_axis(call, x), -1).flatten(0, -2).float()
                rows.setdefault(x.shape[1], []).append(x)
            if call.name in JOINING:
                joined = [tape.given.get(slot.number) for slot in call.inputs]
                for x in [x for x in joined if x is not None and _is_data(call, x)]:
                    rows.setdefault(x.shape[-1], []).append(x.flatten(0, -2).float())
    return torch.cat(max(rows.values(), key=len)) if rows else None


def _axis(call: Call, x: Tensor) -> int:
    """Which axis is that of the features: channels for convolutions."""
    return 1 if call.name.startswith("conv") and x.ndim > 2 else -1
