"""Which backend runs a cell: by name, or the fastest that can."""

from __future__ import annotations

from collections.abc import Callable

from ..cells.base import Cell
from ..errors import CellError
from .aten import aten_obstacle, run_aten
from .reference import run_reference
from .sequence import Result, Sequence

__all__ = ["BACKENDS", "Backend", "choose"]

Backend = Callable[[Cell, Sequence], Result]

BACKENDS = ("auto", "reference", "torch")


def choose(name: str, cell: Cell, sequence: Sequence) -> Backend:
    """The function that will run `cell` over `sequence`.

    Raises:
        CellError: the backend is unknown, or asked for by name and unable.
    """
    if name == "reference":
        return run_reference
    if name not in BACKENDS:
        raise CellError(f"There is no backend {name!r}; the backends are {', '.join(BACKENDS)}.")
    obstacle = aten_obstacle(cell, sequence)
    if obstacle is None:
        return run_aten
    if name == "torch":
        raise CellError(f'backend="torch" can\'t run this: {obstacle}. Use backend="auto" or "reference".')
    return run_reference
