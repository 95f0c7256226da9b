"""Whether a network's last layer and its loss go together."""

from __future__ import annotations

from torch import nn

from .losses import LOSSES, find_loss

__all__ = ["HEADS", "fits"]

HEADS: dict[type[nn.Module], str] = {
    nn.Softmax: "softmax",
    nn.LogSoftmax: "log-softmax",
    nn.Sigmoid: "sigmoid",
    nn.ReLU: "relu",
    nn.Softplus: "softplus",
    nn.Tanh: "tanh",
    nn.Dropout: "dropout",
    nn.Linear: "none",
}
"""The last layer -> the name of what it does to the scores."""

THEIRS: dict[type[nn.Module], str] = {
    nn.CrossEntropyLoss: "cross-entropy",
    nn.NLLLoss: "nll",
    nn.BCEWithLogitsLoss: "logistic",
    nn.BCELoss: "bce",
    nn.MultiMarginLoss: "hinge",
    nn.MSELoss: "squared-error",
}

_PLAIN = "Let the network end with its dense layer."
_INSIDE = f"The loss has it inside. {_PLAIN}"
_FLAT = "the gradients of confidently wrong answers vanish"
_STUCK = f"scores that can't fall below 0 stop learning there. {_PLAIN}"
_HALF = f"a sigmoid of numbers from 0 up never goes below 1/2. {_PLAIN}"
_TIMID = f"a softmax over numbers between -1 and 1 can't become sure of anything. {_PLAIN}"
_TWICE = (
    f"softmax is applied twice, so that the loss stays above log(1 + (n-1)/e) for n classes, and {_FLAT}. {_INSIDE}"
)
_MARGIN = f"outputs from 0 to 1 keep a margin of 1 only in the limit, so that right answers are pushed on. {_PLAIN}"

UNFIT: dict[tuple[str, str], str] = {
    ("softmax", "cross-entropy"): _TWICE,
    ("sigmoid", "cross-entropy"): _TIMID,
    ("tanh", "cross-entropy"): _TIMID,
    ("relu", "cross-entropy"): _STUCK,
    ("sigmoid", "logistic"): f"sigmoid is applied twice, so that no probability falls below 1/2. {_INSIDE}",
    ("softmax", "logistic"): "each probability goes through a sigmoid, so that none falls below 1/2. For one of "
    f"several classes take cross-entropy. {_PLAIN}",
    ("tanh", "logistic"): f"a sigmoid of numbers between -1 and 1 stays between 0.27 and 0.73. {_PLAIN}",
    ("relu", "logistic"): _HALF,
    ("softplus", "logistic"): _HALF,
    ("softmax", "hinge"): _MARGIN,
    ("sigmoid", "hinge"): _MARGIN,
    ("tanh", "hinge"): f"outputs between -1 and 1 leave little room for a margin of 1. {_PLAIN}",
    ("relu", "hinge"): _STUCK,
    ("softmax", "nll"): "it wants logarithms of probabilities. Take log-softmax, or cross-entropy on the dense layer.",
    ("sigmoid", "nll"): "it wants logarithms of probabilities. Take cross-entropy on the dense layer.",
    ("none", "nll"): "it wants logarithms of probabilities. Take cross-entropy instead.",
    ("none", "bce"): "it wants probabilities. Take the logistic loss instead.",
    (
        "softmax",
        "bce",
    ): f"it asks a question of its own of each output, while softmax makes them compete. {_PLAIN} Then "
    "take cross-entropy for one of several classes, the logistic loss for several labels.",
}
UNFIT |= {(head, "hinge-worst"): why for (head, loss), why in UNFIT.items() if loss == "hinge"}

UNFIT_CLASSES: dict[str, str] = {
    "none": "it punishes scores that are right by more than the target, and nothing says how large scores should be. "
    "Take cross-entropy; or, to see the difference, a softmax before it.",
    "softmax": f"{_FLAT}. Cross-entropy on the dense layer keeps them.",
    "sigmoid": f"{_FLAT}. The logistic loss on the dense layer keeps them.",
}
"""Before a squared error, where the targets are classes."""

UNFIT_NUMBERS: dict[str, str] = {
    "softmax": f"all outputs are between 0 and 1 and sum to 1. {_PLAIN}",
    "sigmoid": "all outputs are between 0 and 1. If the targets are not, let the network end with its dense layer.",
    "tanh": "all outputs are between -1 and 1. If the targets are not, let the network end with its dense layer.",
    "relu": f"no output can fall below 0, and those at 0 stop learning. {_PLAIN}",
}
"""The same, where they are numbers."""


def fits(head: nn.Module | str, loss: nn.Module | str, targets: str = "classes") -> str | None:
    """What is wrong with a loss behind a head, in a sentence or two; None where they fit, or nothing is known.

    Args:
        head: the network, whose last layer counts, or that layer, or one of the names in `HEADS`: "softmax",
            "sigmoid", … ; "none" for scores as a dense layer gives them.
        loss: one of `LOSSES`, or one of PyTorch's modules.
        targets: "classes", or "numbers" for a regression.

    Raises:
        UsageError: there is no loss of that name.

    Example:
        >>> print(fits(nn.Sequential(nn.Linear(4, 3), nn.Sigmoid()), "logistic"))       # doctest: +NORMALIZE_WHITESPACE
        Sigmoid before the logistic loss: sigmoid is applied twice, so that no probability falls below 1/2. The loss has
        it inside. Let the network end with its dense layer.
        >>> fits(nn.Linear(4, 3), "cross-entropy") is None
        True
    """
    last = _last(head) if isinstance(head, nn.Module) else None
    name = head if isinstance(head, str) else next((n for kind, n in HEADS.items() if isinstance(last, kind)), "other")
    if isinstance(loss, str):
        kind = loss if loss in THEIRS.values() else (find_loss(loss), loss)[1]
    else:
        kind = next((n for their, n in THEIRS.items() if type(loss) is their), "other")
    if name == "dropout":
        return "Dropout behind the last layer sets outputs to zero at random; put it before that layer."
    if targets == "numbers" and kind in LOSSES and kind != "squared-error":
        return f"The {kind} loss is for classes; for numbers take squared-error."
    if isinstance(last, nn.Linear) and last.out_features == 1 and kind in ("cross-entropy", "hinge", "hinge-worst"):
        return f"The {kind} loss compares the scores of classes, and there is one output: take two, or logistic."
    if kind == "squared-error":
        why = (UNFIT_CLASSES if targets == "classes" else UNFIT_NUMBERS).get(name)
    else:
        why = UNFIT.get((name, kind))
    shown = "scores" if name == "none" else name
    return None if why is None else f"{shown.capitalize()} before the {kind} loss: {why}"


def _last(module: nn.Module) -> nn.Module:
    """The layer that gives the output, as far as the order of the children tells."""
    children = [child for child in module.children() if not isinstance(child, nn.Identity | nn.Flatten)]
    return _last(children[-1]) if children else module
