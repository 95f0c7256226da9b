"""What every backend is given and gives back: one cell, one direction, one whole sequence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..cells.base import Cell
from ..errors import CellError

__all__ = ["Result", "Sequence", "begin", "start_state", "state_before"]


@dataclass(frozen=True)
class Sequence:
    """The input of one cell over time.

    Attributes:
        x: (time, batch, input_size).
        state: one tensor per state before the first step, (batch, *shape); for a state with delays
            (depth, batch, *shape), the newest first, depth the largest tap; None for the cell's own start.
        lengths: (batch,) steps of each row, or None when all have `time`. Beyond its length a row's output is zero and
            its state stays.
        reset: (time, batch) bool, or None; where true the initial state is put in before that step.
        generator: source of the random numbers that `Cell.begin` draws.
        record: keep the states of every step.
        recompute: keep the states of every n-th step only and compute the others again in the backward pass; 0 keeps
            everything.
    """

    x: Tensor
    state: tuple[Tensor, ...] | None
    lengths: Tensor | None = None
    reset: Tensor | None = None
    generator: torch.Generator | None = None
    record: bool = False
    recompute: int = 0


@dataclass(frozen=True)
class Result:
    """What came out.

    Attributes:
        output: (time, batch, output_size).
        state: the last state, in the layout of `Sequence.state`.
        steps: on request, for every state and step, the state (batch, *shape) and the tensor that the cell made, whose
            `grad` will be the total gradient. They differ where a row has ended: its state stays.
    """

    output: Tensor
    state: tuple[Tensor, ...]
    steps: tuple[list[tuple[Tensor, Tensor]], ...] | None = None


def start_state(cell: Cell, batch: int, *, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """`cell.initial_state`, checked, with delay lines filled with it.

    Raises:
        CellError: the cell returns other shapes than `state_sizes` declares.
    """
    values = cell.initial_state(batch, dtype=dtype, device=device)
    check_states(cell, values, batch, "initial_state()")
    if not cell.delays:
        return tuple(values)
    depths = (max(taps) if name in cell.delays else 0 for name, taps in cell.taps.items())
    return tuple(v.expand(depth, *v.shape) if depth else v for v, depth in zip(values, depths, strict=True))


def state_before(cell: Cell, sequence: Sequence) -> tuple[Tensor, ...]:
    """The state before the first step."""
    if sequence.state is not None:
        return sequence.state
    x = sequence.x
    return start_state(cell, x.shape[1], dtype=x.dtype, device=x.device)


def begin(cell: Cell, sequence: Sequence) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
    """What `Cell.begin` gives for this sequence, (constants, per step), checked; None where the cell has none."""
    method = getattr(cell, "begin", None)
    if method is None:
        return None
    time, batch = sequence.x.shape[:2]
    constants, per_step = method(time, batch, sequence.generator)
    for name, value in per_step.items():
        if value.shape[:1] != (time,):
            raise CellError(
                f"{type(cell).__name__}.begin() gave per-step {name!r} of shape {tuple(value.shape)}; its first "
                f"dimension is time and must be {time}."
            )
    return constants, per_step


def check_states(cell: Cell, values: tuple[Tensor, ...], batch: int, source: str) -> None:
    """Raise a CellError that names the state and both shapes unless `values` are what the cell declares."""
    name, shapes = type(cell).__name__, cell.state_shapes
    if not isinstance(values, tuple | list) or len(values) != len(shapes):
        got = f"{len(values)} of them" if isinstance(values, tuple | list) else f"a {type(values).__name__}"
        raise CellError(
            f"{name}.{source} must give a tuple of {len(shapes)} state(s), {', '.join(shapes)}; it gave {got}."
        )
    for (state, shape), value in zip(shapes.items(), values, strict=True):
        if not isinstance(value, Tensor) or tuple(value.shape) != (batch, *shape):
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise CellError(
                f"{name}.{source} gave state {state!r} with {got}; state_sizes declares {(batch, *shape)}, "
                f"that is (batch, {', '.join(map(str, shape))})."
            )
