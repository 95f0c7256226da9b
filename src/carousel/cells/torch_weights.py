"""`TorchWeights`: the parameters of a cell laid out as PyTorch's recurrent layers have them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .base import Cell

__all__ = ["TorchWeights"]


class TorchWeights(Cell):
    """A cell with `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`: gates stacked in rows, in PyTorch's order."""

    weight_ih: Tensor
    weight_hh: Tensor
    weight_hr: Tensor | None
    bias_ih: Tensor | None
    bias_hh: Tensor | None

    def _add_weights(self, gates: int, *, bias: bool, projection: int = 0) -> None:
        """Register the parameters and draw them from ±1/√hidden_size in PyTorch's order: a seed gives its numbers."""
        rows = gates * self.hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, self.input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, projection or self.hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(rows)) if bias else None
        self.bias_hh = nn.Parameter(torch.empty(rows)) if bias else None
        self.weight_hr = nn.Parameter(torch.empty(projection, self.hidden_size)) if projection else None
        bound = 1 / math.sqrt(self.hidden_size)
        with torch.no_grad():
            for parameter in self.parameters(recurse=False):
                parameter.uniform_(-bound, bound)

    def _flat_weights(self) -> tuple[Tensor, ...]:
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, self.weight_hr)
        return tuple(w for w in weights if w is not None)
