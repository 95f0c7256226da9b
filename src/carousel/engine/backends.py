"""Which backend runs a cell: by name, or the fastest that can."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..cells.base import Cell
from ..errors import CellError
from .aten import aten_obstacle, run_aten
from .compiled import note_once, program_for, run_compiled
from .program import Program
from .reference import run_reference
from .sequence import Result, Sequence

__all__ = ["BACKENDS", "Backend", "choose"]

Backend = Callable[[Cell, Sequence], Result]

BACKENDS = ("auto", "reference", "torch", "cpu")


def choose(name: str, cell: Cell, sequence: Sequence) -> Backend:
    """The function that will run `cell` over `sequence`.

    "auto" takes compiled code where there can be some, else PyTorch's kernel where there is one, else the plain loop,
    after one note that says why.

    Raises:
        CellError: the backend is unknown, or asked for by name and unable.
    """
    if name == "reference":
        return run_reference
    if name not in BACKENDS:
        raise CellError(f"There is no backend {name!r}; the backends are {', '.join(BACKENDS)}.")
    if name == "torch":
        return _able(name, aten_obstacle(cell, sequence), run_aten)
    program = program_for(cell, sequence)
    if isinstance(program, Program):
        return partial(run_compiled, program)
    if name == "cpu":
        return _able(name, program.reason, run_reference)
    if aten_obstacle(cell, sequence) is None:
        return run_aten
    if not program.lasting:
        return run_reference

    def noted(cell: Cell, sequence: Sequence) -> Result:
        result = run_reference(cell, sequence)  # first, since it says more clearly what is wrong with a wrong cell
        note_once(cell, program.reason)
        return result

    return noted


def _able(name: str, obstacle: str | None, backend: Backend) -> Backend:
    if obstacle is not None:
        raise CellError(f'backend="{name}" can\'t run this: {obstacle}. Use backend="auto" or "reference".')
    return backend
