"""The plain loop: what every other backend must equal, for any cell, differentiable to any order.

`x` is unbound once: indexing `x[t]` inside the loop would make the backward pass write a full-size zero tensor at each
step, quadratic in the length.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..cells.base import Cell
from ..errors import CellError
from .sequence import Result, Sequence, begin, check_states, start_state, state_before

__all__ = ["run_reference"]

Line = list[Tensor]
"""The past values of one state, the newest first; a single one unless the cell declares delays."""


def run_reference(cell: Cell, sequence: Sequence) -> Result:
    """Run `cell` over the sequence, step by step."""
    x, reset, active = sequence.x, sequence.reset, None
    batch = x.shape[1]
    if sequence.lengths is not None:
        active = torch.arange(x.shape[0], device=x.device).unsqueeze(1) < sequence.lengths
        x = x.masked_fill(~active.unsqueeze(2), 0.0)  # NaN in the padding would reach the gradients as 0 · NaN
        reset = None if reset is None else reset & active
    taps = cell.taps
    delayed = [name in cell.delays for name in taps]
    lines = [list(s.unbind(0)) if d else [s] for s, d in zip(state_before(cell, sequence), delayed, strict=True)]
    fresh = None
    if reset is not None:
        initial = start_state(cell, batch, dtype=x.dtype, device=x.device)
        fresh = [list(s.unbind(0)) if d else [s] for s, d in zip(initial, delayed, strict=True)]
    extras = begin(cell, sequence)
    constants, per_step = {}, None
    if extras is not None:
        constants, per_step = extras[0], {name: value.unbind(0) for name, value in extras[1].items()}
    outputs: list[Tensor] = []
    steps: tuple[list[tuple[Tensor, Tensor]], ...] = tuple([] for _ in lines)

    for t, x_t in enumerate(x.unbind(0)):
        if fresh is not None and reset is not None:
            lines = [_select(reset[t], f, line) for f, line in zip(fresh, lines, strict=True)]
        seen = tuple(
            tuple(line[tap - 1] for tap in d) if is_line else line[0]
            for line, d, is_line in zip(lines, taps.values(), delayed, strict=True)
        )
        extra = None if per_step is None else {**constants, **{name: v[t] for name, v in per_step.items()}}
        output, new = _step(cell, x_t, seen, extra, check=t == 0)
        if sequence.record:  # a state that is passed on unchanged is a new one all the same: each has its own gradient
            new = tuple(n.view_as(n) if n is line[0] else n for n, line in zip(new, lines, strict=True))
        moved = [[n, *line[:-1]] for n, line in zip(new, lines, strict=True)]
        if active is not None:
            moved = [_select(active[t], m, line) for m, line in zip(moved, lines, strict=True)]
            output = _where(active[t], output, torch.zeros_like(output))
        lines = moved
        outputs.append(output)
        if sequence.record:
            for kept, line, made in zip(steps, lines, new, strict=True):
                if made.requires_grad:
                    made.retain_grad()
                kept.append((line[0], made))

    final = tuple(torch.stack(line) if d else line[0] for line, d in zip(lines, delayed, strict=True))
    return Result(torch.stack(outputs), final, steps if sequence.record else None)


def _step(
    cell: Cell, x: Tensor, state: tuple[Any, ...], extra: dict[str, Tensor] | None, *, check: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One call of `cell.step`; with `check`, its result is held against the contract."""
    before = _versions(x, state) if check else None
    object.__setattr__(cell, "_stepping", True)
    try:
        result = cell.step(x, state) if extra is None else cell.step(x, state, extra)
    finally:
        object.__delattr__(cell, "_stepping")
    if not check:
        return result
    name = type(cell).__name__
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise CellError(f"{name}.step() must return (output, new_state); it returned a {type(result).__name__}.")
    if _versions(x, state) != before:
        raise CellError(f"{name}.step() changes its input or state in place; make new tensors, as `h = h + 1`.")
    output, new = result
    check_states(cell, new, x.shape[0], "step()")
    if not isinstance(output, Tensor) or tuple(output.shape) != (x.shape[0], cell.output_size):
        got = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise CellError(
            f"{name}.step() gave an output of {got}; expected {(x.shape[0], cell.output_size)}, that is (batch, "
            f"output_size). Set self.output_size when it differs from hidden_size."
        )
    return output, new


def _versions(x: Tensor, state: tuple[Any, ...]) -> list[int]:
    flat = [x, *(h for s in state for h in (s if isinstance(s, tuple) else (s,)))]
    return [0 if h.is_inference() else h._version for h in flat]


def _where(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(mask.view(-1, *[1] * (yes.ndim - 1)), yes, no)


def _select(mask: Tensor, yes: Line, no: Line) -> Line:
    return [_where(mask, y, n) for y, n in zip(yes, no, strict=True)]
