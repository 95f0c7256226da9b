"""A loss that does not fit the head of the network.

A column of outputs minus a row of targets is a table, which PyTorch makes without a word. Cross-entropy of one score is
always zero. `nll_loss` expects log-probabilities: for anything else it is a linear function of the scores, without a
lower bound, so that it falls for ever while nothing is learned.
"""

from __future__ import annotations

from ..findings import Finding
from ..record import Record
from ..tape import Broadcast

CODE = "wrong-loss"
EXPLAINS = ("saturated-activations", "exploding-gradient-depth", "underfitting")

LEAST = 3


def findings(record: Record) -> list[Finding]:
    """Where `nll_loss` was given what are no log-probabilities."""
    table = record.lab.recorder.broadcast if record.lab is not None else None
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
    one = record.loss_calls.get("cross_entropy")
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


def _size(table: Broadcast) -> str:
    """The size of the table, in words."""
    n = table.first[0]
    return f"{n} × {n}"
