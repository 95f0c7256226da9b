r"""Long short-term memory, with the options that the literature gives it.

Hochreiter & Schmidhuber, "Long short-term memory", Neural Computation 9 (1997); forget gate: Gers, Schmidhuber &
Cummins, "Learning to forget", 2000; peepholes: Gers & Schmidhuber 2000, here diagonal as in Graves, "Generating
sequences with recurrent neural networks", 2013; projection: Sak, Senior & Beaufays 2014; coupled gates: Greff et al.,
"LSTM: a search space odyssey", 2015; layer norm: Ba, Kiros & Hinton 2016; forget bias of one: Jozefowicz, Zaremba &
Sutskever 2015.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CellError
from .base import AtenForm
from .torch_weights import TorchWeights
from .weights import weight

__all__ = ["LSTM"]


class LSTM(TorchWeights):
    r"""LSTM cell; ⊙ is the element-wise product, p the optional peephole weights.

    .. math::
        i_t &= σ(W_i x_t + U_i h_{t-1} + p_i ⊙ c_{t-1} + b_i) \\
        f_t &= σ(W_f x_t + U_f h_{t-1} + p_f ⊙ c_{t-1} + b_f) \\
        g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g) \\
        c_t &= f_t ⊙ c_{t-1} + i_t ⊙ g_t \\
        o_t &= σ(W_o x_t + U_o h_{t-1} + p_o ⊙ c_t + b_o) \\
        h_t &= o_t ⊙ \tanh(c_t)

    States: h, c. The rows of `weight_ih`, `weight_hh` and the biases are the gates i, f, g, o, PyTorch's order (Keras
    has it too, Torch7 and TensorFlow's old cells differ). With peepholes the input and forget gates look at c_{t-1},
    the output gate at c_t.

    Args:
        input_size: features per step.
        hidden_size: memory cells.
        bias: False leaves out all biases.
        forget_bias: starting value of the forget gate's bias; None keeps PyTorch's random one.
        peephole: add the diagonal weights `weight_ci`, `weight_cf`, `weight_co`.
        projection: if positive, h_t = R (o_t ⊙ tanh c_t) with R of shape (projection, hidden_size), and the recurrence
            and the output have this size. (PyTorch calls it `proj_size`.)
        coupled: i_t = 1 - f_t; the rows of i are then not there.
        layer_norm: normalize W x_t and U h_{t-1} each over all gates together, and c_t before the output's tanh, with
            learned gain and shift.

    Example:
        >>> import carousel, torch
        >>> layer = carousel.nn.Recurrent(carousel.cells.LSTM, 8, 16, peephole=True)
        >>> output, (h, c) = layer(torch.zeros(5, 2, 8))
        >>> c.shape
        torch.Size([1, 2, 16])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        forget_bias: float | None = 1.0,
        peephole: bool = False,
        projection: int = 0,
        coupled: bool = False,
        layer_norm: bool = False,
    ):
        super().__init__(input_size, hidden_size)
        if not 0 <= projection < hidden_size:
            raise CellError(
                f"LSTM got projection={projection} with hidden_size={hidden_size}; it must be smaller (0 for none)."
            )
        self.peephole, self.projection, self.coupled, self.layer_norm = peephole, projection, coupled, layer_norm
        self.output_size = projection or hidden_size
        self.state_sizes = {"h": self.output_size, "c": hidden_size}
        self._add_weights(3 if coupled else 4, bias=bias, projection=projection)
        if self.bias_ih is not None and self.bias_hh is not None and forget_bias is not None:
            forget = slice(0, hidden_size) if coupled else slice(hidden_size, 2 * hidden_size)
            with torch.no_grad():
                self.bias_ih[forget] = forget_bias
                self.bias_hh[forget] = 0.0
        if peephole:
            if not coupled:
                self.weight_ci = weight(hidden_size)
            self.weight_cf, self.weight_co = weight(hidden_size), weight(hidden_size)
        if layer_norm:
            rows = self.weight_ih.shape[0]
            self.gain_ih, self.gain_hh = weight(rows, init=1), weight(rows, init=1)
            self.gain_c, self.shift_c = weight(hidden_size, init=1), weight(hidden_size)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        h, c = state
        if self.layer_norm:
            rows = (self.weight_ih.shape[0],)
            from_x = F.layer_norm(F.linear(x, self.weight_ih), rows, self.gain_ih, self.bias_ih)
            from_h = F.layer_norm(F.linear(h, self.weight_hh), rows, self.gain_hh, self.bias_hh)
        else:
            from_x = F.linear(x, self.weight_ih, self.bias_ih)
            from_h = F.linear(h, self.weight_hh, self.bias_hh)
        gates = from_x + from_h
        if self.coupled:
            f, g, o = gates.chunk(3, dim=-1)
            i = None
        else:
            i, f, g, o = gates.chunk(4, dim=-1)
        if self.peephole:
            i = None if i is None else i + self.weight_ci * c
            f = f + self.weight_cf * c
        f = torch.sigmoid(f)
        i = 1 - f if i is None else torch.sigmoid(i)
        g = torch.tanh(g)
        c = f * c + i * g
        if self.peephole:
            o = o + self.weight_co * c
        seen = F.layer_norm(c, (self.hidden_size,), self.gain_c, self.shift_c) if self.layer_norm else c
        o = torch.sigmoid(o)
        h = o * torch.tanh(seen)
        if self.weight_hr is not None:
            h = F.linear(h, self.weight_hr)
        return h, (h, c)

    def aten(self) -> AtenForm | None:
        if self.peephole or self.coupled or self.layer_norm:
            return None
        return AtenForm("lstm", self._flat_weights(), self.bias_ih is not None)
