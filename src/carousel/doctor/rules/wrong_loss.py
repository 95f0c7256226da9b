"""A loss that does not fit the head of the network.

A column of outputs minus a row of targets is a table, which PyTorch makes without a word. Cross-entropy of one score is
always zero. A rate is no logarithm of a rate. `nll_loss` expects log-probabilities, and so do `ctc_loss` and `kl_div`:
for anything else it is a linear function of the scores, without a lower bound, so that it falls for ever while nothing
is learned. So does a binary cross-entropy of labels that are not between 0 and 1; other losses need labels of -1 and 1.

A squared error is not wrong by itself: numbers of classes may be numbers, and shares may be learned by it. So two
experiments: where a plain classifier recognizes the classes and the rounded answers of the run do not, the numbers are
names if it is as easy to learn them with names exchanged; and where the answers are a softmax, cross-entropy in its
place gets further in a few updates than the whole run did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..criteria import LossCalls
from ..findings import Finding
from ..lab import UPDATES, Lab, far_below
from ..pairs import pairs, plain_network, target_of, targets
from ..record import Record
from ..recorder import Broadcast
from ..tape import Call

CODE = "wrong-loss"
EXPLAINS = ("saturated-activations", "exploding-gradient-depth", "underfitting")

LEAST = 3

LOGARITHMS = ("nll_loss", "ctc_loss", "kl_div")
"""Losses whose input is the logarithm of probabilities."""

FEWEST, MOST = 3, 20
"""Classes: two have only one order, and of more a few batches hold too little."""

RECOGNIZED, FEWER = 0.5, 0.5
"""The part of the room above the commonest class that the plain classifier must recognize of held-out samples; and the
part of this that the run must stay below."""

POSITIVE = ("Softplus", "Exp", "Relu", "Square", "Pow", "Abs", "Sigmoid")
"""What makes numbers that are never below zero, as a rate is; its logarithm is."""

ORDERLESS, ORDERS = 1 / 3, 2
"""The error of a plain regression on the numbers, over that with the numbers exchanged at random (mean of so many
times): a small part where their order means something, near one, by chance below or above it, where it does not."""


@dataclass(frozen=True)
class Names:
    """Shares of samples: the commonest class, and those recognized by a plain classifier (held out) and by the rounded
    answers of the run; and the error of a plain regression over that with other numbers.
    """

    classes: int
    common: float
    plain: float
    rounded: float
    order: float = 0.0

    @property
    def missed(self) -> bool:
        """Whether the run misses what can be recognized."""
        plain = self.plain - self.common
        return plain >= RECOGNIZED * (1 - self.common) and self.rounded - self.common <= FEWER * plain


def findings(record: Record) -> list[Finding]:
    """Where `nll_loss` was given what are no log-probabilities."""
    table = record.lab.recorder.broadcast if record.lab is not None else None
    for calls in record.criteria.calls.values():
        if table is None and calls.table is not None:
            table = Broadcast(*calls.table, calls.line)
    if table is not None:
        return [
            Finding(
                CODE,
                "error",
                table.line or "the difference of outputs and targets",
                f"The sizes {table.first} and {table.second} are subtracted: PyTorch makes a table of {_size(table)} "
                "of it, each output against each target, and the network learns the mean of the targets.",
                "Give both the same shape: targets.unsqueeze(1), or outputs.squeeze(1).",
            )
        ]
    one = record.criteria.calls.get("cross_entropy")
    if one is not None and one.looked >= LEAST and one.columns == one.looked:
        return [
            Finding(
                CODE,
                "error",
                f"the input of cross_entropy{one.at}",
                f"In all {one.looked} calls looked at there was one score for each sample: the softmax of one number "
                "is 1, so that the loss and its gradient are 0 whatever the target.",
                "For two classes use binary_cross_entropy_with_logits on the one score, or two scores; for a "
                "regression mse_loss.",
            )
        ]
    rate = record.criteria.calls.get("poisson_nll_loss")
    if rate is not None and rate.looked >= LEAST and rate.positive == rate.looked and rate.maker.startswith(POSITIVE):
        return [_rate(rate)]
    unfit = [calls for calls in record.criteria.calls.values() if LEAST <= calls.checked == calls.unfit]
    if unfit:
        return [_targets(unfit[0])]
    calls = next((of for kind in LOGARITHMS if (of := record.criteria.calls.get(kind)) is not None), None)
    if calls is None or not _lacks_logarithm(record, calls):
        return _names(record) or _shares(record)
    lowest = min((value for _, value in record.losses), default=0.0)
    below = f" The loss has fallen to {lowest:.3g}, and can never be below zero." if lowest < 0 else ""
    kind = "probabilities" if calls.probabilities == calls.looked else "plain scores"
    fix = "torch.log of them, or better log_softmax of the scores" if kind == "probabilities" else "log_softmax first"
    return [
        Finding(
            CODE,
            "error",
            f"the input of {calls.kind}{calls.at}",
            f"In all {calls.looked} calls looked at, the input was {kind}, not log-probabilities (whose exponentials "
            f"sum to one).{below}",
            (
                "Use cross_entropy on the scores, which takes the logarithm of the softmax itself; or apply "
                if calls.kind == "nll_loss"
                else f"{calls.kind} takes logarithms of probabilities: apply "
            )
            + f"{fix}.",
        )
    ]


def _lacks_logarithm(record: Record, calls: LossCalls) -> bool:
    """Whether the input is never a logarithm of probabilities.

    Of `kl_div` the classes may lie along any axis: there it must be probabilities, or the only loss, and below zero.
    """
    if calls.looked < LEAST or calls.log_probabilities:
        return False
    negative = len(record.criteria.calls) == 1 and any(value < 0 for _, value in record.losses)
    return calls.kind != "kl_div" or calls.probabilities == calls.looked or negative


def _targets(calls: LossCalls) -> Finding:
    signs = calls.kind != "binary_cross_entropy_with_logits"
    what = (
        "the targets are 0 and 1: those of 0 are neither one nor the other, and say nothing or the wrong"
        if signs
        else "there were targets below 0 or above 1: for these the loss falls without end as the scores grow"
    )
    meant = "-1 and 1" if signs else "0 and 1, or a share between"
    return Finding(
        CODE,
        "error",
        f"the targets of {calls.kind}{calls.at}",
        f"It takes labels of {meant}; in all {calls.checked} calls looked at {what}.",
        "Pass 2 * target - 1." if signs else "Pass labels of 0 and 1, as by (target > 0).float().",
    )


def _rate(calls: LossCalls) -> Finding:
    maker = calls.maker.lower()
    return Finding(
        CODE,
        "error",
        f"the input of poisson_nll_loss{calls.at}",
        f"It is taken for the logarithm of the rate (log_input=True, which is the default), but {maker} makes it, and "
        f"in all {calls.looked} calls looked at it was never below zero: no rate below one can be said, and the output "
        "is no rate but its logarithm.",
        "Pass log_input=False, or leave the last activation out and take the exponential of the output as the rate.",
    )


def _size(table: Broadcast) -> str:
    """The size of the table, in words."""
    n = table.first[0]
    return f"{n} × {n}"


def _names(record: Record) -> list[Finding]:
    """Where a regression is made of classes."""
    lab = record.lab
    if lab is None or lab.why_not is not None or record.criteria.labels or not _numbers(lab):
        return []
    found: Names | None = lab.ask("names", lambda in_time: _classify(lab, in_time))
    if found is None or found.order < ORDERLESS or not found.missed:
        return []
    return [
        Finding(
            CODE,
            "error",
            "the targets of the squared error",
            f"They are {found.classes} classes by their numbers, whose order means little: the error of a plain "
            f"network on them is {found.order:.2f} times that on the numbers exchanged at random. As classes it "
            f"recognizes {found.plain:.0%} of held-out samples; the rounded answers of the run, at its end, hit "
            f"{found.rounded:.0%} of the recorded ones, where the commonest class is {found.common:.0%}.",
            "Use one output for each class and cross_entropy on the scores, with the class numbers as targets.",
        )
    ]


def _numbers(lab: Lab) -> int:
    """How many numbers the targets are, from zero on; 0 where they are others, or too few or many."""
    found = targets(lab)
    values = torch.cat(found[1]).unique() if found is not None else torch.zeros(0)
    return len(values) if FEWEST <= len(values) <= MOST and values.tolist() == list(range(len(values))) else 0


def _classify(lab: Lab, in_time: Callable[[], bool]) -> Names | None:
    data, classes = pairs(lab), _numbers(lab)
    if data is None or not lab.one_epoch:
        return None
    y = data.y.long()
    hits = torch.cat([hit for tape in lab.tapes if (hit := _hits(tape)) is not None] or [torch.zeros(0)])
    if len(hits) < len(y):
        return None
    held = data.tape % 4 == 3
    x, rest, own = data.x[~held], data.x[held], y[~held]
    net = plain_network(x, own, classes, F.cross_entropy, in_time)
    if net is None:
        return None
    with torch.no_grad():
        plain = float((net(rest).argmax(1) == y[held]).float().mean())
    found = Names(classes, float(torch.bincount(y).max()) / len(y), plain, float(hits.mean()))
    if not found.missed:
        return found
    errors = []
    for number in range(1 + ORDERS):
        order = torch.randperm(classes) if number else torch.arange(classes)
        values = order[y].float()
        values = (values - values.mean()) / values.std()
        numbers = plain_network(x, values[~held], 1, lambda out, to: F.mse_loss(out[:, 0], to), in_time)
        if numbers is None:
            return None
        with torch.no_grad():
            errors.append(float(F.mse_loss(numbers(rest)[:, 0], values[held])))
    return replace(found, order=errors[0] * ORDERS / sum(errors[1:]))


def _hits(tape: Any) -> Tensor | None:
    """Which targets the answers of the run hit when they are rounded, as the network is at the end."""
    found, keep = target_of(tape), dict[int, Tensor]()
    with torch.no_grad():
        tape.replay(backward=False, keep=keep)
    answer, target = (keep[slot.number].flatten() for slot in found[1:]) if found else (torch.zeros(1), torch.zeros(2))
    return (answer.round() == target).float() if len(answer) == len(target) else None


def _shares(record: Record) -> list[Finding]:
    """Where a squared error on a softmax stalls."""
    lab, calls = record.lab, record.criteria.calls.get("mse_loss")
    if lab is None or calls is None or calls.looked < LEAST or calls.probabilities < calls.looked:
        return []
    found: list[float] | None = lab.ask("cross-entropy", lambda in_time: _with_logarithm(lab, in_time))
    if found is None or record.steps < UPDATES:
        return []
    (start, after), end = found, record.last_loss()
    if not far_below(start, after, end):
        return []
    return [
        Finding(
            CODE,
            "error",
            f"the input of mse_loss{calls.at}",
            f"It is a softmax, which takes the gradient away where it is sure, wrongly too. With cross-entropy in its "
            f"place, {UPDATES} updates from the same start brought the squared error from {start:.3g} to {after:.3g} "
            f"(on batches that were held out); the run, after {record.steps} updates, was at {end:.3g}.",
            "Use cross_entropy on the scores, without the softmax.",
        )
    ]


def _with_logarithm(lab: Lab, in_time: Callable[[], bool]) -> list[float] | None:
    def change(call: Call, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if call.name != "mse_loss" or len(args) < 2 or args[0].shape != args[1].shape:
            return None
        return -(args[1] * args[0].clamp_min(1e-12).log()).sum(-1).mean()

    lab.restore()
    start = lab.held_out_loss()
    return None if lab.trial(in_time, change=change) is None else [start, lab.held_out_loss()]
