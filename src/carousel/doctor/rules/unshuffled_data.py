"""Batches ordered by class: the network forgets one class while it sees only the next.

Two things must come together: a batch has far fewer classes than as many samples drawn at random, and neighboring
batches have the same commonest class. Few classes alone are drawn on purpose in metric and few-shot learning.

Batches that are cut from sorted data and then shuffled are another matter: each holds a single class, so that every
update says "always this one". Nobody draws such batches for a loss that tells three or more classes apart; yet a
network may learn from them by small steps. So the same experiment decides as for numbers, below.

Numbers that drift along the stream are no fault by themselves: a series is often read in its order, and learned well.
So an experiment decides, where the means of the batches lie much farther apart than those of samples drawn at random,
and neighbors are alike: the same rows, mixed, get further in a few updates than the whole run did. Where that takes
more than a few updates, the end of the run shows it: it goes on with the rows mixed, and soon all of them are fitted
far better, which it never gets to in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch

from ..criteria import Labels
from ..findings import Finding
from ..lab import UPDATES, Lab, far_below
from ..pairs import target_of, targets
from ..record import Record
from ..tape import Tape

CODE = "unshuffled-data"
EXPLAINS = ("dead-relu", "overfitting", "underfitting")

LEAST, SAMPLES = 12, 8
"""Batches looked at, and samples in each."""

VARIETY = 0.6
"""Classes in a batch over those expected at random, which is 1 for shuffled batches but for chance; chosen."""

ALIKE = 0.5
"""Share of neighboring batches with the same commonest class; at random it is that class's share, or a little more."""

APART, CLOSE = 4.0, 0.5
"""Variance of the means of batches over that of as many samples drawn at random, which is 1 for shuffled batches, and
with a dozen of them below 2.5 in 99 of 100 runs; and correlation of neighbors, which is then 0 within 0.3."""

SINGLE, CLASSES = 0.9, 3
"""Share of the batches that hold a single class: all but those cut where one class ends; and classes at least: of two,
halves are often given in turns, as what is real and what is made."""

LONGER, FITTED, OWN = 400, 0.5, 0.75
"""Updates behind the end of the run; the part of its loss that is left when they are made with mixed rows: less than
half, so that the order costs more than all else; and of what is left when they are made in order, as for learning
rates. These have it easier: they are tried on what they train on, and on less than the whole stream.
"""


@dataclass(frozen=True)
class Further:
    """The loss on the batches at the end of the run, and means over the last hundred of `LONGER` updates behind it.

    Attributes:
        now: at the end of the run.
        own: with the batches as they are, on these.
        mixed: with their rows mixed, on rows that were held out.
    """

    now: float
    own: float
    mixed: float


@dataclass(frozen=True)
class Mixed:
    """How far batches lie apart, and how close neighbors; the loss on mixed rows at the start and after the updates."""

    apart: float
    close: float
    start: float
    after: float


def findings(record: Record) -> list[Finding]:
    """Where the batches are sorted."""
    found = [f for kind, labels in record.criteria.labels.items() if (f := _judge(kind, labels)) is not None]
    return found or (_single(record) if record.criteria.labels else _drift(record))


def _single(record: Record) -> list[Finding]:
    """Batches of a single class each, in any order; the same rows do far better when they are mixed."""
    lab, share = record.lab, _single_share(record)
    if lab is None or lab.why_not is not None or share < SINGLE or record.steps < UPDATES or record.has_learned():
        return []
    of = targets(lab)
    if of is None or len({len(y) for y in of[1]}) != 1 or len(torch.cat(of[1]).unique()) < CLASSES:
        return []
    found: Mixed | None = lab.ask("mixed", lambda in_time: _experiment(lab, in_time))
    if found is None or not far_below(found.start, found.after, record.last_loss()):
        return []
    return [
        Finding(
            CODE,
            "error",
            "the samples of a batch",
            f"{share:.0%} of the batches hold samples of a single class. {_said(found, record)}",
            "Shuffle the samples, and not the batches: DataLoader(…, shuffle=True), or a new random permutation of "
            "all indices in every epoch.",
        )
    ]


def _single_share(record: Record) -> float:
    """Of the batches, 0 where they are not those of one loss that tells classes apart, called once an update."""
    ((kind, labels), *others) = record.criteria.labels.items()
    steps, seen = _large(labels)
    if others or kind not in ("cross_entropy", "nll_loss") or len(steps) < LEAST:
        return 0.0
    if (np.diff(steps) == 0).any() or (seen.sum(0) > 0).sum() < CLASSES:
        return 0.0
    return float(((seen > 0).sum(1) == 1).mean())


