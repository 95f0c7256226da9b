r"""The constant error carousel: what is left of the LSTM when only the memory and its gates remain.

Hochreiter & Schmidhuber, "Long short-term memory", Neural Computation 9 (1997), section 3.2: a linear self-connection
of weight one lets the error flow back undiminished. The gates here see the input only, so that nothing but the gates
stands between c_k and c_T.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Cell
from .weights import weight

__all__ = ["ConstantErrorCarousel"]


class ConstantErrorCarousel(Cell):
    r"""A memory without weights and without a non-linearity on it, only gates that scale it.

    .. math::
        i_t, f_t, o_t &= σ(W_{i,f,o} x_t + b_{i,f,o}) \\
        c_t &= f_t ⊙ c_{t-1} + i_t ⊙ \tanh(W_g x_t + b_g) \\
        h_t &= o_t ⊙ c_t

    Hence ∂c_T/∂c_k = diag(f_{k+1} ⊙ … ⊙ f_T) exactly, and the identity without forget gate (f = 1, as published
    in 1997). State: c.

    Args:
        input_size: features per step.
        hidden_size: memory cells.
        forget: False fixes f at one.

    Example:
        >>> import carousel, torch
        >>> layer = carousel.nn.Recurrent(carousel.cells.ConstantErrorCarousel, 3, 2, forget=False)
        >>> c0 = torch.ones(1, 1, 2, requires_grad=True)
        >>> _, (c,) = layer(torch.randn(1000, 1, 3), (c0,))
        >>> torch.autograd.grad(c.sum(), c0)[0].tolist()
        [[[1.0, 1.0]]]
    """

    def __init__(self, input_size: int, hidden_size: int, *, forget: bool = True):
        super().__init__(input_size, hidden_size)
        self.state_sizes = {"c": hidden_size}
        self.forget = forget
        self.wi, self.bi = weight(hidden_size, input_size), weight(hidden_size)
        self.wg, self.bg = weight(hidden_size, input_size), weight(hidden_size)
        self.wo, self.bo = weight(hidden_size, input_size), weight(hidden_size)
        if forget:
            self.wf, self.bf = weight(hidden_size, input_size), weight(hidden_size, init=1.0)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (c,) = state
        if self.forget:
            f = torch.sigmoid(F.linear(x, self.wf, self.bf))
            c = f * c
        i = torch.sigmoid(F.linear(x, self.wi, self.bi))
        c = c + i * torch.tanh(F.linear(x, self.wg, self.bg))
        o = torch.sigmoid(F.linear(x, self.wo, self.bo))
        return o * c, (c,)
