"""The element-wise non-linearities φ that a cell can be asked for by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CellError

__all__ = ["ACTIVATIONS", "Activation", "activation"]

Activation = str | Callable[[Tensor], Tensor]


def _identity(a: Tensor) -> Tensor:
    return a


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": F.elu,
    "gelu": F.gelu,
    "hardtanh": F.hardtanh,
    "identity": _identity,
    "leaky_relu": F.leaky_relu,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "tanh": torch.tanh,
}


def activation(phi: Activation) -> Callable[[Tensor], Tensor]:
    """The function for a name of `ACTIVATIONS`; a function is returned as it is.

    Raises:
        CellError: the name is not known.

    Example:
        >>> import torch
        >>> activation("relu")(torch.tensor([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """
    if callable(phi):
        return phi
    if phi not in ACTIVATIONS:
        raise CellError(f"There is no activation {phi!r}; choose one of {', '.join(ACTIVATIONS)}, or give a function.")
    return ACTIVATIONS[phi]