def _large(labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Steps and classes of the batches that are large enough to tell a mixture."""
    steps, seen, _ = labels.counts()
    enough = seen.sum(1) >= SAMPLES
    return steps[enough], seen[enough]


def _said(found: Mixed, record: Record) -> str:
    return (
        f"With the rows of the recorded batches mixed, {UPDATES} updates from the same start brought the loss from "
        f"{found.start:.3g} to {found.after:.3g} (on rows that were held out); the run, after {record.steps} "
        f"updates, was at {record.last_loss():.3g}."
    )


def _drift(record: Record) -> list[Finding]:
    lab = record.lab
    if lab is None or lab.why_not is not None or not _wanders(*_order(lab)):
        return []
    found: Mixed | None = lab.ask("mixed", lambda in_time: _experiment(lab, in_time))
    if found is None or record.steps < UPDATES or record.has_learned():
        return []
    end = record.last_loss()
    if far_below(found.start, found.after, end):
        seen = _said(found, record)
    elif (further := _further(lab, end)) is not None:
        seen = (
            f"From the end of the run, {LONGER} updates with the rows of the recorded batches mixed brought the loss "
            f"from {further.now:.3g} to {further.mixed:.3g} (on rows that were held out); with these batches as they "
            f"are, to {further.own:.3g}. At the end of the run it was {end:.3g}."
        )
    else:
        return []
    return [
        Finding(
            CODE,
            "warning",
            "the order of the training data",
            f"The means of the targets of the batches vary {found.apart:.0f} times as much as those of samples drawn "
            f"at random, and neighbors are alike (correlation {found.close:.2f}). {seen}",
            "Shuffle: DataLoader(…, shuffle=True), or a new random permutation of the indices in every epoch.",
        )
    ]


def _further(lab: Lab, end: float) -> Further | None:
    """Behind the end of the run, if mixed rows do far better there."""
    found: Further | None = lab.ask("mixed at the end", lambda in_time: _behind_the_end(lab, in_time))
    if found is None or found.mixed < 0:
        return None
    return found if found.mixed < min(FITTED * found.now, FITTED * end, OWN * found.own) else None


def _behind_the_end(lab: Lab, in_time: Callable[[], bool]) -> Further | None:
    back, now, after = lab.from_here(), _loss(lab.tapes), list[float]()
    for mix in (False, True):
        if mix:
            _mix(lab)
        back(1.0)
        tapes, losses = lab.training_tapes if mix else lab.tapes, list[float]()
        for number in range(LONGER):
            if not in_time():
                return None
            lab.update(tapes[number % len(tapes)])
            if number >= LONGER - 100 and number % 10 == 9:
                losses.append(_loss(lab.held_out_tapes if mix else lab.tapes))
        after.append(fmean(losses))
    return Further(now, *after)


def _loss(tapes: list[Tape]) -> float:
    with torch.no_grad():
        return fmean(float(root.detach()) for tape in tapes for root in tape.replay(backward=False))


def _order(lab: Lab) -> tuple[float, float]:
    """How far batches lie apart, and how close neighbors; 0 where they are not of one size."""
    found = targets(lab)
    if found is None or len(found[1]) < LEAST or len({len(y) for y in found[1]}) != 1:
        return 0.0, 0.0
    y = torch.stack(found[1]).double()
    means = y.mean(1) - y.mean()
    close = (means[1:] * means[:-1]).mean() / means.square().mean()
    return float(means.var() * y.shape[1] / y.var()), float(close)


def _wanders(apart: float, close: float) -> bool:
    return apart >= APART and close >= CLOSE


def _experiment(lab: Lab, in_time: Callable[[], bool]) -> Mixed | None:
    far = _order(lab)
    _mix(lab)
    lab.restore()
    start, after = lab.held_out_loss(), lab.trial(in_time)
    return None if after is None else Mixed(*far, start, after)


def _mix(lab: Lab) -> None:
    """Spread the rows over the tapes by chance."""
    slots = [(next(iter(lab.data_slots(tape))), found[2].number) for tape in lab.tapes if (found := target_of(tape))]
    rows = [torch.cat([tape.given[pair[i]] for tape, pair in zip(lab.tapes, slots, strict=True)]) for i in (0, 1)]
    order = torch.randperm(len(rows[1])).reshape(len(slots), -1)
    for tape, pair, chosen in zip(lab.tapes, slots, order, strict=True):
        for number, values in zip(pair, rows, strict=True):
            tape.given[number] = values[chosen]


def _judge(kind: str, labels: Labels) -> Finding | None:
    steps, seen = _large(labels)
    if len(steps) < LEAST:
        return None
    share, samples = seen.sum(0) / seen.sum(), seen.sum(1, keepdims=True)
    variety = ((seen > 0).sum(1) / (1 - (1 - share) ** samples).sum(1)).mean()
    neighbors, commonest = np.diff(steps) == 1, seen.argmax(1)
    if neighbors.sum() < LEAST // 2 or (share > 0).sum() < 2:
        return None
    alike = (np.diff(commonest) == 0)[neighbors].mean()
    if variety > VARIETY or alike < max(ALIKE, 1.5 * share.max()):
        return None
    return Finding(
        CODE,
        "warning",
        "the order of the training data",
        f"A batch has {variety:.0%} of the classes that as many samples drawn at random would have, and "
        f"{alike:.0%} of neighboring batches have the same commonest class: the data come sorted by class.",
        "Shuffle: DataLoader(…, shuffle=True), or a new random permutation of the indices in every epoch.",
    )
