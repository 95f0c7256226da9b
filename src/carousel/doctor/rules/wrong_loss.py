"""A loss that does not fit the head of the network.

`nll_loss` expects log-probabilities: for anything else it is a linear function of the scores, without a lower bound, so
that it falls for ever while nothing is learned.
"""

from __future__ import annotations

from ..findings import Finding
from ..record import Record

CODE = "wrong-loss"
EXPLAINS = ("saturated-activations", "exploding-gradient-depth", "underfitting")

LEAST = 3


def findings(record: Record) -> list[Finding]:
    """Where `nll_loss` was given what are no log-probabilities."""
    calls = record.loss_calls.get("nll_loss")
    if calls is None or calls.looked < LEAST or calls.log_probabilities:
        return []
    lowest = min((value for _, value in record.losses), default=0.0)
    below = f" It has fallen to {lowest:.3g}; a negative log-likelihood is never below zero." if lowest < 0 else ""
    kind = "probabilities" if calls.probabilities == calls.looked else "plain scores"
    fix = "torch.log of them, or better log_softmax of the scores" if kind == "probabilities" else "log_softmax first"
    return [
        Finding(
            CODE,
            "error",
            f"the input of nll_loss{calls.at}",
            f"In all {calls.looked} calls looked at, the input was {kind}, not log-probabilities (whose exponentials "
            f"sum to one).{below}",
            f"Use cross_entropy on the scores, which takes the logarithm of the softmax itself; or apply {fix}.",
        )
    ]
