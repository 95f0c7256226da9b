r"""The gated recurrent unit, in both of its published forms.

Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014 (reset before the product; v3 of the
paper and its successors have it after, as cuDNN and PyTorch do).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CellError
from .base import AtenForm
from .torch_weights import TorchWeights

__all__ = ["GRU"]


class GRU(TorchWeights):
    r"""GRU cell.

    .. math::
        r_t &= σ(W_r x_t + U_r h_{t-1} + b_r) \\
        z_t &= σ(W_z x_t + U_z h_{t-1} + b_z) \\
        n_t &= \tanh(W_n x_t + b_n + r_t ⊙ (U_n h_{t-1} + b'_n)) && \text{reset="after"} \\
        n_t &= \tanh(W_n x_t + b_n + U_n (r_t ⊙ h_{t-1}) + b'_n) && \text{reset="before"} \\
        h_t &= (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

    Here z near one keeps the old state, as in PyTorch and Keras; the paper of 2014 writes the same, Chung et al. 2014
    write 1 - z. The rows of the weights are r, z, n, PyTorch's order (Keras: z, r, n).

    Args:
        input_size: features per step.
        hidden_size: units.
        reset: "after" applies the reset gate after the matrix product (PyTorch, cuDNN), "before" to the state itself
            (Cho et al. 2014).
        bias: False leaves out all biases.

    Example:
        >>> import carousel, torch
        >>> carousel.nn.Recurrent(carousel.cells.GRU, 8, 16, reset="before")(torch.zeros(5, 2, 8))[0].shape
        torch.Size([5, 2, 16])
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, reset: Literal["after", "before"] = "after", bias: bool = True
    ):
        super().__init__(input_size, hidden_size)
        if reset not in ("after", "before"):
            raise CellError(f"GRU got reset={reset!r}; it is 'after' or 'before' the matrix product.")
        self.reset = reset
        self._add_weights(3, bias=bias)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (h,) = state
        xr, xz, xn = F.linear(x, self.weight_ih, self.bias_ih).chunk(3, dim=-1)
        if self.reset == "after":
            hr, hz, hn = F.linear(h, self.weight_hh, self.bias_hh).chunk(3, dim=-1)
            r = torch.sigmoid(xr + hr)
            n = torch.tanh(xn + r * hn)
        else:
            two = 2 * self.hidden_size
            b_gates, b_new = (None, None) if self.bias_hh is None else (self.bias_hh[:two], self.bias_hh[two:])
            hr, hz = F.linear(h, self.weight_hh[:two], b_gates).chunk(2, dim=-1)
            r = torch.sigmoid(xr + hr)
            n = torch.tanh(xn + F.linear(r * h, self.weight_hh[two:], b_new))
        z = torch.sigmoid(xz + hz)
        h = (1 - z) * n + z * h
        return h, (h,)

    def aten(self) -> AtenForm | None:
        if self.reset != "after":
            return None
        return AtenForm("gru", self._flat_weights(), self.bias_ih is not None)
