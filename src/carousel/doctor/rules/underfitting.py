"""The network is too small for what the data hold.

A loss that stays high may be all that the data allow. So a plain reference network (two hidden layers) learns from the
same recorded batches: where it gets much lower on batches that were held out, there was more to learn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..findings import Finding
from ..lab import Lab
from ..record import Record
from ..tape import Backward, Call, Slot, Tape
from ..watch import LOSSES

CODE = "underfitting"
EXPLAINS = ()

UNITS = 128
UPDATES = 300
RATE = 3e-3

WORSE = 2.0
"""The run's loss over that of the reference network."""

HIGH = 0.25
"""The run's loss over that of the untrained reference network: below, the network has learned what there is."""


@dataclass(frozen=True)
class Reference:
    """The experiment: held-out losses of the reference network, at its start and behind its updates."""

    start: float
    after: float


def findings(record: Record) -> list[Finding]:
    """Where a reference network gets much further."""
    lab = record.lab
    found = None if lab is None else lab.ask("reference", lambda in_time: experiment(lab, in_time))
    end = record.last_loss()
    if found is None or record.steps < UPDATES or not 0 < found.after * WORSE < end or end < HIGH * found.start:
        return []
    return [
        Finding(
            CODE,
            "error",
            "the size of the network",
            f"The loss was at {end:.3g} after {record.steps} updates. A plain network with two hidden "
            f"layers of {UNITS} units, trained with Adam (lr={RATE:g}) on the first {len(lab.tapes) if lab else 0} "
            f"batches alone, gets to {found.after:.3g} on batches that were held out.",
            "Use more units or layers; if there are enough, look at what the network gets to see.",
        )
    ]


def experiment(lab: Lab, in_time: Callable[[], bool]) -> Reference | None:
    """None where inputs and scores are not a row for each sample."""
    batches = [_batch(lab, tape) for tape in lab.tapes]
    if not all(batches) or not lab.one_epoch:
        return None
    shapes = {(b[0].shape[1], b[1].number) for b in batches if b}
    if len({width for width, _ in shapes}) > 1:
        return None
    sizes = _score_sizes(lab, batches)
    if len(sizes) != 1:
        return None
    (shape,) = sizes
    count = 1
    for n in shape:
        count *= n
    width = batches[0][0].shape[1] if batches[0] else 0
    rows = torch.cat([b[0] for b in batches if b])
    mean, std = rows.mean(0), rows.std(0).clamp_min(1e-6)
    layers = (nn.Linear(width, UNITS), nn.ReLU(), nn.Linear(UNITS, UNITS), nn.ReLU(), nn.Linear(UNITS, count))
    net = nn.Sequential(*layers).float()  # whatever the script's default is
    rule = torch.optim.Adam(net.parameters(), lr=RATE)

    def change_for(x: Tensor) -> Callable[[Call, tuple[Any, ...], dict[str, Any]], Any]:
        def change(call: Call, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
            if call.name not in LOSSES:
                return None
            scores = net((x - mean) / std).reshape(len(x), *shape).to(args[0].dtype)
            return call.function(_suited(call.name, scores), *args[1:], **keywords)

        return change

    def loss(which: list[Tape]) -> float:
        with torch.no_grad():
            roots = [r for tape in which for r in tape.replay(backward=False, change=change_for(_inputs(lab, tape)))]
        values = [float(root.detach()) for root in roots]
        return sum(values) / len(values)

    start, train = loss(lab.held_out_tapes), lab.training_tapes
    for number in range(UPDATES):
        if not in_time():
            return None
        tape = train[number % len(train)]
        net.zero_grad()
        (root,) = tape.replay(backward=False, change=change_for(_inputs(lab, tape)))
        root.backward()
        rule.step()
    return Reference(start, loss(lab.held_out_tapes))


def _suited(loss: str, scores: Tensor) -> Tensor:
    """What a loss takes in place of scores."""
    if loss == "nll_loss":
        return scores.log_softmax(1)
    return scores.sigmoid() if loss == "binary_cross_entropy" else scores


def _inputs(lab: Lab, tape: Tape) -> Tensor:
    (x,) = lab.data_slots(tape).values()
    return x.flatten(1).float()


def _batch(lab: Lab, tape: Tape) -> tuple[Tensor, Slot] | None:
    """The only input, and where its scores go into the only loss."""
    given = lab.data_slots(tape)
    calls = [call for call in tape.calls if call.name in LOSSES]
    backwards = [entry for entry in tape.entries if isinstance(entry, Backward)]
    if len(given) != 1 or len(calls) != 1 or len(backwards) != 1 or not isinstance(calls[0].args[0], Slot):
        return None
    (x,) = given.values()
    return x.flatten(1).float(), calls[0].args[0]


def _score_sizes(lab: Lab, batches: list[tuple[Tensor, Slot] | None]) -> set[tuple[int, ...]]:
    """Of the scores of a sample, over all tapes; something else where they are no row for each sample."""
    lab.restore()
    sizes: set[tuple[int, ...]] = set()
    for tape, batch in zip(lab.tapes[:2], batches[:2], strict=True):
        keep: dict[int, Tensor] = {}
        with torch.no_grad():
            tape.replay(backward=False, keep=keep)
        assert batch is not None
        scores = keep[batch[1].number]
        sizes.add(tuple(scores.shape[1:]) if len(scores) == len(batch[0]) else (-1,))
    return sizes - {(-1,)} if (-1,) not in sizes else set()
