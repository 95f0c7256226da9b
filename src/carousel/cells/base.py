"""`Cell`: the contract between the equations of a recurrent network and everything that runs them through time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import CellError

__all__ = ["AtenForm", "Cell", "Shape"]

Shape = int | tuple[int, ...]


class AtenForm(NamedTuple):
    """A cell that computes exactly what one of PyTorch's own kernels computes, in that kernel's terms."""

    kind: str
    """One of "lstm", "gru", "rnn_tanh", "rnn_relu"."""
    weights: tuple[Tensor, ...]
    """`weight_ih, weight_hh[, bias_ih, bias_hh][, weight_hr]`, gates in PyTorch's order."""
    has_biases: bool


class Cell(nn.Module):
    r"""One step of a recurrence: (output_t, state_t) = step(x_t, state_{t-1}).

    Subclass it, create the parameters in `__init__`, declare the states, and write the equations in `step` in plain
    torch operations. `carousel.nn.Recurrent` runs the cell through time, layers and directions.

    Attributes:
        input_size: features per step of `x`; 0 for a cell without input.
        hidden_size: the cell's width.
        output_size: features per step of the output; `hidden_size` unless the cell sets it.
        state_sizes: ordered mapping, state name → size or shape (without the batch); `{"h": hidden_size}` unless set.
        delays: state name → taps. `{"h": (1, 5, 8)}` makes that entry of `state` the tuple
            (h_{t-1}, h_{t-5}, h_{t-8}); `new_state` still holds the one new h, the delay line is the runtime's.

    A cell may also define

    - `begin(time, batch, generator) -> (constants, per_step)`, two dicts of tensors: what is computed once for the
      sequence (a normalized weight, a dropout mask kept for all steps), and what differs from step to step but depends
      on no state (noise), with time as first dimension. Draw random numbers from `generator` only. A cell with `begin`
      has `step(x, state, extra)`; `extra` holds both, the latter at the present step. (To learn their shapes the
      compiler also calls `begin` with small sizes and a generator of its own.)
    - `initial_state`, when the state does not start at zero; it may use parameters, which then learn.

    Rules for `step`: no time dimension, no in-place change of `x` or `state`, no assignment to attributes. Branches on
    Python attributes and on `self.training` are fine.

    Example:
        >>> import carousel, torch
        >>> class Leaky(carousel.Cell):
        ...     def __init__(self, input_size, hidden_size):
        ...         super().__init__(input_size, hidden_size)
        ...         self.wx = carousel.weight(hidden_size, input_size)
        ...         self.wh = carousel.weight(hidden_size, hidden_size)
        ...         self.tau = carousel.weight(hidden_size)
        ...     def step(self, x, state):
        ...         (h,) = state
        ...         a = torch.sigmoid(self.tau)
        ...         h = a * h + (1 - a) * torch.tanh(x @ self.wx.T + h @ self.wh.T)
        ...         return h, (h,)
        >>> output, (h,) = carousel.nn.Recurrent(Leaky, 64, 256)(torch.randn(10, 2, 64))
        >>> output.shape, h.shape
        (torch.Size([10, 2, 256]), torch.Size([1, 2, 256]))
    """

    input_size: int
    hidden_size: int
    output_size: int
    state_sizes: Mapping[str, Shape]
    delays: Mapping[str, tuple[int, ...]]

    _stepping = False
    _version = 0
    """How often an attribute was set."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        for name, size, least in (("input_size", input_size, 0), ("hidden_size", hidden_size, 1)):
            if not isinstance(size, int) or isinstance(size, bool) or size < least:
                raise CellError(f"{type(self).__name__} got {name}={size!r}; give a whole number of at least {least}.")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.output_size = hidden_size
        self.state_sizes = {"h": hidden_size}
        self.delays = {}

    def step(self, x: Tensor, state: tuple[Any, ...], *extra: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step: `x` (batch, input_size) and the states in the order of `state_sizes`, to output and new states."""
        raise CellError(f"{type(self).__name__} has no step(); write its equations as `def step(self, x, state)`.")

    def initial_state(self, batch: int, *, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
        """The states before the first step, each (batch, *shape); zeros unless overridden."""
        return tuple(torch.zeros(batch, *shape, dtype=dtype, device=device) for shape in self.state_shapes.values())

    def aten(self) -> AtenForm | None:
        """The same computation in terms of PyTorch's built-in kernels, or None when they do not have it."""
        return None

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """`state_sizes` with every size written as a tuple."""
        return {name: (s,) if isinstance(s, int) else tuple(s) for name, s in self.state_sizes.items()}

    @property
    def taps(self) -> dict[str, tuple[int, ...]]:
        """The delays of every state, checked; (1,) for an ordinary state."""
        unknown = set(self.delays) - set(self.state_sizes)
        if unknown:
            raise CellError(
                f"{type(self).__name__}.delays names {sorted(unknown)}, but state_sizes has {list(self.state_sizes)}."
            )
        for name, taps in self.delays.items():
            if not isinstance(taps, tuple | list) or not taps or any(not isinstance(d, int) or d < 1 for d in taps):
                raise CellError(
                    f"{type(self).__name__}.delays[{name!r}] is {taps!r}; give one or more whole numbers of at least 1."
                )
        return {name: tuple(self.delays.get(name, (1,))) for name in self.state_sizes}

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"

    def __setattr__(self, name: str, value: Any) -> None:
        if self._stepping:
            raise CellError(
                f"{type(self).__name__}.step() sets self.{name}. A step must be pure: keep what lasts from step to "
                f"step in the state (declare {name!r} in state_sizes and return it in new_state)."
            )
        super().__setattr__(name, value)
        self.__dict__["_version"] = self._version + 1

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self.__dict__["_version"] = self._version + 1
