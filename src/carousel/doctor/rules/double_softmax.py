"""Softmax before a loss that applies softmax itself.

Cross-entropy of probabilities p instead of scores: softmax of numbers from 0 to 1 is nearly flat, so that the loss of K
classes cannot fall below ln(1 + (K - 1)/e), and its gradient is small. (Log-probabilities do no harm: their softmax is
the distribution itself.)
"""

from __future__ import annotations

import math

from ..findings import Finding
from ..record import Record

CODE = "double-softmax"
EXPLAINS = ("wrong-loss", "lr-too-low", "underfitting")

LEAST = 3
"""Looks: rows of scores that all happen to be distributions occur once at most, where weights are zero."""


def findings(record: Record) -> list[Finding]:
    """Where every input seen of a cross-entropy was made of distributions."""
    calls = record.loss_calls.get("cross_entropy")
    if calls is None or calls.looked < LEAST or calls.probabilities < calls.looked:
        return []
    least = math.log(1 + (calls.classes - 1) / math.e)
    return [
        Finding(
            CODE,
            "error",
            f"the input of cross_entropy{calls.at}",
            f"In all {calls.looked} calls looked at, every row of the {calls.classes} scores was a distribution (none "
            f"below zero, sum one): softmax is applied before cross_entropy, which applies it again. So the loss "
            f"cannot fall below ln(1 + {calls.classes - 1}/e) = {least:.2f}.",
            "Remove the softmax at the end of the network, and pass the scores; use softmax only to read "
            "probabilities after training.",
        )
    ]
