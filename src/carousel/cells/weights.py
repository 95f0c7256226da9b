"""`weight`: a parameter with a sensible starting value, so that a cell's constructor reads like its equations."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import UsageError

__all__ = ["weight"]


def _uniform(w: Tensor) -> None:
    bound = 1 / math.sqrt(w.shape[-1]) if w.ndim and w.shape[-1] else 0.0
    nn.init.uniform_(w, -bound, bound)


def _auto(w: Tensor) -> None:
    _uniform(w) if w.ndim >= 2 else nn.init.zeros_(w)


_SCHEMES: dict[str, Callable[[Tensor], object]] = {
    "auto": _auto,
    "he": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "identity": nn.init.eye_,
    "normal": lambda w: nn.init.normal_(w, std=0.01),
    "ones": nn.init.ones_,
    "orthogonal": nn.init.orthogonal_,
    "uniform": _uniform,
    "xavier": nn.init.xavier_uniform_,
    "zeros": nn.init.zeros_,
}

_FOR_MATRICES = ("he", "identity", "orthogonal", "xavier")


def weight(*shape: int, init: str | float | Callable[[Tensor], object] = "auto") -> nn.Parameter:
    r"""A trainable tensor of the given shape.

    The default `"auto"` draws a matrix of shape (out, in) from the uniform distribution on ±1/√in and starts a vector
    at zero. (PyTorch's recurrent layers draw everything, biases too, from ±1/√hidden_size; `carousel.nn.LSTM` and its
    siblings do the same.)

    Args:
        shape: the sizes; a matrix is (output size, input size), applied as `x @ w.T`.
        init: "auto", "uniform" (±1/√in), "xavier" (Glorot & Bengio 2010, uniform), "he" (He et al. 2015, normal),
            "orthogonal" (Saxe et al. 2014), "identity", "normal" (standard deviation 0.01), "zeros", "ones"; or a
            number for a constant; or a function that fills the tensor in place, such as those of `torch.nn.init`.

    Returns:
        A `torch.nn.Parameter` of the default dtype.

    Raises:
        UsageError: the name of the scheme is not known, or it is for matrices and the shape is none.

    Example:
        >>> import carousel
        >>> carousel.weight(3, init=1.0).tolist()
        [1.0, 1.0, 1.0]
        >>> carousel.weight(128, 64, init="orthogonal").shape
        torch.Size([128, 64])
    """
    parameter = nn.Parameter(torch.empty(shape))
    with torch.no_grad():
        if callable(init):
            init(parameter)
        elif isinstance(init, str):
            if init not in _SCHEMES:
                raise UsageError(f"weight() got init={init!r}; the schemes are {', '.join(sorted(_SCHEMES))}.")
            if init in _FOR_MATRICES and len(shape) < 2:
                raise UsageError(f"weight() got init={init!r} and the shape {shape}; this scheme is for matrices.")
            if parameter.numel():
                _SCHEMES[init](parameter)
        else:
            parameter.fill_(init)
    return parameter
