r"""What the equations of a cell make at every step, by the names that they have there: gates, candidates, memories.

A cell's `step` says `f = torch.sigmoid(…)`; after that line, f is a number with a name. Every tensor that has a name
when `step` returns can be seen, of built-in cells as of the user's own, without a word in the cell. A gate is what a
sigmoid made, or one minus that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..cells.base import Cell
from ..errors import UsageError
from .system import recurrence

__all__ = ["GATES", "Quantity", "quantities"]

GATES = {"i": "input", "f": "forget", "o": "output", "r": "reset", "z": "update"}
"""What the letters of the built-in cells mean."""


@dataclass(frozen=True)
class Quantity:
    """A named quantity of a cell's equations over time.

    Attributes:
        name: as in `step`; a state has the value that it gets.
        layer: from 1.
        values: (time, batch, …).
        is_gate: made by a sigmoid, or one minus such.
        is_state: handed on to the next step.
    """

    name: str
    layer: int
    values: Tensor
    is_gate: bool
    is_state: bool = False

    @property
    def openness(self) -> Tensor:
        """(time,) the mean over the batch and the units."""
        return self.values.flatten(1).mean(1)

    @property
    def open(self) -> float:
        """The share of values above 0.9: what a gate lets through."""
        return float((self.values > 0.9).double().mean())

    @property
    def closed(self) -> float:
        """The share of values below 0.1: what a gate holds back."""
        return float((self.values < 0.1).double().mean())


def quantities(network: Any, inputs: Tensor, state: Tensor | None = None) -> list[Quantity]:
    """All named quantities of all layers, along given inputs.

    Args:
        network: a cell, a recurrent layer in one direction (Carousel's or PyTorch's), or a network with one inside.
        inputs: (time, batch, input_size), or (time, input_size) for one sequence.
        state: (batch, size) before the first step; None for the network's own.

    Returns:
        Layer by layer in the order in which `step` names them; only those with a row for each sequence, and not what
        it is given (x, and the tuple of states).

    Raises:
        UsageError: it is no network of cells, or the inputs do not fit.

    Example:
        >>> found = quantities(torch.nn.LSTM(3, 4), torch.randn(20, 2, 3))
        >>> sorted((q.name, q.is_gate) for q in found if q.name in "cfgo")
        [('c', False), ('f', True), ('g', False), ('o', True)]
        >>> found[0].values.shape[:2]
        torch.Size([20, 2])
    """
    system = recurrence(network)
    if not system.cells:
        raise UsageError("A function has no named quantities; give a cell, or a layer of cells.")
    inputs = system.checked(inputs.unsqueeze(1) if inputs.ndim == 2 else inputs)
    watch = _Watch(system.cells)
    with torch.no_grad(), watch:
        system.run(inputs, state)
    found = []
    for layer, (cell, steps) in enumerate(zip(system.cells, watch.steps, strict=True), 1):
        for name in steps[0]:
            if all(name in step for step in steps):
                values = torch.stack([step[name][0] for step in steps])
                is_gate = all(step[name][1] for step in steps)
                found.append(Quantity(name, layer, values, is_gate, name in cell.state_sizes))
    return found


class _Watch(TorchFunctionMode):
    """While it is entered, the tensors that have a name when a cell's `step` returns, and which of them are gates."""

    def __init__(self, cells: tuple[Cell, ...]):
        super().__init__()
        self.steps: list[list[dict[str, tuple[Tensor, bool]]]] = [[] for _ in cells]
        self._cells = {id(cell): number for number, cell in enumerate(cells)}
        self._states = [tuple(cell.state_sizes) for cell in cells]
        self._codes: set[CodeType] = {_code(cell.step) for cell in cells}
        self._gates: list[Tensor] = []

    def __enter__(self) -> Any:
        self._before = sys.getprofile()
        sys.setprofile(self._event)
        return super().__enter__()

    def __exit__(self, *error: Any) -> Any:
        sys.setprofile(self._before)
        return super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and (_is_sigmoid(func) or self._is_rest(func, args)):
            self._gates.append(made)
        return made

    def _is_rest(self, func: Any, args: Any) -> bool:
        """Whether it is one minus a gate."""
        name = getattr(func, "__name__", "")
        if name not in ("__rsub__", "rsub", "sub", "__sub__") or len(args) != 2:
            return False
        gate, one = args if name in ("__rsub__", "rsub") else reversed(args)
        return isinstance(one, int | float) and one == 1 and any(_same(gate, g) for g in self._gates)

    def _event(self, frame: FrameType, event: str, given: Any) -> None:
        if frame.f_code not in self._codes:
            return
        number = self._cells.get(id(frame.f_locals.get("self")))
        if number is None:
            return
        if event == "call":
            self._gates = []
        elif event == "return" and given is not None:
            batch = frame.f_locals["x"].shape[0] if "x" in frame.f_locals else None
            states = self._states[number]
            named = {
                name: (value.detach(), any(_same(value, gate) for gate in self._gates))
                for name, value in {**frame.f_locals, **dict(zip(states, given[1], strict=True))}.items()
                if isinstance(value, Tensor) and name != "x" and value.ndim > 1 and value.shape[0] == batch
            }
            self.steps[number].append(named)


def _is_sigmoid(func: Any) -> bool:
    return getattr(func, "__name__", "") in ("sigmoid", "sigmoid_", "hardsigmoid")


def _same(value: Tensor, gate: Tensor) -> bool:
    """Whether it is a gate, or a piece of a tensor of gates."""
    return value is gate or value._base is gate


def _code(step: Callable[..., Any]) -> CodeType:
    return getattr(step, "__func__", step).__code__
