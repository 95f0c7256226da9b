"""How states of many layers and directions travel as one value, and the checks at the door of `Recurrent`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..cells.base import Cell
from ..engine import start_state
from ..errors import CellError

__all__ = ["State", "check_input", "pack_state", "unpack_state"]

State = Any
"""A tuple as in `state_sizes`, each (layers x directions, batch, *shape), with delays (layers x directions, depth,
batch, *shape), newest first. For layers whose states differ: a tuple with one such tuple per layer and direction,
without the leading dimension. For a single sequence the batch dimension is left out."""


def check_input(
    x: Any, dims: tuple[str, ...], input_size: int, lengths: Any, reset: Any, parameter: Tensor | None
) -> None:
    """Raise a CellError that names both shapes unless the arguments of `Recurrent.forward` fit together.

    Args:
        x: as the caller gave it.
        dims: the names of the dimensions before the last, such as ("time", "batch").
        input_size: the size of the last dimension.
        lengths: as the caller gave them.
        reset: as the caller gave it.
        parameter: one of the module's parameters, for its dtype.
    """
    for name, value in (("The input", x), ("lengths", lengths), ("reset", reset)):
        if value is not None and not isinstance(value, Tensor):
            raise CellError(f"{name} is a {type(value).__name__}; give a tensor, as torch.as_tensor(...).")
    if x.ndim != len(dims) + 1 or x.shape[-1] != input_size:
        raise CellError(f"The input has shape {tuple(x.shape)}; expected ({', '.join(dims)}, {input_size}).")
    sizes = dict(zip(dims, x.shape, strict=False))
    time, batch = sizes["time"], sizes.get("batch", 1)
    if time == 0:
        raise CellError(f"The input has shape {tuple(x.shape)}: no time steps. Give at least one.")
    if parameter is not None and parameter.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
        raise CellError(f"The input is {x.dtype}, the parameters are {parameter.dtype}; convert one, as x.to(dtype).")
    if lengths is not None:
        if lengths.shape != (batch,) or lengths.dtype == torch.bool or lengths.is_floating_point():
            raise CellError(f"lengths is {lengths.dtype} of {tuple(lengths.shape)}; expected integers of ({batch},).")
        if int(lengths.min()) < 0 or int(lengths.max()) > time:
            raise CellError(
                f"lengths goes from {int(lengths.min())} to {int(lengths.max())}; the input has {time} steps."
            )
    if reset is not None and (reset.shape != x.shape[:-1] or reset.dtype != torch.bool):
        raise CellError(
            f"reset is {reset.dtype} of {tuple(reset.shape)}; expected torch.bool of {tuple(x.shape[:-1])}."
        )


def _alike(cells: list[Cell]) -> bool:
    if len(cells) == 1:
        return True
    first, *others = ((list(c.state_shapes.items()), dict(c.delays)) for c in cells)
    return all(layout == first for layout in others)


def _batch_dim(cell: Cell, name: str) -> int:
    return 1 if name in cell.delays else 0


def pack_state(finals: list[tuple[Tensor, ...]], cells: list[Cell], *, single: bool) -> State:
    """The states of all cells as one `State`."""
    if single:
        finals = [
            tuple(s.squeeze(_batch_dim(c, n)) for s, n in zip(f, c.state_sizes, strict=True))
            for f, c in zip(finals, cells, strict=True)
        ]
    if len(cells) == 1:
        return tuple(value.unsqueeze(0) for value in finals[0])
    if _alike(cells):
        return tuple(torch.stack(values) for values in zip(*finals, strict=True))
    return tuple(finals)


def unpack_state(state: State, cells: list[Cell], x: Tensor, *, single: bool) -> list[tuple[Tensor, ...]]:
    """A `State`, or None for the cells' own start, as one tuple per cell.

    Raises:
        CellError: a shape does not fit; the message names the state and both shapes.
    """
    batch = x.shape[1]
    dtype = None if torch.is_autocast_enabled(x.device.type) else x.dtype
    if state is None:
        return [start_state(c, batch, dtype=x.dtype, device=x.device) for c in cells]
    alike = _alike(cells)
    names = list(cells[0].state_sizes)
    if alike:
        _check_tuple("The state", state, len(names), ", ".join(names))
        for name, value in zip(names, state, strict=True):
            _check_state(name, value, (len(cells), *_expected(cells[0], name, batch, single)), dtype)
        split = list(zip(*(value.unbind(0) for value in state), strict=True))
    else:
        _check_tuple("The state", state, len(cells), "one per cell")
        for number, (cell, values) in enumerate(zip(cells, state, strict=True)):
            of = f"The state of cell {number} ({type(cell).__name__})"
            _check_tuple(of, values, len(cell.state_sizes), ", ".join(cell.state_sizes))
            for name, value in zip(cell.state_sizes, values, strict=True):
                _check_state(name, value, _expected(cell, name, batch, single), dtype)
        split = [tuple(values) for values in state]
    if single:
        split = [
            tuple(s.unsqueeze(_batch_dim(c, n)) for s, n in zip(f, c.state_sizes, strict=True))
            for f, c in zip(split, cells, strict=True)
        ]
    return split


def _expected(cell: Cell, name: str, batch: int, single: bool) -> tuple[int, ...]:
    depth = (max(cell.delays[name]),) if name in cell.delays else ()
    return (*depth, *(() if single else (batch,)), *cell.state_shapes[name])


def _check_tuple(what: str, value: Any, size: int, of: str) -> None:
    if not isinstance(value, tuple | list) or len(value) != size:
        got = f"a tuple of {len(value)}" if isinstance(value, tuple | list) else f"a {type(value).__name__}"
        raise CellError(f"{what} is {got}; expected a tuple of {size}: {of}.")


def _check_state(name: str, value: Any, expected: tuple[int, ...], dtype: torch.dtype | None) -> None:
    if not isinstance(value, Tensor) or tuple(value.shape) != expected:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise CellError(f"State {name!r} has {got}; expected {expected}.")
    if dtype is not None and value.dtype != dtype:
        raise CellError(f"State {name!r} is {value.dtype}, the input {dtype}; convert one, as state.to(dtype).")
