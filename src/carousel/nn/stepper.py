"""`Stepper`: one step at a time, where the next input depends on the last output. For writing text and simulation."""

from __future__ import annotations

import torch
from torch import Tensor

from ..cells.base import Cell
from ..engine import Sequence, Steps
from ..engine.reference import run_reference
from ..errors import CellError
from .layout import State, pack_state, unpack_state
from .recurrent import Recurrent

__all__ = ["Stepper"]


class Stepper:
    """Run a `Recurrent` step by step, without what a call for a whole sequence needs each time.

    Gradients flow as through the sequence; dropout between layers is left out. Under `torch.no_grad()` compiled code
    runs, with the matrices packed once; it sees every change of a parameter.

    Args:
        recurrent: the layers, in one direction.
        batch: rows of the inputs.
        state: where to start, in the layout that `recurrent` returns; None for the cells' initial state.

    Raises:
        CellError: the layers run in both directions, or the state does not fit.

    Example:
        >>> import carousel, torch
        >>> layer, x = carousel.nn.GRU(3, 4, 2), torch.randn(10, 2, 3)
        >>> stepper = carousel.nn.Stepper(layer, batch=2)
        >>> outputs = torch.stack([stepper(x_t) for x_t in x])
        >>> torch.allclose(outputs, layer(x)[0], atol=1e-6)
        True
    """

    def __init__(self, recurrent: Recurrent, batch: int, state: State = None):
        if recurrent.directions > 1:
            raise CellError(
                "A network that reads in both directions needs the whole sequence at once, not step by step."
            )
        self.skip, self.cells = recurrent.skip, recurrent._bound_cells()
        self._compiles = recurrent.backend in {"auto", "cpu"}
        self._shape = (batch, recurrent.input_size)
        like = next(recurrent.parameters(), torch.zeros(0))
        self._states = unpack_state(state, self.cells, like.new_zeros(1, batch, recurrent.input_size), single=False)
        self._simple = [not cell.delays and not hasattr(cell, "begin") for cell in self.cells]
        self._steps: list[Steps | None] = [None] * len(self.cells)
        """Where there is one, it has the state."""

    @property
    def state(self) -> State:
        """After the last step, in the layout of `Recurrent`."""
        for number, steps in enumerate(self._steps):
            if steps is not None:
                self._states[number] = steps.state
        return pack_state(self._states, self.cells, single=False)

    def __call__(self, x: Tensor) -> Tensor:
        """The output (batch, output_size) for the next input (batch, input_size)."""
        if x.shape != self._shape:
            raise CellError(
                f"The input of a step has shape {tuple(x.shape)}; expected (batch, features) {self._shape}."
            )
        outputs: list[Tensor] = []
        signal = x
        for number, cell in enumerate(self.cells):
            if number:
                signal = torch.cat([outputs[-1], x], dim=-1) if self.skip else outputs[-1]
            outputs.append(self._step(number, cell, signal))
        return torch.cat(outputs, dim=-1) if self.skip else outputs[-1]

    def _step(self, number: int, cell: Cell, x: Tensor) -> Tensor:
        steps = self._steps[number]
        if steps is not None and not (steps.current and not torch.is_grad_enabled()):
            self._states[number], steps = steps.state, None
        if steps is None and self._compiles and not torch.is_grad_enabled():
            steps = Steps.of(cell, x, self._states[number])
        self._steps[number] = steps
        if steps is not None:
            return steps(x)
        if self._simple[number]:
            output, self._states[number] = cell.step(x, self._states[number])
            return output
        result = run_reference(cell, Sequence(x.unsqueeze(0), self._states[number]))
        self._states[number] = result.state
        return result.output[0]
