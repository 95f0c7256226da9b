r"""Prediction with dropout left on: the mean over many masks, and how far they differ.

.. math:: p(y | x) ≈ \frac{1}{n} \sum_{i=1}^n p(y | x, m_i), \qquad m_i \text{ a mask}

Gal & Ghahramani, "Dropout as a Bayesian approximation", ICML 2016. (The usual prediction leaves dropout out, since
PyTorch scales by 1/(1-p) while training: one pass with the mean of each unit, Srivastava et al., JMLR 15, 2014, who
compare both.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from ..errors import UsageError

__all__ = ["Averaged", "dropout_on", "has_dropout", "monte_carlo"]

_LINKS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda scores: torch.softmax(scores, -1),
    "sigmoid": torch.sigmoid,
    "none": lambda values: values,
}


@dataclass(frozen=True)
class Averaged:
    """What many masks say together.

    Attributes:
        mean: over the masks, of the output's shape.
        deviation: standard deviation over the masks, of the same shape.
        samples: number of masks.
    """

    mean: Tensor
    deviation: Tensor
    samples: int


@torch.no_grad()
def monte_carlo(
    model: nn.Module,
    *inputs: Any,
    samples: int = 50,
    link: Literal["softmax", "sigmoid", "none"] = "none",
    seed: int = 0,
) -> Averaged:
    """Average a model's predictions over dropout's masks.

    Everything but batch norm is in training mode meanwhile, and afterwards as it was before, also where the model
    raises. The global random numbers go on as if nothing had happened.

    Args:
        model: with dropout in it.
        inputs: its arguments.
        samples: number of masks.
        link: what makes probabilities of the scores, applied before the mean: the mean is over probabilities.
        seed: of the masks.

    Returns:
        An `Averaged`.

    Raises:
        UsageError: the model has no dropout, there are fewer than two samples, or the link is not known.

    Example:
        >>> net = nn.Sequential(nn.Dropout(0.5), nn.Linear(100, 1, bias=False))
        >>> _ = nn.init.ones_(net[1].weight)
        >>> found = monte_carlo(net, torch.ones(1, 100), samples=2000)      # 2 · binomial(100, 1/2)
        >>> round(float(found.mean) / 100, 1), round(float(found.deviation) / 10, 1)
        (1.0, 1.0)
    """
    if samples < 2:
        raise UsageError(f"monte_carlo got samples={samples}; give at least 2.")
    if link not in _LINKS:
        raise UsageError(f"monte_carlo got link={link!r}; choose one of {', '.join(_LINKS)}.")
    if not has_dropout(model):
        raise UsageError(f"{type(model).__name__} has no dropout, so that all masks are alike; predict with it once.")
    total = squares = None
    with dropout_on(model), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        for count in range(1, samples + 1):
            value = _LINKS[link](model(*inputs))
            if total is None or squares is None:
                total, squares = value.clone(), torch.zeros_like(value)
            else:  # Welford's update
                away = value - total
                total += away / count
                squares += away * (value - total)
    assert total is not None
    assert squares is not None
    return Averaged(total, (squares / (samples - 1)).sqrt(), samples)


def has_dropout(model: nn.Module) -> bool:
    """Whether anything in it drops at random."""
    return any(_drops(module) for module in model.modules())


@contextlib.contextmanager
def dropout_on(model: nn.Module) -> Iterator[None]:
    """Everything but batch norm in training mode, and afterwards as it was before."""
    training = {module: module.training for module in model.modules()}
    try:
        for module in training:
            module.training = not isinstance(module, _NormBase)
        yield
    finally:
        for module, flag in training.items():
            module.training = flag


def _drops(module: nn.Module) -> bool:
    """Whether a layer drops at random: PyTorch's, or one with a probability named `dropout`, as Carousel's networks."""
    p = module.p if isinstance(module, _DropoutNd) else getattr(module, "dropout", 0)
    return isinstance(p, float | int) and not isinstance(p, bool) and p > 0
