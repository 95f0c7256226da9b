"""The network is too small for what the data hold.

A loss that stays high may be all that the data allow. So a plain reference network (two hidden layers) learns from the
same recorded batches: where it gets much lower on batches that were held out, there was more to learn.

The loss is one of PyTorch's functions, or a squared or absolute error that is written out.

Of data that come in a few batches, or in one, a quarter of the rows is held out. Such a run makes few updates for the
samples that it sees, so that it must have come to rest, too: one that is slow is not too small.

Linear layers with nothing between them are one linear layer. Such a network learns the linear part of what the data
hold, which may be the most of it, and then rests: there a loss that has fallen far does not say that all is learned.
Layers that are narrower than inputs and outputs are meant so, as to compress; what is wide and linear is of no use.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ..findings import Finding
from ..lab import Lab
from ..pairs import EXACT, RATE, UNITS, UPDATES, target_of
from ..record import Record
from ..tape import MOVING, Backward, Call, Slot, Tape
from ..watch import LOSSES

CODE = "underfitting"
EXPLAINS = ()

WORSE = 2.0
"""The run's loss over that of the reference network."""

HIGH = 0.25
"""The run's loss over that of the untrained reference network: below, the network has learned what there is."""

LEAST_ROWS = 100
"""Of data in a few batches: with fewer, the quarter that is held out says little."""

DISTINCT = 0.9
"""Of their rows: else the held-out rows are among the others, and batches that repeat do not make an epoch."""

RESTS = 0.9
"""The loss at the end over that in the middle of the run, at least: what a network still learns is not out of its
reach. Chosen; a loss at its floor has 1."""

STRAIGHT = (*MOVING, "dropout", "batch_norm", "__getitem__")
"""Functions that leave a linear layer a linear one."""

MORE = "Use more units or layers; if there are enough, look at what the network gets to see."

Part = tuple[Tape, Tensor | None]
"""A tape, and which of its rows (all if None)."""


@dataclass(frozen=True)
class Reference:
    """The experiment: held-out losses of the reference network, at its start and behind its updates.

    The held-out are rows, if the data came in few batches.
    """

    start: float
    after: float
    rows: bool = False


def findings(record: Record) -> list[Finding]:
    """Where a reference network gets much further."""
    lab = record.lab
    found = None if lab is None else lab.ask("reference", lambda in_time: experiment(lab, in_time))
    end = record.last_loss()
    if lab is None or found is None or record.steps < UPDATES or not 0 < found.after * WORSE < end:
        return []
    layers, bare, linear = _linear_layers(lab)
    low = end < HIGH * found.start
    if (low and not linear) or ((low or found.rows) and not _rests(record, end)):
        return []
    what = (
        "three quarters of the samples, gets to {} on the others"
        if found.rows
        else (f"the first {len(lab.tapes)} batches alone, gets to {{}} on batches that were held out")
    )
    where, between, advice = "the size of the network", "", MORE
    if bare:
        names = {id(p): seen.name for p, seen in record.named()}
        one, other = (names.get(id(w), f"a layer of {w.shape[0]} units").removesuffix(".weight") for w in bare[0])
        where = f"between {one} and {other}" if linear else where
        more = f" (and at {len(bare) - 1} more places)" if len(bare) > 1 else ""
        what_for = f"all {layers} layers" if linear else "these two"
        between = f" There is no activation between {one} and {other}{more}: {what_for} do what one linear layer can."
        advice = "Put an activation, as nn.ReLU, between linear layers; where there is none on purpose, use more units."
    return [
        Finding(
            CODE,
            "error",
            where,
            f"The loss was at {end:.3g} after {record.steps} updates. A plain network with two hidden "
            f"layers of {UNITS} units, trained with Adam (lr={RATE:g}) on {what.format(f'{found.after:.3g}')}."
            f"{between}",
            advice,
        )
    ]


def _linear_layers(lab: Lab) -> tuple[int, list[tuple[Tensor, Tensor]], bool]:
    """Of the first step: how many linear layers, the weights of those that follow each other with nothing between.

    And whether these are all that there is, none narrower than the inputs and the outputs.
    """
    tape = lab.tapes[0]
    parameters, made = tape.parameters, dict[int, Tensor]()
    layers: list[Tensor] = []
    bare: list[tuple[Tensor, Tensor]] = []
    for call in tape.calls:
        moving = {slot.number for slot in call.inputs if slot.number not in tape.given}
        before = made.get(next(iter(moving))) if len(moving) == 1 else None
        given = call.args[1] if call.name == "linear" and len(call.args) > 1 else None
        if isinstance(call.result, Slot) and isinstance(given, Slot):
            weight = parameters.get(given.number)
            if weight is None:
                continue
            layers.append(weight)
            bare += [] if before is None else [(before, weight)]
            made[call.result.number] = weight
        elif call.name in STRAIGHT and isinstance(call.result, Slot) and before is not None:
            made[call.result.number] = before
    others = any(call.weighs and call.name != "linear" for call in tape.calls)
    if others or len(layers) < 2 or len(bare) < len(layers) - 1:
        return len(layers), bare, False
    ends = min(layers[0].shape[1], layers[-1].shape[0])
    return len(layers), bare, all(weight.shape[1] >= ends for weight in layers)


def _rests(record: Record, end: float) -> bool:
    """Whether the loss has not fallen any more in the second half of the run."""
    middle = [value for step, value in record.course() if 0.4 * record.steps <= step < 0.5 * record.steps]
    return bool(middle) and end >= RESTS * median(middle)


