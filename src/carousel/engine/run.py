"""Running a program: one autograd operation for all steps of a sequence.

What a call costs besides its arithmetic is a part of a short sequence's time, so this file does little in Python: the
tensors travel in one list, and what depends on their sizes alone is in a plan that was made at the first such call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .interpret import interpret
from .kernels import kernels
from .plan import Plan, Size, Strides, ld, plan_backward, plan_forward
from .pool import empty, reshaped, scratch
from .program import Program

__all__ = ["Shape", "prepare_forward", "run_loop"]

PLANS = 256
"""Plans that a program keeps."""


class Shape(NamedTuple):
    """How the inputs of a program are put in one list.

    First come the rows of the input leaves `names`, (time, batch, n) with features side by side (the strides of time
    and batch may be zero); then `vectors` vectors as `Captured` numbers them, contiguous; then `matrices` matrices as
    it numbers them, but transposed, (out, in); and last, unless the states start at zero, per state the line before the
    first step, (depth, batch, n), the newest first; where the depth is 1, (batch, n) will do.
    """

    time: int
    batch: int
    names: tuple[tuple, ...]
    vectors: int
    matrices: int
    started: bool

    def parts(self, tensors: Any) -> tuple[Any, Any, Any, Any]:
        """The list in its four parts."""
        a = len(self.names)
        b = a + self.vectors
        c = b + self.matrices
        return tensors[:a], tensors[a:b], tensors[b:c], tensors[c:]


@dataclass
class Kept:
    """What a forward pass leaves behind: states of all steps behind their first line, the work rows, the last lines."""

    states: list[Tensor]
    work: Tensor
    collected: list[Tensor]
    last: list[Tensor]


@dataclass
class Gradients:
    """Of the rows that are wanted, by leaf name, of vectors and matrices; `begun` when these hold sums already."""

    rows: dict[tuple, Tensor]
    vectors: list[Tensor]
    matrices: list[Tensor]
    begun: bool = False


def _side_by_side(t: Tensor) -> Tensor:
    """With features side by side."""
    return t if t.stride(2) == 1 or t.shape[2] == 1 else t.contiguous()


def _line(t: Tensor) -> Tensor:
    """With the dimension for delays, which states without any leave out."""
    return t if t.ndim == 3 else t.unsqueeze(0)


def _strides(tensors: list[Tensor | None]) -> tuple[Strides | None, ...]:
    return tuple([None if t is None else t.stride()[:2] for t in tensors])  # pyright: ignore[reportReturnType]


def _numbered(kind: str, of: list[Any]) -> list[tuple]:
    return [(kind, i) for i, t in enumerate(of) if t is not None]


def _perform(program: Program, plan: Plan, tensors: list[Tensor]) -> None:
    with scratch(plan.tables.own_bytes) as own:
        words, start = plan.tables.filled(own, [t.data_ptr() for t in tensors])
        program.libraries[0].perform(start + plan.commands, plan.count, plan.threads)
        del words


def _keep(program: Program, key: tuple, plan: Plan) -> Plan:
    if len(program.plans) >= PLANS:
        program.plans.clear()
    program.plans[key] = plan
    return plan


def forward_piece(
    program: Program,
    shape: Shape,
    tensors: list[Tensor],
    targets: dict[int, Tensor] | None = None,
    out: list[Tensor] | None = None,
) -> Kept:
    """Run the forward loop; arguments as in `prepare_forward`."""
    plan, used, kept = prepare_forward(program, shape, tensors, targets, out)
    _perform(program, plan, used)
    return kept


def prepare_forward(
    program: Program,
    shape: Shape,
    tensors: list[Tensor],
    targets: dict[int, Tensor] | None = None,
    out: list[Tensor] | None = None,
    last: list[Tensor] | None = None,
) -> tuple[Plan, list[Tensor], Kept]:
    """The plan of a forward pass, the tensors that it works on, and what it will leave behind.

    Buffers are made where none are given: `targets` for states (by number), `out` for collected values, `last` for the
    last lines.
    """
    time, batch, dtype = shape.time, shape.batch, program.variant.dtype
    rows, vectors, matrices, lines = shape.parts(tensors)
    lines = [_side_by_side(_line(line)) for line in lines]
    states: list[Tensor | None] = []
    for k, (depth, n) in enumerate(program.lines):
        if k in program.turning:
            states.append(None)
        else:
            states.append(targets[k] if targets and k in targets else empty((depth + time, batch, n), dtype))
    if last is None:
        shapes = [(batch, n) if depth == 1 else (depth, batch, n) for depth, n in program.lines]
        last = [torch.empty(shape, dtype=dtype) for shape in shapes]
    work = empty((time, batch, program.width), dtype) if program.variant.backward else None
    collected, own = [], []
    for i, (n, k) in enumerate(program.collected):
        made = out[i] if out else None
        if k is not None:
            depth, of_state = program.lines[k][0], states[k]
            assert of_state is not None
            made = reshaped(of_state, depth * batch * n, (time, batch, n)) if made is None else made
        else:
            made = empty((time, batch, n), dtype) if made is None else made
            own.append(made)
        collected.append(made)
    parts: list[Any] = [*rows, *vectors, *matrices, *lines, *states, *last, work, *own]
    threads = torch.get_num_threads()
    key = (shape, threads, *[t.stride() for t in rows], *[t.stride() for t in matrices], *[t.stride() for t in lines])
    plan = program.plans.get(key)
    if plan is None:
        size = _size(shape, threads, rows, matrices, lines)
        names = [
            *_names(shape),
            *_numbered("line", lines),
            *_numbered("state", states),
            *_numbered("last", last),
            *([("work",)] if work is not None else []),
            *[("collected", i) for i, (_, k) in enumerate(program.collected) if k is None],
        ]
        plan = _keep(program, key, plan_forward(program, size, kernels(program.libraries[0]), names))
    kept = Kept(states, work, collected, last)  # pyright: ignore[reportArgumentType]
    return plan, [t for t in parts if t is not None], kept


def _size(shape: Shape, threads: int, rows: Any, matrices: Any, lines: Any, **more: Any) -> Size:
    return Size(
        shape.time,
        shape.batch,
        threads,
        tuple(zip(shape.names, _strides(rows), strict=True)),  # pyright: ignore[reportArgumentType]
        tuple((t.stride(1), t.stride(0)) for t in matrices),
        _strides(lines),
        **more,
    )


def _names(shape: Shape) -> list[tuple]:
    """Of the buffers that a program is run on, without states."""
    rows = [("input", name) for name in shape.names]
    return [*rows, *[("vector", i) for i in range(shape.vectors)], *[("matrix", i) for i in range(shape.matrices)]]


def backward_piece(
    program: Program,
    shape: Shape,
    tensors: list[Tensor],
    kept: Kept,
    given: list[Tensor | None],
    lines: list[Tensor | None],
    into: Gradients,
) -> list[Tensor]:
    """Run the backward loop over a piece and add to `into`; returns the gradients of the states before it.

    Args:
        program: the program.
        shape, tensors: what the forward pass saw.
        kept: what it left; its work rows are overwritten.
        given: the gradient of each collected value, None for zero.
        lines: the gradients of the states after it, as the forward pass gives these, None for zero.
        into: sums; the rows' entries are written.
    """
    time, batch, dtype = shape.time, shape.batch, program.variant.dtype
    rows, vectors, matrices, started = shape.parts(tensors)
    given = [None if d is None else _side_by_side(d) for d in given]
    lines = [None if d is None else _side_by_side(_line(d)) for d in lines]
    late = empty((time, batch, program.late_width), dtype) if program.late_width else None
    before = [torch.empty(_line(t).shape, dtype=dtype) for t in started]
    parts: list[Any] = [
        *rows, *vectors, *matrices, kept.work, late, *kept.states, *given, *lines, *before,
        *into.rows.values(), *into.vectors, *into.matrices,
    ]  # fmt: skip
    threads, wanted = torch.get_num_threads(), tuple(into.rows)
    strides = [None if t is None else t.stride() for t in (*rows, *matrices, *given, *lines)]
    key = (shape, threads, wanted, into.begun, *strides)
    plan = program.plans.get(key)
    if plan is None:
        more = {"given": _strides(given), "wanted": wanted, "starts": bool(before), "add": into.begun}
        names = [
            *_names(shape),
            ("work",),
            *([("late",)] if late is not None else []),
            *_numbered("state", kept.states),
            *_numbered("given", given),
            *_numbered("after", lines),
            *_numbered("before", before),
            *[("d input", name) for name in wanted],
            *_numbered("d vector", into.vectors),
            *_numbered("d matrix", into.matrices),
        ]
        size = _size(shape, threads, rows, matrices, lines, **more)
        plan = _keep(program, key, plan_backward(program, size, kernels(program.libraries[0]), names))
    _perform(program, plan, [t for t in parts if t is not None])
    into.begun = True
    return before


class _Loop(torch.autograd.Function):
    """All steps: (collected values…, final lines…)."""

    @staticmethod
    def forward(ctx: Any, program: Program, shape: Shape, recompute: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.program, ctx.shape, ctx.recompute = program, shape, recompute
        ctx.kept = None
        if recompute:
            collected, lines, ctx.lines = _in_pieces(program, shape, list(tensors), recompute)
        else:
            kept = forward_piece(program, shape, list(tensors))
            collected, lines = kept.collected, kept.last
            ctx.kept = (kept.states, kept.work)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *collected)
        return (*collected, *lines)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        program: Program = ctx.program
        shape: Shape = ctx.shape
        saved = ctx.saved_tensors
        count = len(program.collected)
        tensors = list(saved[: len(saved) - count])
        given, lines_after = list(gradients[:count]), list(gradients[count:])
        needs = ctx.needs_input_grad[3:]
        if torch.is_grad_enabled():
            return (None, None, None, *_backward_by_torch(program, shape, tensors, gradients, needs))
        dtype, (rows, vectors, matrices, started) = program.variant.dtype, shape.parts(tensors)
        into = Gradients(
            {
                name: empty(tuple(t.shape), dtype)
                for name, t, need in zip(shape.names, rows, needs, strict=False)
                if need
            },
            [torch.empty(v.shape, dtype=dtype) for v in vectors],
            [empty(tuple(m.shape), dtype) for m in matrices],
        )
        if ctx.recompute:
            before = _back_in_pieces(program, shape, tensors, ctx.recompute, ctx.lines, given, lines_after, into)
        else:
            if ctx.kept is None:  # a second backward pass: the first has overwritten the work rows
                again = forward_piece(program, shape, tensors)
                ctx.kept = (again.states, again.work)
            states, work = ctx.kept
            ctx.kept = None
            before = backward_piece(program, shape, tensors, Kept(states, work, [], []), given, lines_after, into)
        row_gradients = [into.rows.get(name) for name in shape.names]
        return (None, None, None, *row_gradients, *into.vectors, *into.matrices, *before[: len(started)])


def _pieces(time: int, step: int) -> list[tuple[int, int]]:
    return [(start, min(start + step, time)) for start in range(0, time, step)]


def _piece(
    shape: Shape, tensors: list[Tensor], start: int, stop: int, lines: list[Tensor]
) -> tuple[Shape, list[Tensor]]:
    """Steps `start` to `stop`, from these states on."""
    rows, vectors, matrices, _ = shape.parts(tensors)
    of_piece = [*(t[start:stop] for t in rows), *vectors, *matrices, *lines]
    return shape._replace(time=stop - start, started=bool(lines)), of_piece


def _in_pieces(
    program: Program, shape: Shape, tensors: list[Tensor], step: int
) -> tuple[list[Tensor], list[Tensor], list[list[Tensor]]]:
    """The forward pass piece by piece: collected values, last lines, and the lines before every piece."""
    time, batch, dtype = shape.time, shape.batch, program.variant.dtype
    whole: dict[int, Tensor] = {}
    collected = []
    for n, k in program.collected:
        if k is None:
            collected.append(empty((time, batch, n), dtype))
        else:
            depth, _ = program.lines[k]
            whole[k] = empty((depth + time, batch, n), dtype)
            collected.append(reshaped(whole[k], depth * batch * n, (time, batch, n)))
    lines, before = list(shape.parts(tensors)[3]), []
    for start, stop in _pieces(time, step):
        before.append(lines)
        targets = {k: b[start : stop + program.lines[k][0]] for k, b in whole.items()}
        out = [c[start:stop] for c in collected]
        lines = forward_piece(program, *_piece(shape, tensors, start, stop, lines), targets, out).last
    return collected, lines, before


def _back_in_pieces(
    program: Program,
    shape: Shape,
    tensors: list[Tensor],
    step: int,
    before: list[list[Tensor]],
    given: list[Tensor | None],
    lines: list[Tensor | None],
    into: Gradients,
) -> list[Tensor]:
    """The backward pass of a forward pass in pieces: each is computed again from the states before it."""
    first: list[Tensor] = []
    for (start, stop), states in reversed(list(zip(_pieces(shape.time, step), before, strict=True))):
        piece = _piece(shape, tensors, start, stop, states)
        kept = forward_piece(program, *piece)
        rows = {name: t[start:stop] for name, t in into.rows.items()}
        part = Gradients(rows, into.vectors, into.matrices, into.begun)
        of_piece = [None if d is None else d[start:stop] for d in given]
        first = backward_piece(program, *piece, kept, of_piece, lines, part)
        lines = list(first)
        into.begun = True
    return first


def _backward_by_torch(
    program: Program, shape: Shape, tensors: list[Tensor], gradients: tuple[Tensor | None, ...], needs: Any
) -> list[Tensor | None]:
    """The gradients as differentiable tensors, by running the graph with PyTorch: for derivatives of higher order."""
    with torch.enable_grad():
        tensors = [t.view_as(t) for t in tensors]  # one may be made from another outside; here they are apart
        outputs = loop_by_torch(program, shape, tensors)
        pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None and o.requires_grad]
        wanted = [t for t, need in zip(tensors, needs, strict=True) if need]
        found = iter(
            torch.autograd.grad(
                [o for o, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True
            )
        )
        return [next(found) if need else None for need in needs]


def loop_by_torch(program: Program, shape: Shape, tensors: list[Tensor]) -> list[Tensor]:
    """What `_Loop` gives, step by step with PyTorch's operations."""
    analyzed = program.analyzed
    rows, vectors, matrices, lines = shape.parts(tensors)
    rows, matrices = dict(zip(shape.names, rows, strict=True)), [m.t() for m in matrices]
    if not shape.started:
        lines = [torch.zeros(depth, shape.batch, n, dtype=program.variant.dtype) for depth, n in program.lines]
    histories = [list(_line(line).unbind(0))[::-1] for line in lines]
    collected: list[list[Tensor]] = [[] for _ in analyzed.collected]
    for t in range(shape.time):

        def leaf(name: tuple, t: int = t) -> Tensor:
            if name[0] == "state":
                return histories[name[1]][-name[2]]
            if name[0] == "vector":
                return vectors[name[1]]
            if name[0] == "hoisted":
                return interpret([analyzed.hoisted[name[1]]], leaf, matrices)[0]
            return rows[name][t]

        values = interpret([*analyzed.collected, *analyzed.states], leaf, matrices)
        for into, value in zip([*collected, *histories], values, strict=True):
            into.append(value.expand(shape.batch, -1))
    last = [h[-1] if d == 1 else torch.stack(h[-d:][::-1]) for h, (d, _) in zip(histories, program.lines, strict=True)]
    return [*(torch.stack(c) for c in collected), *last]


def run_loop(
    program: Program, shape: Shape, tensors: list[Tensor], recompute: int = 0
) -> tuple[list[Tensor], list[Tensor]]:
    """Run a program: the collected values (time, batch, n), and the lines after the last step, (batch, n) if of one."""
    count = len(program.collected)
    for i, name in enumerate(shape.names):
        if name in program.flat_leaves and ld(shape.time, shape.batch, tensors[i].stride()[:2]) is None:  # pyright: ignore[reportArgumentType]
            tensors[i] = tensors[i].contiguous()
    if not program.variant.backward:
        kept = forward_piece(program, shape, tensors)
        return kept.collected, kept.last
    made = _Loop.apply(program, shape, recompute, *tensors)
    return list(made[:count]), list(made[count:])
