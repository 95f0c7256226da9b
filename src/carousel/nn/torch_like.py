"""`LSTM`, `GRU` and `RNN` with the signatures, state layouts and `state_dict`s of `torch.nn`'s, on Carousel's cells.

The parameters live in the layer under PyTorch's names (`weight_ih_l0`, `bias_hh_l1_reverse` …), so that optimizers,
`state_dict`, `functional_call` and code that looks for them by name work unchanged; before each run they are lent to
the cells, which own none. The same seed gives the same starting weights as PyTorch.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..cells import gru, lstm, rnn
from ..cells.base import Cell
from .layout import State
from .recurrent import Recurrent

__all__ = ["GRU", "LSTM", "RNN"]


class _TorchLike(Recurrent):
    _lent: list[Cell]

    def __init__(
        self,
        cell_class: type[Cell],
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        device: Any,
        dtype: Any,
        **options: Any,
    ):
        layers = {"bidirectional": bidirectional, "batch_first": batch_first, "dropout": dropout}
        super().__init__(cell_class, input_size, hidden_size, num_layers, **layers, bias=bias, **options)
        self.hidden_size, self.bias, self.bidirectional = hidden_size, bias, bidirectional
        cells = list(self.cells)
        del self.cells
        object.__setattr__(self, "_lent", cells)
        self._names: list[dict[str, str]] = []  # per cell: its own name of a parameter -> PyTorch's name
        for number, cell in enumerate(cells):
            layer, direction = divmod(number, self.directions)
            suffix = f"_l{layer}" + ("_reverse" if direction else "")
            names = {own: own + suffix for own, _ in cell.named_parameters()}
            for own, public in names.items():
                self.register_parameter(public, nn.Parameter(cell.get_parameter(own).detach().to(device, dtype)))
            self._names.append(names)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, without what the last run lent to the cells (under `functional_call`, no leaves)."""
        bare = [copy.copy(cell) for cell in self._lent]
        for cell in bare:
            cell._parameters = dict.fromkeys(cell._parameters)
        return {**self.__dict__, "_lent": bare}

    def _bound_cells(self) -> list[Cell]:
        for cell, names in zip(self._lent, self._names, strict=True):
            for own, public in names.items():
                cell._parameters[own] = getattr(self, public)
            if cell.training != self.training:
                cell.training = self.training
        return self._lent

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters, one list per layer and direction."""
        return [[getattr(self, public) for public in names.values()] for names in self._names]

    def flatten_parameters(self) -> None:
        """Nothing to do; here because PyTorch's layers have it."""

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, {super().extra_repr()}"


class LSTM(_TorchLike):
    r"""`torch.nn.LSTM` on Carousel's engine: same arguments, same weights, same results; plus `extras` by keyword.

    `extras` are the options of `carousel.cells.LSTM`: `peephole`, `coupled`, `layer_norm`, `forget_bias`. Without them
    its `state_dict` is PyTorch's, both ways. Returns `(output, (h, c))`.

    Example:
        >>> import carousel, torch
        >>> theirs, ours = torch.nn.LSTM(8, 16, 2, bidirectional=True), carousel.nn.LSTM(8, 16, 2, bidirectional=True)
        >>> ours.load_state_dict(theirs.state_dict())
        <All keys matched successfully>
        >>> x = torch.randn(10, 3, 8)
        >>> torch.allclose(ours(x)[0], theirs(x)[0], atol=1e-6)
        True
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        **extras: Any,
    ):
        self_extras = {"forget_bias": None, "projection": proj_size, **extras}
        super().__init__(
            lstm.LSTM, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype,
            **self_extras,
        )  # fmt: skip
        self.proj_size = proj_size

    def forward(self, x: Tensor | PackedSequence, hx: State = None, **keywords: Any) -> Any:
        """As `Recurrent.forward`, with the state (h, c), each (layers x directions, batch, size)."""
        return super().forward(x, hx, **keywords)


class _OneState(_TorchLike):
    """Layers whose state is the bare tensor h instead of a tuple, as in PyTorch."""

    def forward(self, x: Tensor | PackedSequence, hx: Tensor | None = None, **keywords: Any) -> Any:
        """As `Recurrent.forward`, with the state h of shape (layers x directions, batch, hidden_size)."""
        output, (h,), *rest = super().forward(x, None if hx is None else (hx,), **keywords)
        return output, h, *rest


class GRU(_OneState):
    r"""`torch.nn.GRU` on Carousel's engine: same arguments, weights and results; plus `reset="before"` by keyword.

    Returns `(output, h)`. See `carousel.cells.GRU` for the equations.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        **extras: Any,
    ):
        super().__init__(
            gru.GRU, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype,
            **extras,
        )  # fmt: skip


class RNN(_OneState):
    r"""`torch.nn.RNN` on Carousel's engine: same arguments, weights and results.

    `nonlinearity` may be any of `carousel.cells.ACTIVATIONS`, not only "tanh" and "relu". Returns `(output, h)`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        **extras: Any,
    ):
        super().__init__(
            rnn.RNN, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype,
            activation=nonlinearity, **extras,
        )  # fmt: skip
        self.nonlinearity = nonlinearity
