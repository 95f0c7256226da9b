"""Running a program: one autograd operation for all steps of a sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .interpret import interpret
from .kernels import kernels
from .plan import Plan, Size, ld, plan_backward, plan_forward
from .pool import alias, empty, scratch
from .program import Program
from .tables import OWN

__all__ = ["Inputs", "run_loop"]

CHUNK = 1 << 21
"""Numbers in the work buffer of a piece of the sequence, where it need not be kept for a backward pass."""

PLANS = 256
"""Plans that a program keeps."""


@dataclass(frozen=True)
class Shape:
    """How the inputs of a program are put in one list: rows by their leaf names, vectors, matrices, states."""

    time: int
    batch: int
    names: tuple[tuple, ...]
    vectors: int
    matrices: int

    def inputs(self, tensors: Sequence[Tensor]) -> Inputs:
        """The inputs from the list."""
        a = len(self.names)
        b = a + self.vectors
        c = b + self.matrices
        rows = dict(zip(self.names, tensors[:a], strict=True))
        return Inputs(self.time, self.batch, rows, list(tensors[a:b]), list(tensors[b:c]), list(tensors[c:]))


@dataclass
class Inputs:
    """What a program is run on.

    Attributes:
        time, batch: the size of the sequence.
        rows: input leaf name -> (time, batch, n) with features side by side; strides of time and batch may be zero.
        vectors: as `Captured` numbers them, contiguous.
        matrices: as `Captured` numbers them, but transposed, (out, in).
        states: per state the line before the first step, (depth, batch, n), the newest first.
    """

    time: int
    batch: int
    rows: dict[tuple, Tensor]
    vectors: list[Tensor]
    matrices: list[Tensor]
    states: list[Tensor]

    def tensors(self) -> list[Tensor]:
        """All of them, in one list."""
        return [*self.rows.values(), *self.vectors, *self.matrices, *self.states]

    def shape(self) -> Shape:
        """How the list is made."""
        return Shape(self.time, self.batch, tuple(self.rows), len(self.vectors), len(self.matrices))

    def piece(self, start: int, stop: int, states: list[Tensor]) -> Inputs:
        """Steps `start` to `stop`, from these states on."""
        rows = {name: t[start:stop] for name, t in self.rows.items()}
        return Inputs(stop - start, self.batch, rows, self.vectors, self.matrices, states)


@dataclass
class Kept:
    """What a forward pass leaves behind: states of all steps behind their first line, the work rows, the last lines."""

    states: list[Tensor]
    work: Tensor
    collected: list[Tensor]
    last: list[Tensor]


def _plan(program: Program, size: Size, *, backward: bool) -> Plan:
    key = (size, backward)
    plan = program.plans.get(key)
    if plan is None:
        if len(program.plans) >= PLANS:
            program.plans.clear()
        make = plan_backward if backward else plan_forward
        plan = program.plans[key] = make(program, size, kernels(program.libraries[0]))
    return plan


def _perform(program: Program, plan: Plan, address: dict[tuple, int]) -> None:
    with scratch(plan.tables.own_bytes) as own:
        address[OWN] = own
        words, start = plan.tables.with_addresses([address[name] for name in plan.tables.buffers])
        program.libraries[0].perform(start + plan.commands, plan.count, plan.threads)
        del words


def _strides(t: Tensor) -> tuple[int, int]:
    return t.stride()[:2]  # pyright: ignore[reportReturnType]


def _side_by_side(t: Tensor) -> Tensor:
    """With features side by side."""
    return t if t.stride(2) == 1 or t.shape[2] == 1 else t.contiguous()


def _of_inputs(inputs: Inputs) -> tuple[dict[tuple, int], Callable[..., Size]]:
    """Addresses of the rows, vectors and matrices, and what of them a plan depends on."""
    address: dict[tuple, int] = {("input", name): t.data_ptr() for name, t in inputs.rows.items()}
    for kind, tensors in (("vector", inputs.vectors), ("matrix", inputs.matrices)):
        for i, t in enumerate(tensors):
            address[kind, i] = t.data_ptr()
    rows = tuple([(name, _strides(t)) for name, t in inputs.rows.items()])
    matrices = tuple([(t.stride(1), t.stride(0)) for t in inputs.matrices])
    return address, partial(Size, inputs.time, inputs.batch, torch.get_num_threads(), rows, matrices)


def forward_piece(program: Program, inputs: Inputs, targets: dict[int, Tensor], out: list[Tensor | None]) -> Kept:
    """Run the forward loop; `targets` are buffers for states, `out` for collected values, made where missing."""
    time, batch, dtype = inputs.time, inputs.batch, program.variant.dtype
    lines = [_side_by_side(line) for line in inputs.states]
    address, size = _of_inputs(inputs)
    states, last = [], []
    for k, (line, depth, n) in enumerate(zip(lines, program.depths, program.captured.widths, strict=True)):
        buffer = targets.get(k)
        if buffer is None:
            buffer = empty((depth + time, batch, n), dtype)
        states.append(buffer)
        last.append(torch.empty(depth, batch, n, dtype=dtype))
        address["state", k], address["line", k] = buffer.data_ptr(), line.data_ptr()
        address["last", k] = last[-1].data_ptr()
    work = empty((time, batch, program.width), dtype)
    address["work",] = work.data_ptr()
    collected = []
    for i, (node, k) in enumerate(zip(program.analyzed.collected, program.collected_state, strict=True)):
        if k is not None:
            collected.append(alias(states[k], program.depths[k] * batch * node.n, (time, batch, node.n)))
            continue
        made = out[i] if i < len(out) else None
        made = empty((time, batch, node.n), dtype) if made is None else made
        address["collected", i] = made.data_ptr()
        collected.append(made)
    plan = _plan(program, size(tuple([_strides(line) for line in lines])), backward=False)
    _perform(program, plan, address)
    return Kept(states, work, collected, last)


@dataclass
class Gradients:
    """Of everything in `Inputs` but the states; `begun` when vectors and matrices hold sums already."""

    rows: dict[tuple, Tensor]
    vectors: list[Tensor]
    matrices: list[Tensor]
    begun: bool = False


def backward_piece(
    program: Program,
    inputs: Inputs,
    kept: Kept,
    given: list[Tensor | None],
    lines: list[Tensor | None],
    into: Gradients,
) -> list[Tensor]:
    """Run the backward loop over a piece and add to `into`; returns the gradients of the states before it.

    Args:
        program: the program.
        inputs: what the forward pass saw.
        kept: what it left; its work rows are overwritten.
        given: the gradient of each collected value, None for zero.
        lines: the gradients of the states after it, (depth, batch, n), the newest first, None for zero.
        into: sums; the rows' entries are written.
    """
    time, batch, dtype = inputs.time, inputs.batch, program.variant.dtype
    address, size = _of_inputs(inputs)
    given = [None if d is None else _side_by_side(d) for d in given]
    lines = [None if d is None else _side_by_side(d) for d in lines]
    late = empty((time, batch, program.late_width), dtype)
    before = [
        torch.empty(depth, batch, n, dtype=dtype)
        for depth, n in zip(program.depths, program.captured.widths, strict=True)
    ]
    address["work",], address["late",] = kept.work.data_ptr(), late.data_ptr()
    for kind, tensors in (
        ("state", kept.states),
        ("given", given),
        ("after", lines),
        ("before", before),
        ("d vector", into.vectors),
        ("d matrix", into.matrices),
    ):
        for i, t in enumerate(tensors):
            if t is not None:
                address[kind, i] = t.data_ptr()
    for name, t in into.rows.items():
        address["d input", name] = t.data_ptr()
    strides = [tuple([None if d is None else _strides(d) for d in ds]) for ds in (lines, given)]
    plan = _plan(program, size(*strides, tuple(into.rows), into.begun), backward=True)
    _perform(program, plan, address)
    into.begun = True
    return before


class _Loop(torch.autograd.Function):
    """All steps: (collected values…, final lines…)."""

    @staticmethod
    def forward(ctx: Any, program: Program, shape: Shape, recompute: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs = shape.inputs(tensors)
        ctx.program, ctx.shape, ctx.recompute = program, shape, recompute
        needed = any(ctx.needs_input_grad)
        ctx.kept = None
        if needed and not recompute:
            kept = forward_piece(program, inputs, {}, [])
            collected, lines = kept.collected, kept.last
            ctx.kept = (kept.states, kept.work)
        else:
            step = recompute if needed else max(1, CHUNK // max(1, program.width * inputs.batch))
            collected, lines, ctx.lines = _in_pieces(program, inputs, step)
            if not needed:
                ctx.lines = None
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *collected)
        return (*collected, *lines)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        program: Program = ctx.program
        saved = ctx.saved_tensors
        count = len(program.analyzed.collected)
        tensors, collected = saved[: len(saved) - count], saved[len(saved) - count :]
        given, lines_after = list(gradients[:count]), list(gradients[count:])
        if torch.is_grad_enabled():
            return (
                None,
                None,
                None,
                *_backward_by_torch(program, ctx.shape, tensors, gradients, ctx.needs_input_grad[3:]),
            )
        inputs = ctx.shape.inputs(tensors)
        dtype, lines = program.variant.dtype, lines_after
        needs = iter(ctx.needs_input_grad[3:])
        needed_rows = [name for name in inputs.rows if next(needs)]
        into = Gradients(
            {name: empty((inputs.time, inputs.batch, inputs.rows[name].shape[2]), dtype) for name in needed_rows},
            [torch.empty(v.shape, dtype=dtype) for v in inputs.vectors],
            [empty(tuple(m.shape), dtype) for m in inputs.matrices],
        )
        if ctx.recompute:
            before = _back_in_pieces(program, inputs, ctx.recompute, ctx.lines, given, lines, into)
        else:
            if ctx.kept is None:  # a second backward pass: the first has overwritten the work rows
                again = forward_piece(program, inputs, {}, [])
                ctx.kept = (again.states, again.work)
            states, work = ctx.kept
            ctx.kept = None
            before = backward_piece(program, inputs, Kept(states, work, [], []), given, lines, into)
        del collected
        row_gradients = [into.rows.get(name) for name in inputs.rows]
        return (None, None, None, *row_gradients, *into.vectors, *into.matrices, *before)


def _pieces(time: int, step: int) -> list[tuple[int, int]]:
    return [(start, min(start + step, time)) for start in range(0, time, step)]


def _in_pieces(program: Program, inputs: Inputs, step: int) -> tuple[list[Tensor], list[Tensor], list[list[Tensor]]]:
    """The forward pass piece by piece: collected values, last lines, and the lines before every piece."""
    time, batch, dtype = inputs.time, inputs.batch, program.variant.dtype
    whole = {}
    collected = []
    for node, k in zip(program.analyzed.collected, program.collected_state, strict=True):
        if k is None:
            collected.append(empty((time, batch, node.n), dtype))
        else:
            depth = program.depths[k]
            whole[k] = empty((depth + time, batch, node.n), dtype)
            collected.append(alias(whole[k], depth * batch * node.n, (time, batch, node.n)))
    lines, before = list(inputs.states), []
    for start, stop in _pieces(time, step):
        before.append(lines)
        targets = {k: b[start : stop + program.depths[k]] for k, b in whole.items()}
        out = [
            None if k is not None else c[start:stop] for c, k in zip(collected, program.collected_state, strict=True)
        ]
        kept = forward_piece(program, inputs.piece(start, stop, lines), targets, out)
        lines = kept.last
    return collected, lines, before


def _back_in_pieces(
    program: Program,
    inputs: Inputs,
    step: int,
    before: list[list[Tensor]],
    given: list[Tensor | None],
    lines: list[Tensor | None],
    into: Gradients,
) -> list[Tensor]:
    """The backward pass of a forward pass in pieces: each is computed again from the states before it."""
    for (start, stop), states in reversed(list(zip(_pieces(inputs.time, step), before, strict=True))):
        piece = inputs.piece(start, stop, states)
        kept = forward_piece(program, piece, {}, [])
        rows = {name: t[start:stop] for name, t in into.rows.items()}
        part = Gradients(rows, into.vectors, into.matrices, into.begun)
        of_piece = [None if d is None else d[start:stop] for d in given]
        lines = list(backward_piece(program, piece, kept, of_piece, lines, part))
        into.begun = True
    return lines  # pyright: ignore[reportReturnType]


def _backward_by_torch(
    program: Program, shape: Shape, tensors: tuple[Tensor, ...], gradients: tuple[Tensor | None, ...], needs: Any
) -> list[Tensor | None]:
    """The gradients as differentiable tensors, by running the graph with PyTorch: for derivatives of higher order."""
    with torch.enable_grad():
        tensors = tuple(t.view_as(t) for t in tensors)  # one may be made from another outside; here they are apart
        outputs = loop_by_torch(program, shape.inputs(tensors))
        pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None and o.requires_grad]
        wanted = [t for t, need in zip(tensors, needs, strict=True) if need]
        found = iter(
            torch.autograd.grad(
                [o for o, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True
            )
        )
        return [next(found) if need else None for need in needs]


def loop_by_torch(program: Program, inputs: Inputs) -> list[Tensor]:
    """What `_Loop` gives, step by step with PyTorch's operations."""
    analyzed = program.analyzed
    histories = [list(line.unbind(0))[::-1] for line in inputs.states]
    collected: list[list[Tensor]] = [[] for _ in analyzed.collected]
    matrices = [m.t() for m in inputs.matrices]
    for t in range(inputs.time):

        def leaf(name: tuple, t: int = t) -> Tensor:
            if name[0] == "state":
                return histories[name[1]][-name[2]]
            if name[0] == "vector":
                return inputs.vectors[name[1]]
            if name[0] == "hoisted":
                return interpret([analyzed.hoisted[name[1]]], leaf, matrices)[0]
            return inputs.rows[name][t]

        values = interpret([*analyzed.collected, *analyzed.states], leaf, matrices)
        for into, value in zip([*collected, *histories], values, strict=True):
            into.append(value.expand(inputs.batch, -1))
    lines = [torch.stack(h[-d:][::-1]) for h, d in zip(histories, program.depths, strict=True)]
    return [*(torch.stack(c) for c in collected), *lines]


def run_loop(program: Program, inputs: Inputs, recompute: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Run a program: the collected values (time, batch, n), and the lines of the states after the last step."""
    count = len(program.analyzed.collected)
    for name, t in inputs.rows.items():
        if name in program.flat_leaves and ld(inputs.time, inputs.batch, _strides(t)) is None:
            inputs.rows[name] = t.contiguous()
    made = _Loop.apply(program, inputs.shape(), recompute, *inputs.tensors())
    return list(made[:count]), list(made[count:])
