"""Dropout or batch norm in the wrong mode.

In training mode an evaluation is noisy: dropout drops units, batch norm uses the statistics of the batch at hand and
changes the running ones. In evaluation mode a network that learns has no dropout, and batch norm that does not adapt.

A function has no mode: `F.dropout` drops unless its `training` says no, attention always drops what it is told, and a
layer that is made anew in each call is in training mode. With `training=True` written out it is meant.
"""

from __future__ import annotations

from ..findings import Finding
from ..record import Record
from ..seen import DropoutSeen, ModuleSeen

CODE = "train-eval-mode"
EXPLAINS = ("dead-relu",)

LEAST = 3
LEARNING = 20
"""Calls with gradients."""


def findings(record: Record) -> list[Finding]:
    """Where such a module was called without gradients in training mode only."""
    wrong = [
        seen
        for seen in record.modules
        if seen.noisy and seen.learning and seen.evaluating >= LEAST and seen.evaluating_in_training == seen.evaluating
    ]
    averaged = any(seen.outermost and 2 * seen.repeated > seen.evaluating for seen in record.modules)
    always = [of for of in record.dropouts.values() if of.evaluating >= LEAST and of.module.learning]
    if always and not averaged:
        return [_always(always)]
    if averaged:  # the same inputs again and again: the mean over dropped units is wanted
        wrong = [seen for seen in wrong if seen.noisy != "dropout"]
    if not wrong:
        return _stays_in_evaluation(record)
    batch_norm = any(seen.noisy == "batch norm" for seen in wrong)
    what = "batch norm uses and changes the statistics of the evaluated batches" if batch_norm else "dropout is on"
    return [
        Finding(
            CODE,
            "warning",
            ", ".join(seen.name for seen in wrong[:3]),
            f"All {wrong[0].evaluating} calls without gradients, as in an evaluation, were made in training mode: "
            f"{what}.",
            "Call model.eval() before evaluating, and model.train() before training goes on.",
        )
    ]


def _always(of: list[DropoutSeen]) -> Finding:
    """Dropout that no mode turns off."""
    one = of[0]
    what, advice = {
        "made": (
            "a dropout layer is made in each call, which is in training mode whatever the mode of the network",
            "Make the layer once, in __init__, as an attribute of the module.",
        ),
        "scaled_dot_product_attention": (
            "scaled_dot_product_attention drops dropout_p of the weights whatever the mode of the network",
            "Pass dropout_p=self.p if self.training else 0.0.",
        ),
    }.get(
        one.kind,
        (
            f"F.{one.kind} is called without training=, and drops whatever the mode of the network",
            f"Pass training=self.training to F.{one.kind}, or use a layer, as nn.Dropout; and call model.eval() "
            "before evaluating.",
        ),
    )
    return Finding(
        CODE,
        "warning",
        one.module.name + (f" ({one.line})" if one.line else ""),
        f"Dropout was on in {one.evaluating} calls that were made without gradients or in evaluation mode: {what}.",
        advice,
    )


def _stays_in_evaluation(record: Record) -> list[Finding]:
    """Where the whole network learns in evaluation mode; parts may be held there on purpose, with their weights.

    A loss that is a module has a mode of its own, which nobody sets and which means nothing.
    """
    outer = [seen for seen in record.modules if seen.outermost and not seen.bare and seen.learning >= LEARNING]
    since = 1 + max((seen.last_in_training for seen in outer), default=-1)
    still = [
        seen
        for seen in record.modules
        if seen.noisy and seen.trainable and seen.learning_in_eval and seen.last_in_training < since
    ]
    if not still or not outer or (since and not _forgotten(record, outer, since)):
        return []
    batch_norm = any(seen.noisy == "batch norm" for seen in still)
    what = "batch norm neither normalizes by the batch nor adapts" if batch_norm else "dropout drops nothing"
    return [
        Finding(
            CODE,
            "error" if batch_norm else "warning",
            ", ".join(seen.name for seen in still[:3]),
            f"All {outer[0].learning_in_eval if since else outer[0].learning} calls of {outer[0].name} with gradients "
            f"{f'from update {since} on ' if since else ''}were made in evaluation mode: {what}.",
            "Call model.train() before the training loop, and again after each evaluation.",
        )
    ]


def _forgotten(record: Record, outer: list[ModuleSeen], since: int) -> bool:
    """Whether an evaluation has ended the training mode, early and for good.

    A network that is fine-tuned like that on purpose has weights that are held, and a last stage is short. Gradients
    without updates, as for pictures of what a trained network has learned, come behind the last update.
    """
    held = any(not p.wanted for p in record.parameters)
    left = record.steps - since
    evaluated = all(seen.evaluating >= LEAST and seen.learning_in_eval >= LEARNING for seen in outer)
    alternating = any(seen.learning_in_eval > seen.learning * (left + 1) / record.steps for seen in outer)
    return evaluated and not held and not alternating and left >= max(LEARNING, record.steps / 2)
