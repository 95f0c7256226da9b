r"""Multi-tap recursion: the new state sees several old ones, not only the last.

Lin, Horne, Tiňo & Giles, "Learning long-term dependencies in NARX recurrent neural networks", IEEE Trans. Neural
Networks 7 (1996): a tap at delay d carries the error d steps back in one jump, so that it shrinks d times slower.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from .activations import Activation
from .activations import activation as resolve
from .base import Cell
from .weights import weight

__all__ = ["MultiTapRNN"]


class MultiTapRNN(Cell):
    r"""h_t = φ(W_x x_t + b + Σ_{d ∈ taps} U_d h_{t-d}).

    Args:
        input_size: features per step.
        hidden_size: units.
        taps: the delays d, in steps, each at least 1.
        activation: φ, a name of `ACTIVATIONS` or a function of a tensor.

    Example:
        >>> import carousel, torch
        >>> layer = carousel.nn.Recurrent(carousel.cells.MultiTapRNN, 8, 16, taps=(1, 5, 8))
        >>> output, (h,) = layer(torch.zeros(20, 2, 8))
        >>> h.shape  # layers, the last 8 states (newest first), batch, units
        torch.Size([1, 8, 2, 16])
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, taps: Sequence[int] = (1, 5, 8), activation: Activation = "tanh"
    ):
        super().__init__(input_size, hidden_size)
        self.delays = {"h": tuple(taps) if isinstance(taps, Sequence) else taps}
        depths = self.taps["h"]
        self.activation = activation
        self.phi = resolve(activation)
        self.wx, self.b = weight(hidden_size, input_size), weight(hidden_size)
        self.wh = weight(hidden_size, len(depths) * hidden_size)

    def step(self, x: Tensor, state: tuple[tuple[Tensor, ...], ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (taps,) = state
        recurrent = sum(F.linear(h, u) for h, u in zip(taps, self.wh.chunk(len(taps), dim=1), strict=True))
        h = self.phi(F.linear(x, self.wx, self.b) + recurrent)
        return h, (h,)
