"""The recorded batches as rows and their targets, and a plain network that learns from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .lab import Lab
from .recorder import DIFFERENCES
from .tape import Call, Slot, Tape
from .watch import LOSSES

__all__ = ["EXACT", "Pairs", "pairs", "plain_network", "target_of", "targets", "variance"]

UNITS = 128
UPDATES = 300
BATCH = 64
RATE = 3e-3

EXACT = 1e-3
"""Of a loss: rounding."""


@dataclass(frozen=True)
class Pairs:
    """The kind of loss, rows of inputs (flat), their targets, and the number of the tape of each."""

    kind: str
    x: Tensor
    y: Tensor
    tape: Tensor


def target_of(tape: Tape) -> tuple[Call, Slot, Slot] | None:
    """The only loss, or difference, of what depends on the parameters and data; these two."""
    found = []
    for call in tape.calls:
        if call.name not in LOSSES and call.name not in DIFFERENCES:
            continue
        slots = [a for a in call.args[:2] if isinstance(a, Slot)]
        data = [s for s in slots if s.number in tape.given and not tape.given[s.number].requires_grad]
        if len(slots) == 2 and len(data) == 1:
            found.append((call, next(s for s in slots if s not in data), data[0]))
    losses = [one for one in found if one[0].name in LOSSES] or found
    return losses[0] if len(losses) == 1 else None


def targets(lab: Lab) -> tuple[str, list[Tensor]] | None:
    """The kind of loss, and the targets tape by tape; None where a tape is not one input and a target for each row."""
    kinds: set[str] = set()
    ys = []
    for tape in lab.tapes:
        given, found = lab.data_slots(tape), target_of(tape)
        if len(given) != 1 or found is None:
            return None
        (x,), y = given.values(), tape.given[found[2].number]
        if not y.ndim or not len(y) == y.numel() == len(x):
            return None
        kinds.add(found[0].name)
        ys.append(y.detach().flatten())
    return (kinds.pop(), ys) if len(kinds) == 1 else None


def variance(lab: Lab, in_time: Callable[[], bool]) -> float | None:
    """Of the targets, where the loss is their mean squared error, which is what it is compared with; else None."""
    lab.restore()
    ys: list[Tensor] = []
    for tape in lab.tapes:
        found, keep = target_of(tape), dict[int, Tensor]()
        if found is None or not in_time():
            return None
        with torch.no_grad():
            roots = tape.replay(backward=False, keep=keep)
            said, y = keep[found[1].number], keep[found[2].number]
        if said.shape != y.shape or len(roots) != 1:
            return None
        if not math.isclose(float(roots[0]), float((said - y).square().mean()), rel_tol=EXACT):
            return None
        ys.append(y.detach())
    if len({y.shape[1:] for y in ys if y.ndim}) != 1:
        return None
    return float(torch.cat(ys).var(0).mean())


def pairs(lab: Lab) -> Pairs | None:
    """None where there are no `targets`, or rows of several widths."""
    found = targets(lab)
    xs = [x.flatten(1) for tape in lab.tapes for x in lab.data_slots(tape).values()]
    if found is None or len({x.shape[1] for x in xs}) != 1:
        return None
    numbers = [torch.full((len(y),), number) for number, y in enumerate(found[1])]
    return Pairs(found[0], torch.cat(xs).float(), torch.cat(found[1]), torch.cat(numbers))


def plain_network(
    x: Tensor, y: Tensor, outputs: int, loss: Callable[[Tensor, Tensor], Tensor], in_time: Callable[[], bool]
) -> nn.Module | None:
    """Two hidden layers, trained on the rows with each feature standardized; None when time runs out."""
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
    layers = (nn.Linear(x.shape[1], UNITS), nn.ReLU(), nn.Linear(UNITS, UNITS), nn.ReLU(), nn.Linear(UNITS, outputs))
    net = nn.Sequential(*layers).float()
    rule = torch.optim.Adam(net.parameters(), lr=RATE)
    for _ in range(UPDATES):
        if not in_time():
            return None
        rows = torch.randint(len(x), (BATCH,))
        net.zero_grad()
        loss(net((x[rows] - mean) / std), y[rows]).backward()
        rule.step()
    with torch.no_grad():  # the standardization becomes part of the first layer
        first = layers[0]
        assert isinstance(first, nn.Linear)
        first.weight.div_(std)
        first.bias.sub_(first.weight @ mean)
    return net
