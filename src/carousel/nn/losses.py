r"""Losses with their derivations.

All take a batch and give the mean over it, in nats where they are logarithms. Scores s are what a dense layer gives:
any numbers, no softmax or sigmoid behind them; these are inside the loss, where they can be computed without overflow.
`fits` (heads.py) says where a network and a loss do not go together.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..errors import UsageError

__all__ = ["LOSSES", "Loss", "cross_entropy", "find_loss", "hinge", "logistic", "squared_error"]


def cross_entropy(scores: Tensor, target: Tensor) -> Tensor:
    r"""Minus the log of the probability that softmax gives to the right class.

    .. math::
        L = -\log p_y = \log \sum_j e^{s_j} - s_y, \qquad p_j = \frac{e^{s_j}}{\sum_k e^{s_k}}, \qquad
        \frac{∂L}{∂s_j} = p_j - [j = y]

    It is the negative log-likelihood of the classes under the model, for one example; for target probabilities q it is
    :math:`-\sum_j q_j \log p_j` with the gradient :math:`p_j - q_j`. Since :math:`∂p_y/∂s_j = p_y ([j = y] - p_j)`, the
    factor :math:`1/p_y` of the logarithm cancels the :math:`p_y` by which softmax flattens: a confidently wrong answer
    has a gradient near ±1, whereas that of a squared error on p vanishes with :math:`p_y`.

    Args:
        scores: (batch, classes).
        target: (batch,) class numbers, or (batch, classes) probabilities, as mixup makes them.

    Returns:
        The mean over the batch, in nats.

    Raises:
        UsageError: the shapes do not fit, or a class number is not below the number of classes.

    Example:
        >>> import torch
        >>> round(float(cross_entropy(torch.zeros(3, 10), torch.tensor([0, 4, 9]))), 4)     # log 10
        2.3026
    """
    if target.shape == scores.shape and target.is_floating_point():
        return F.cross_entropy(scores, target)
    _check_classes("cross_entropy", scores, target)
    return F.cross_entropy(scores, target)


def squared_error(values: Tensor, target: Tensor) -> Tensor:
    r"""Mean squared error.

    .. math:: L = \frac{1}{n} \sum_i (\hat y_i - y_i)^2, \qquad \frac{∂L}{∂\hat y_i} = \frac{2}{n} (\hat y_i - y_i)

    The negative log-likelihood of numbers with Gaussian noise of fixed variance, up to a factor and a constant; its
    minimum is the conditional mean. Over all n elements, as in PyTorch; many texts have 1/2n, half of it. Behind a
    softmax its gradient :math:`∂L/∂s_j = \frac{2}{n} p_j (p_j - y_j - \sum_k p_k (p_k - y_k))` is small wherever p is
    near a corner, also near a wrong one.

    Args:
        values: any shape.
        target: the same shape; or for values (batch, classes) also (batch,) class numbers, for rows of one 1.

    Returns:
        The mean over all elements.

    Raises:
        UsageError: the shapes do not fit.

    Example:
        >>> import torch
        >>> float(squared_error(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 2.0])))
        2.5
    """
    if values.ndim == 2 and target.ndim == 1 and not target.is_floating_point():
        _check_classes("squared_error", values, target)
        target = F.one_hot(target, values.shape[1]).to(values.dtype)
    if values.shape != target.shape:
        raise UsageError(
            f"squared_error got values {tuple(values.shape)} and a target {tuple(target.shape)}; they must be alike."
        )
    return F.mse_loss(values, target)


def hinge(scores: Tensor, target: Tensor, margin: float = 1.0, crammer_singer: bool = False) -> Tensor:
    r"""Multi-class hinge: every wrong score has to stay below the right one by the margin.

    .. math::
        L_{WW} = \sum_{j ≠ y} \max(0, Δ + s_j - s_y), \qquad
        \frac{∂L}{∂s_j} = [s_j > s_y - Δ] \; (j ≠ y), \qquad
        \frac{∂L}{∂s_y} = -\#\{j ≠ y : s_j > s_y - Δ\}

    Weston & Watkins, "Support vector machines for multi-class pattern recognition", 1999: the sum over all wrong
    classes. Crammer & Singer (JMLR 2, 2001) take the worst alone,
    :math:`L_{CS} = \max(0, Δ + \max_{j≠y} s_j - s_y)`. For Δ = 1 both bound the number of errors from above; they are
    piecewise linear, and zero with all their gradients once the margin is kept. At the kink, s_j = s_y - Δ, the
    gradient is taken as 0. (PyTorch's `multi_margin_loss` divides the first by the number of classes.)

    Args:
        scores: (batch, classes).
        target: (batch,) class numbers.
        margin: Δ, in units of the scores.
        crammer_singer: the worst wrong class alone.

    Returns:
        The mean over the batch.

    Raises:
        UsageError: the shapes do not fit, or a class number is not below the number of classes.

    Example:
        >>> import torch
        >>> s, y = torch.tensor([[3.2, 5.1, -1.7]]), torch.tensor([0])      # cs231n's cat
        >>> round(float(hinge(s, y)), 4), round(float(hinge(s, y, crammer_singer=True)), 4)
        (2.9, 2.9)
    """
    _check_classes("hinge", scores, target)
    over = F.relu(margin + scores - scores.gather(1, target.unsqueeze(1)))
    over = over.scatter(1, target.unsqueeze(1), 0.0)
    return (over.amax(1) if crammer_singer else over.sum(1)).mean()


def logistic(scores: Tensor, target: Tensor) -> Tensor:
    r"""Minus the log-likelihood of yes or no: cross-entropy with a sigmoid.

    .. math::
        L = -y \log σ(s) - (1 - y) \log(1 - σ(s)) = \log(1 + e^s) - y s, \qquad \frac{∂L}{∂s} = σ(s) - y

    Softmax over the two scores (s, 0) is the same. With several outputs each is a question of its own (several labels
    may be right). For y in {-1, 1} it reads :math:`\log(1 + e^{-y s})`, the logistic loss of margins.

    Args:
        scores: any shape; for two classes (batch,) or (batch, 1).
        target: the same shape, from 0 to 1; for scores (batch, 1) also (batch,).

    Returns:
        The mean over all elements, in nats.

    Raises:
        UsageError: the shapes do not fit.

    Example:
        >>> import torch
        >>> round(float(logistic(torch.zeros(4, 1), torch.tensor([0, 1, 1, 0]))), 4)    # log 2
        0.6931
    """
    if scores.shape == (*target.shape, 1):
        target = target.unsqueeze(-1)
    if scores.shape != target.shape:
        raise UsageError(
            f"logistic got scores {tuple(scores.shape)} and a target {tuple(target.shape)}; they must be alike. One of "
            "several classes is what cross_entropy is for."
        )
    return F.binary_cross_entropy_with_logits(scores, target.to(scores.dtype))


def _check_classes(name: str, scores: Tensor, target: Tensor) -> None:
    if scores.ndim != 2 or target.shape != scores.shape[:1] or target.is_floating_point():
        raise UsageError(
            f"{name} got scores {tuple(scores.shape)} and a target {tuple(target.shape)} of {target.dtype}; expected "
            "(batch, classes) and whole class numbers (batch,)."
        )
    if (
        target.device.type == "cpu"
        and len(target)
        and not 0 <= int(target.min()) <= int(target.max()) < scores.shape[1]
    ):
        raise UsageError(
            f"{name} got class numbers from {int(target.min())} to {int(target.max())} for {scores.shape[1]} scores; "
            "they count from 0."
        )


@dataclass(frozen=True)
class Loss:
    """A named loss: the function (outputs, target) -> mean, and one line about it."""

    function: Callable[[Tensor, Tensor], Tensor]
    about: str


def _crammer_singer(scores: Tensor, target: Tensor) -> Tensor:
    return hinge(scores, target, crammer_singer=True)


LOSSES: dict[str, Loss] = {
    "cross-entropy": Loss(cross_entropy, "-log softmax of the right class: classes"),
    "logistic": Loss(logistic, "-log sigmoid: two classes with one output, or several labels"),
    "hinge": Loss(hinge, "each wrong score a margin below the right one (Weston & Watkins)"),
    "hinge-worst": Loss(_crammer_singer, "the worst wrong score a margin below the right one (Crammer & Singer)"),
    "squared-error": Loss(squared_error, "mean squared error: numbers"),
}


def find_loss(name: str) -> Loss:
    """The loss of that name.

    Raises:
        UsageError: there is none; the message names the nearest and all others.
    """
    if name in LOSSES:
        return LOSSES[name]
    near = difflib.get_close_matches(name, LOSSES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"There is no loss {name!r}.{hint} The losses are {', '.join(LOSSES)}.")
