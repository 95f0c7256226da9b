"""One step a call: a program with its buffers and its packed matrices kept from call to call.

Where the next input hangs on the last output there is no sequence, and with one row to pack the matrices would take
longer than the step. Here everything stays where it is: the tables of the plan are filled in once, and the matrices are
packed again only when a parameter has changed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..cells.base import Cell
from .compiled import Obstacle, fixed, program_for
from .plan import COMMAND
from .pool import empty
from .program import Program
from .run import Shape, prepare_forward
from .sequence import Sequence

__all__ = ["Steps"]


class Steps:
    """A cell at one batch size, from a state on; no gradients.

    Args:
        program: the cell's program.
        cell: the cell.
        x: any input of a step, (batch, input_size).
        state: the state before the first step, as in `Sequence.state`.
    """

    def __init__(self, program: Program, cell: Cell, x: Tensor, state: tuple[Tensor, ...]):
        self.program, self.cell = program, cell
        batch, dtype = x.shape[0], program.variant.dtype
        self._like = Sequence(x.new_empty(1, *x.shape), None)
        self._seen = _seen(cell)
        vectors, matrices = fixed(program, cell, [], None)
        with torch.inference_mode(False):  # so that these can be written in either mode
            self._x = torch.empty(1, batch, x.shape[1], dtype=dtype)
            self._lines = [torch.empty(depth, batch, n, dtype=dtype) for depth, n in program.lines]
        for line, s in zip(self._lines, state, strict=True):
            line.copy_(s.reshape(line.shape))
        self._shapes = [s.shape for s in state]
        rows = [self._x] if ("x",) in program.loop_leaves else []
        shape = Shape(1, batch, (("x",),) if rows else (), len(vectors), len(matrices), True)
        # The states after the step go where those before it were; a plan copies both, so that nothing is overwritten
        # that is still to be read.
        plan, used, kept = prepare_forward(program, shape, [*rows, *vectors, *matrices, *self._lines], last=self._lines)
        own = empty((max(1, plan.tables.own_bytes),), torch.uint8)
        words, start = plan.tables.filled(own.data_ptr(), [t.data_ptr() for t in used])
        self._output, self._kept_alive = kept.collected[0], (own, words, used)
        self._perform, first = program.libraries[0].perform, start + plan.commands
        self._perform(first, plan.packs, plan.threads)
        self._work = (first + plan.packs * COMMAND, plan.count - plan.packs, plan.threads)

    @classmethod
    def of(cls, cell: Cell, x: Tensor, state: tuple[Tensor, ...]) -> Steps | None:
        """For this cell and inputs like `x`, or None where it can't be run so."""
        program = program_for(cell, Sequence(x.unsqueeze(0), None))
        if isinstance(program, Obstacle) or hasattr(cell, "begin") or torch.is_autocast_enabled("cpu"):
            return None
        plain = not program.analyzed.before and program.analyzed.behind is None and not program.variant.backward
        if not plain or x.dtype != program.variant.dtype or any(t.is_inference() for t in _tensors(cell)):
            return None
        return cls(program, cell, x, state)

    @property
    def current(self) -> bool:
        """Whether the cell and its parameters are what they were."""
        return program_for(self.cell, self._like) is self.program and _seen(self.cell) == self._seen

    @property
    def state(self) -> tuple[Tensor, ...]:
        """After the last step, as in `Sequence.state`."""
        return tuple(line.clone().reshape(shape) for line, shape in zip(self._lines, self._shapes, strict=True))

    def __call__(self, x: Tensor) -> Tensor:
        """The output (batch, output_size) for the next input (batch, input_size)."""
        self._x[0] = x
        self._perform(*self._work)
        return self._output[0].clone()


def _tensors(cell: Cell) -> list[Tensor]:
    modules = cell.modules() if cell._modules else (cell,)
    return [t for m in modules for of in (m._parameters, m._buffers) for t in of.values() if t is not None]


def _seen(cell: Cell) -> list[tuple[int, int]]:
    """What changes when a parameter does."""
    return [(t.data_ptr(), t._version) for t in _tensors(cell)]
