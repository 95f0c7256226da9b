"""Batch and time axes of a recurrent layer exchanged: it runs from sample to sample, and mixes them.

The loss shows it. In a network that reads sequences, each sample has a part in the loss through one step or several;
with exchanged axes, one index of what the layer takes for the batch has it through all of its "steps", or all have the
same part.
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
from ..tape import Call
from ..through_time import LAYERS

CODE = "batch-time-swapped"
EXPLAINS = ("vanishing-gradient-time", "exploding-gradient-time")

LEAST = 3
"""Steps and samples."""

SHARE = 0.9
"""Of the "steps" through which the only sample has a part."""


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
    """

    kind: str
    steps: int
    samples: int
    batch_first: bool
    lone: int
    lone_steps: int
    same: bool


def findings(record: Record) -> list[Finding]:
    """Where one sample stands for all, at all steps."""
    lab = record.lab
    if lab is None or not _recurs(lab):
        return []
    parts: Parts | None = lab.ask("axes", lambda in_time: experiment(lab, in_time))
    if parts is None or min(parts.steps, parts.samples) < LEAST:
        return []
    lone = parts.lone >= 0 and parts.lone_steps >= SHARE * parts.steps
    if not lone and not parts.same:
        return []
    seen = (
        f"the loss depends on sample {parts.lone} alone, through {parts.lone_steps} of its steps"
        if lone
        else "all samples have the same part in the loss, at each step"
    )
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


def _recurs(lab: Lab) -> bool:
    return any(call.name in LAYERS for tape in lab.tapes[:1] for call in tape.calls)


def experiment(lab: Lab, in_time: Callable[[], bool]) -> Parts | None:
    """Which part each sample and step has in the loss; None where there is no recurrent layer."""
    if not _recurs(lab):
        return None
    lab.restore()
    seen: list[tuple[str, bool, Tensor]] = []

    def change(call: Call, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if call.name not in LAYERS or len(args) != 9 or not isinstance(args[8], bool) or args[0].ndim != 3:
            return None
        result = call.function(*args, **keywords)
        if not seen:
            seen.append((call.name, args[8], result[0]))
        return result

    roots = lab.tapes[0].replay(backward=False, change=change)
    if not seen:
        return None
    kind, batch_first, out = seen[0]
    (grad,) = torch.autograd.grad(torch.stack(roots).sum(), [out], allow_unused=True)
    if grad is None:
        return None
    grad = grad.transpose(0, 1) if batch_first else grad  # (steps, samples, units)
    has = grad.abs().sum(-1) > 0
    samples = has.any(0).nonzero().flatten().tolist()
    lone = samples[0] if len(samples) == 1 else -1
    scale = float(grad.abs().max())
    same = bool(has.all()) and float((grad - grad[:, :1]).abs().max()) < 1e-6 * scale
    differs = float((grad - grad[:1]).abs().max()) > 1e-3 * scale
    steps, count = has.shape
    through = int(has[:, lone].sum()) if lone >= 0 else 0
    return Parts(kind, steps, count, batch_first, lone, through, bool(same and differs))
