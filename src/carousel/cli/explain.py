"""`carousel explain CELL`."""

from __future__ import annotations

from typing import Annotated

import tyro

from ..errors import CellError, UsageError
from .parse import parse

__all__ = ["run"]


def run(arguments: list[str]) -> None:
    """Parse and print."""
    parse("explain", _explain, arguments)


def _explain(
    cell: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CELL")],
    input_size: int = 64,
    hidden_size: int = 128,
    stage: str | None = None,
) -> None:
    """Show what the compiler makes of a cell: what is hoisted, what is fused, what is kept, and the code.

    Args:
        cell: A cell's name, or FILE.py:Class for your own.
        input_size: Features per step.
        hidden_size: Hidden units.
        stage: Only one of summary, capture, analysis, backward, schedule, code; all but the code if not given.
    """
    from ..cells.loading import load_cell
    from ..engine import STAGES, explain

    if stage is not None and stage not in STAGES:
        raise UsageError(f"There is no stage {stage!r}; the stages are {', '.join(STAGES)}.")
    source = load_cell(cell)
    try:
        made = source.cell_class(input_size, hidden_size, **source.options)
    except TypeError as error:
        raise CellError(f"{source.name} can't be made with an input size and a hidden size: {error}.") from error
    print(explain(made, STAGES[:-1] if stage is None else (stage,)))