def experiment(lab: Lab, in_time: Callable[[], bool]) -> Reference | None:
    """None where inputs and scores are not a row for each sample."""
    tapes = lab.tapes if lab.tapes and lab.one_epoch else lab.tapes[: lab.first_epoch]
    batches = [_batch(lab, tape) for tape in tapes]
    if not batches or not all(batches):
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

    held_out: list[Part] = [(tape, None) for tape in lab.held_out_tapes]
    train: list[Part] = [(tape, None) for tape in lab.training_tapes]
    if not lab.one_epoch:
        few = len(rows) < LEAST_ROWS or len(torch.unique(rows, dim=0)) < DISTINCT * len(rows)
        if few or not all(_is_mean_over_rows(lab, tape) for tape in tapes):
            return None
        held_out, train = _split(lab, tapes)

    def change_for(part: Part) -> Callable[[Call, tuple[Any, ...], dict[str, Any]], Any]:
        x, chosen = _inputs(lab, part[0]), part[1]

        found = target_of(part[0])
        assert found is not None

        def change(call: Call, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
            if call is not found[0]:
                return None
            given, others = x, list(args)
            at = call.args.index(found[1])
            if chosen is not None:
                given, others[1 - at] = x[chosen], args[1 - at][chosen]
            scores = net((given - mean) / std).reshape(len(given), *shape).to(args[at].dtype)
            others[at] = _suited(call.name, scores)
            return call.function(*others, **keywords)

        return change

    def loss(which: list[Part]) -> float:
        with torch.no_grad():
            roots = [r for part in which for r in part[0].replay(backward=False, change=change_for(part))]
        values = [float(root.detach()) for root in roots]
        return sum(values) / len(values)

    start = loss(held_out)
    for number in range(UPDATES):
        if not in_time():
            return None
        part = train[number % len(train)]
        net.zero_grad()
        (root,) = part[0].replay(backward=False, change=change_for(part))
        root.backward()
        rule.step()
    return Reference(start, loss(held_out), not lab.one_epoch)


def _is_mean_over_rows(lab: Lab, tape: Tape) -> bool:
    """Whether the loss has a target for each row, and its mean is all there is: that of some rows is comparable."""
    calls = [call for call in tape.calls if call.name in LOSSES]
    if len(calls) != 1:
        return False
    (call,) = calls
    if call.keywords.get("reduction", "mean") != "mean" or not isinstance(call.result, Slot):
        return False
    if any(isinstance(entry, Backward) and entry.root != call.result for entry in tape.entries):
        return False
    target = call.args[1] if len(call.args) > 1 else None
    given = tape.given.get(target.number) if isinstance(target, Slot) else None
    return given is not None and given.ndim > 0 and len(given) == len(_inputs(lab, tape))


def _split(lab: Lab, tapes: list[Tape]) -> tuple[list[Part], list[Part]]:
    """A quarter of the rows of each batch, and the others."""
    held_out: list[Part] = []
    train: list[Part] = []
    for tape in tapes:
        order = torch.randperm(len(_inputs(lab, tape)))
        quarter = len(order) // 4
        held_out.append((tape, order[:quarter]))
        train.append((tape, order[quarter:]))
    return held_out, train


def _suited(loss: str, scores: Tensor) -> Tensor:
    """What a loss takes in place of scores."""
    if loss == "nll_loss":
        return scores.log_softmax(1)
    return scores.sigmoid() if loss == "binary_cross_entropy" else scores


def _inputs(lab: Lab, tape: Tape) -> Tensor:
    (x,) = lab.data_slots(tape).values()
    return x.flatten(1).float()


def _batch(lab: Lab, tape: Tape) -> tuple[Tensor, Slot] | None:
    """The only input, and what of it goes into the only loss, or into the only difference from data."""
    given = lab.data_slots(tape)
    backwards = [entry for entry in tape.entries if isinstance(entry, Backward)]
    found = target_of(tape)
    if len(given) != 1 or found is None or len(backwards) != 1:
        return None
    (x,) = given.values()
    return x.flatten(1).float(), found[1]


def _is_same(target: Tensor, x: Tensor) -> bool:
    """A network that gives back its inputs is narrow on purpose."""
    return (
        target.is_floating_point() and target.numel() == x.numel() and torch.equal(target.reshape(x.shape).float(), x)
    )


def _is_error_of(scores: Tensor, target: Tensor, roots: list[Tensor]) -> bool:
    """Whether a loss that is written out is the mean squared or absolute error, and nothing else."""
    if scores.shape != target.shape or len(roots) != 1:
        return False
    apart = (scores - target).detach()
    return any(
        math.isclose(float(roots[0]), float(m), rel_tol=EXACT) for m in (apart.square().mean(), apart.abs().mean())
    )


def _score_sizes(lab: Lab, batches: list[tuple[Tensor, Slot] | None]) -> set[tuple[int, ...]]:
    """Of the scores of a sample, over all tapes; something else where they are no row for each sample."""
    lab.restore()
    sizes: set[tuple[int, ...]] = set()
    for tape, batch in zip(lab.tapes[: len(batches)][:2], batches[:2], strict=True):
        keep: dict[int, Tensor] = {}
        with torch.no_grad():
            roots = tape.replay(backward=False, keep=keep)
        found = target_of(tape)
        assert batch is not None
        assert found is not None
        scores, target = keep[batch[1].number], keep[found[2].number]
        fits = len(scores) == len(batch[0]) and not _is_same(target, batch[0])
        fits = fits and (found[0].name in LOSSES or _is_error_of(scores, target, roots))
        sizes.add(tuple(scores.shape[1:]) if fits else (-1,))
    return sizes - {(-1,)} if (-1,) not in sizes else set()
