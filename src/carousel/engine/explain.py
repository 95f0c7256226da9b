"""What the compiler makes of a cell, stage by stage, as text."""

from __future__ import annotations

import torch
from torch import Tensor

from ..cells.base import Cell
from .build import BuildError, compiler, instruction_set
from .compiled import Obstacle, program_for
from .graph import Node, order
from .program import Program
from .schedule import Schedule
from .sequence import Sequence, start_state

__all__ = ["STAGES", "explain"]

STAGES = ("summary", "capture", "analysis", "backward", "schedule", "code")


def explain(
    cell: Cell, stages: tuple[str, ...] = ("summary", "analysis", "backward", "schedule"), *, batch: int = 2
) -> str:
    """The stages of `cell`'s compilation, or why it can't be compiled.

    Args:
        cell: with its parameters, as it would be run.
        stages: which of `STAGES` to show; "code" is the generated C++.
        batch: the batch size of the sequence that it is compiled for (it plays no part in the result).

    Example:
        >>> import carousel
        >>> from carousel.engine import explain
        >>> print(explain(carousel.cells.GRU(8, 16), ("summary",)).splitlines()[0])
        GRU(8, 16), float32
    """
    parameter: Tensor | None = next(cell.parameters(), None)
    dtype = torch.float32 if parameter is None else parameter.dtype
    x = torch.zeros(1, batch, cell.input_size, dtype=dtype)
    sequence = Sequence(x.requires_grad_(), start_state(cell, batch, dtype=dtype, device=torch.device("cpu")))
    name = f"{type(cell).__name__}({cell.input_size}, {cell.hidden_size}), {str(dtype).removeprefix('torch.')}"
    with torch.enable_grad():
        program = program_for(cell, sequence)
    if isinstance(program, Obstacle):
        return f"{name}\nis not compiled and runs on the reference loop: {program.reason}."
    text = {
        "summary": lambda: _summary(program),
        "capture": lambda: f"CAPTURE: one step\n{program.captured.text()}",
        "analysis": lambda: f"ANALYSIS: what depends on what\n{program.analyzed.text()}",
        "backward": lambda: f"DIFFERENTIATION\n{program.backward.text()}",
        "schedule": lambda: "\n".join(
            ["SCHEDULE: passes over the rows of a step", _passes("forward", program.forward_schedule),
             _passes("backward", program.backward_schedule)]
        ),
        "code": lambda: f"CODE\n{program.text}",
    }  # fmt: skip
    return "\n\n".join([name, *(text[s]() for s in STAGES if s in stages)])


def _summary(program: Program) -> str:
    analyzed, backward = program.analyzed, program.backward
    item = program.variant.dtype.itemsize
    inside = [n for n in order([*analyzed.collected, *analyzed.states]) if n.kind == "product"]
    recurrent = sum(2 * b.k * b.n for n in inside for b in n.data)
    hoisted = sum(2 * b.k * b.n for n in analyzed.hoisted for b in n.data)
    pointwise = sum(n.n for n in order([*analyzed.collected, *analyzed.states]) if n.kind == "apply")
    states = sum(program.captured.widths)
    kept = program.width + program.late_width
    lines = [
        "SUMMARY, per step and row",
        f"  products in the loop     {recurrent:,} FLOP forward, {2 * recurrent:,} backward",
        f"  products hoisted         {hoisted:,} FLOP forward, {2 * hoisted:,} backward: one large product each",
        f"  element-wise             {pointwise:,} functions",
        f"  weight gradients         {len(backward.weights)} products deferred behind the backward loop",
        f"  kept for the backward    {states * item:,} bytes of states, {kept * item:,} bytes of work rows",
        f"  passes over a row        {len(program.forward_schedule.phases)} forward, "
        f"{len(program.backward_schedule.phases)} backward",
    ]
    if analyzed.before:
        lines.append(f"  before the loop          {len(analyzed.before)} values of the input alone, by PyTorch")
    if analyzed.behind is not None:
        lines.append("  behind the loop          the output, which feeds no state, by PyTorch")
    if analyzed.linear:
        lines.append("  the recurrence           is linear and diagonal: threads share its units and never meet")
    try:
        lines.append(f"  kernels                  {instruction_set()}, built by {compiler()}")
    except BuildError as error:
        lines.append(f"  kernels                  {error}")
    return "\n".join(lines)


def _passes(title: str, schedule: Schedule) -> str:
    lines = [f"# {title}"]
    for number, phase in enumerate(schedule.phases):
        products = f", {len(phase.products)} matrix product(s) in registers" if phase.products else ""
        made = ", ".join(_name(node) for node in phase.nodes)
        to = ", ".join(" ".join(map(str, s.place.name)) for s in phase.stores)
        arrow = f" -> {to}" if to else ""
        lines.append(f"{number}: {phase.kind} over {phase.n}{products}: {made}{arrow}")
    return "\n".join(lines)


def _name(node: Node) -> str:
    return str(node.data) if node.kind == "apply" else node.kind
