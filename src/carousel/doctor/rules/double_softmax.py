"""Softmax before a loss that applies softmax itself.

Cross-entropy of probabilities p instead of scores: softmax of numbers from 0 to 1 is nearly flat, so that the loss of K
classes cannot fall below ln(1 + (K - 1)/e), and its gradient is small. (Log-probabilities do no harm: their softmax is
the distribution itself.)

The same with a sigmoid before cross-entropy, and with two sigmoids: of numbers from 0 to 1 the sigmoid makes 0.5 to
0.73, so that no answer can be "no". What has made the scores is read off the graph: by their range, small scores of a
network that knows little would do as well.
"""

from __future__ import annotations

import math

from ..criteria import LossCalls
from ..findings import Finding
from ..record import Record

CODE = "double-softmax"
EXPLAINS = ("wrong-loss", "lr-too-low", "underfitting")

LEAST = 3
"""Looks: rows of scores that all happen to be distributions occur once at most, where weights are zero."""


def findings(record: Record) -> list[Finding]:
    """Where every input seen of a cross-entropy was made of distributions, or by a sigmoid too many."""
    calls = record.criteria.calls.get("cross_entropy")
    others = [of for of in record.criteria.calls.values() if of is not calls]
    found = [_sigmoid(of) for of in others if LEAST <= of.traced == of.squashed]
    if calls is None or calls.looked < LEAST:
        return found
    if calls.probabilities < calls.looked:
        return [*found, _between(calls)] if LEAST <= calls.traced == calls.squashed else found
    least = math.log(1 + (calls.classes - 1) / math.e)
    return [
        *found,
        Finding(
            CODE,
            "error",
            f"the input of cross_entropy{calls.at}",
            f"In all {calls.looked} calls looked at, every row of the {calls.classes} scores was a distribution (none "
            f"below zero, sum one): softmax is applied before cross_entropy, which applies it again. So the loss "
            f"cannot fall below ln(1 + {calls.classes - 1}/e) = {least:.2f}.",
            "Remove the softmax at the end of the network, and pass the scores; use softmax only to read "
            "probabilities after training.",
        ),
    ]


def _between(calls: LossCalls) -> Finding:
    """Scores from 0 to 1 that are no distribution."""
    least = math.log(1 + (calls.classes - 1) / math.e)
    return Finding(
        CODE,
        "error",
        f"the input of cross_entropy{calls.at}",
        f"In all {calls.traced} calls looked at, a sigmoid, or a softmax along another axis, had made the "
        f"{calls.classes} scores, and cross_entropy applies a softmax to them. Between 0 and 1 they can differ so "
        f"little that the loss cannot fall below ln(1 + {calls.classes - 1}/e) = {least:.2f}.",
        "Remove the sigmoid or softmax at the end of the network, and pass the scores.",
    )


def _sigmoid(calls: LossCalls) -> Finding:
    inside = calls.kind != "binary_cross_entropy"
    what = (
        f"a sigmoid or softmax had made the scores, and {calls.kind} applies a sigmoid to them"
        if inside
        else "a sigmoid or softmax was followed by another"
    )
    return Finding(
        CODE,
        "error",
        f"the input of {calls.kind}{calls.at}",
        f"In all {calls.traced} calls looked at, {what}. So the probabilities lie between 0.50 and 0.73 whatever the "
        f"network learns, and the loss of a label 0 cannot fall below ln 2 = 0.69.",
        f"{'Remove the sigmoid or softmax at the end of the network' if inside else 'Remove one of the two'}; "
        "use it only to read probabilities after training.",
    )
