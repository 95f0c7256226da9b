"""Running a program: one autograd operation for all steps of a sequence."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .graph import Block, Node
from .interpret import interpret
from .kernels import Kernels, Piece, Term, kernels
from .pool import alias, empty
from .program import Program, Slot
from .render import Code

__all__ = ["Inputs", "kernels_of", "run_loop"]

CHUNK = 1 << 21
"""Numbers in the work buffer of a piece of the sequence, where it need not be kept for a backward pass."""


class _Rows(ctypes.Structure):
    _fields_ = [("p", ctypes.c_void_p), ("t_stride", ctypes.c_long), ("r_stride", ctypes.c_long)]


class _Frame(ctypes.Structure):
    _fields_ = [
        ("runtime", ctypes.c_void_p),
        ("rows", ctypes.c_void_p),
        ("vectors", ctypes.c_void_p),
        ("packed", ctypes.c_void_p),
        ("tables", ctypes.c_void_p),
        ("sizes", ctypes.c_void_p),
        *((name, ctypes.c_long) for name in ("start", "stop", "batch", "threads", "split_units")),
    ]


def kernels_of(program: Program) -> Kernels:
    """The kernels that a program uses."""
    return kernels(program.libraries[0])


@dataclass
class Inputs:
    """What a program is run on.

    Attributes:
        time, batch: the size of the sequence.
        rows: input leaf name -> (time, batch, n) with features side by side; strides of time and batch may be zero.
        vectors, matrices: as `Captured` numbers them; vectors contiguous.
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

    def like(self, tensors: list[Tensor]) -> Inputs:
        """The same with other tensors."""
        it = iter(tensors)
        rows = {name: next(it) for name in self.rows}
        parts = [[next(it) for _ in part] for part in (self.vectors, self.matrices, self.states)]
        return Inputs(self.time, self.batch, rows, *parts)

    def piece(self, start: int, stop: int, states: list[Tensor]) -> Inputs:
        """Steps `start` to `stop`, from these states on."""
        rows = {name: t[start:stop] for name, t in self.rows.items()}
        return Inputs(stop - start, self.batch, rows, self.vectors, self.matrices, states)


@dataclass
class Kept:
    """What a forward pass leaves behind: states of all steps behind their first line, and the work rows."""

    states: list[Tensor]
    work: Tensor
    collected: list[Tensor]


class _Execution:
    """A program with its packed matrices, for one call."""

    def __init__(self, program: Program, inputs: Inputs, *, backward: bool):
        self.program, self.inputs = program, inputs
        self.kernels = kernels_of(program)
        self.dtype = program.variant.dtype
        self.item = self.dtype.itemsize
        self.threads = torch.get_num_threads()
        self.code = program.backward_code if backward else program.forward_code
        self.function: Any = program.libraries[1].backward if backward else program.libraries[1].forward
        blocks = program.backward_packed if backward else program.forward_packed
        self.packed, self.panels = self.kernels.pack(blocks, inputs.matrices)

    def frame(self, rows: dict[tuple, tuple[int, int, int]], time: int) -> None:
        """Call the generated loop; `rows` gives address, time stride and row stride by name, in numbers."""
        code = self.code
        array = (_Rows * max(1, len(code.rows)))(*(_Rows(*rows[name]) for name in code.rows))
        vectors = _pointers([self.inputs.vectors[i].data_ptr() for i in code.vectors])
        packed = _pointers(self.packed[: len(code.packed)])
        tables = _tables(code)
        sizes = (ctypes.c_long * max(1, len(code.sizes)))(*code.sizes)
        batch, threads = self.inputs.batch, self.threads
        split = int(batch < 2 * threads and self.widest() >= 64 * threads)
        if not split:
            threads = max(1, min(threads, batch))
        frame = _Frame(self.kernels.runtime, *map(ctypes.addressof, (array, vectors, packed, tables, sizes)))
        frame.start, frame.stop, frame.batch, frame.threads, frame.split_units = 0, time, batch, threads, split
        self.function(ctypes.byref(frame))

    def widest(self) -> int:
        """Features of the widest state."""
        return max(self.program.captured.widths)

    def scratch(self) -> dict[tuple, tuple[int, int, int]]:
        """Rows for values that live for one step, and the tensor that holds them."""
        names = [name for name in self.code.rows if name[0] == "scratch"]
        if not names:
            return {}
        schedule = self.program.backward_schedule
        schedule = schedule if self.code is self.program.backward_code else self.program.forward_schedule
        widths = {place.name: node.n for node, place in schedule.places.items() if place.name[0] == "scratch"}
        total = sum(widths[name] for name in names)
        self.scratch_rows = empty((self.inputs.batch, total), self.dtype)
        made, at = {}, self.scratch_rows.data_ptr()
        for name in names:
            made[name] = (at, 0, total)
            at += widths[name] * self.item
        return made

    def row_addresses(self) -> dict[tuple, tuple[int, int, int]]:
        """Of the input rows."""
        return {name: (t.data_ptr(), t.stride(0), t.stride(1)) for name, t in self.inputs.rows.items()}

    def flat(self, rows: Tensor) -> Tensor:
        """(time · batch, n) with rows at one distance."""
        time, batch, n = rows.shape
        if time * batch and (rows.stride(0) != batch * rows.stride(1) or rows.stride(2) != 1):
            rows = rows.contiguous()
        return rows.view(time * batch, n) if rows.is_contiguous() else rows.flatten(0, 1)


def _pointers(addresses: list[int]) -> Any:
    return (ctypes.c_void_p * max(1, len(addresses)))(*addresses)


def _tables(code: Code) -> Any:
    array = _pointers([])
    if code.tables:
        buffers = [ctypes.create_string_buffer(t, len(t)) for t in code.tables]
        array = _pointers([ctypes.addressof(b) for b in buffers])
        array.keep = buffers
    return array


def _address(t: Tensor, offset: int = 0) -> int:
    return t.data_ptr() + offset * t.element_size()


def forward_piece(program: Program, inputs: Inputs, targets: dict[int, Tensor], out: list[Tensor | None]) -> Kept:
    """Run the forward loop; `targets` are buffers for states, `out` for collected values, made where missing."""
    run = _Execution(program, inputs, backward=False)
    time, batch, dtype = inputs.time, inputs.batch, run.dtype
    states = []
    for k, (line, depth, n) in enumerate(zip(inputs.states, program.depths, program.captured.widths, strict=True)):
        buffer = targets.get(k)
        if buffer is None:
            buffer = empty((depth + time, batch, n), dtype)
        buffer[:depth].copy_(line.flip(0) if depth > 1 else line)
        states.append(buffer)
    work = empty((time, batch, program.width), dtype)
    _hoist(run, work)
    rows = run.row_addresses() | run.scratch() | _work_rows(program, work, None)
    for k, (buffer, depth) in enumerate(zip(states, program.depths, strict=True)):
        rows["state", k] = (_address(buffer[depth:]), buffer.stride(0), buffer.stride(1))
    collected = []
    for i, (node, k) in enumerate(zip(program.analyzed.collected, program.collected_state, strict=True)):
        if k is not None:
            collected.append(alias(states[k], program.depths[k] * batch * node.n, (time, batch, node.n)))
            continue
        made = out[i] if i < len(out) else None
        made = empty((time, batch, node.n), dtype) if made is None else made
        rows["collected", i] = (made.data_ptr(), made.stride(0), made.stride(1))
        collected.append(made)
    run.frame(rows, time)
    return Kept(states, work, collected)


def _work_rows(program: Program, work: Tensor, late: Tensor | None) -> dict[tuple, tuple[int, int, int]]:
    made = {}
    for name, slot in program.slots.items():
        if slot.late and late is None:
            continue
        buffer = late if slot.late and late is not None else work
        made[name] = (_address(buffer, slot.offset), buffer.stride(0), buffer.stride(1))
    return made


def _hoist(run: _Execution, work: Tensor) -> None:
    """The hoisted products, into their slots."""
    program, inputs = run.program, run.inputs
    packed = iter(run.packed[len(run.code.packed) :])
    count = inputs.time * inputs.batch
    for i, node in program.runs:
        keep, terms = [], (Term * len(node.args))()
        for term, source, block in zip(terms, node.args, node.data, strict=True):
            rows = _input_rows(run, source)
            keep.append(rows)
            term.a, term.lda, term.panel, term.k = rows.data_ptr(), rows.stride(0), next(packed), block.k
        slot = program.slots["hoisted", i]
        to = _address(work, slot.offset)
        run.kernels.library.product(count, terms, len(terms), node.n, to, program.width, 0, None, run.threads)


def _input_rows(run: _Execution, source: Node) -> Tensor:
    """(time · batch, k) of an input leaf or a slice of one."""
    base = source if source.kind == "leaf" else source.args[0]
    rows = run.flat(run.inputs.rows[base.data])
    if source is not base:
        rows = rows[:, source.data.start : source.data.start + source.n]
    return rows


@dataclass
class Gradients:
    """Of everything in `Inputs`."""

    rows: dict[tuple, Tensor]
    vectors: list[Tensor]
    matrices: list[Tensor]
    states: list[Tensor]


def backward_piece(
    program: Program,
    inputs: Inputs,
    kept: Kept,
    given: list[Tensor | None],
    lines: list[Tensor],
    into: Gradients,
) -> list[Tensor]:
    """Run the backward loop over a piece and add to `into`; returns the gradients of the states before it.

    Args:
        program: the program.
        inputs: what the forward pass saw.
        kept: what it left; its work rows are overwritten.
        given: the gradient of each collected value, None for zero.
        lines: the gradients of the states after it, (depth, batch, n), the newest first.
        into: sums; the rows' entries are written.
    """
    run = _Execution(program, inputs, backward=True)
    time, batch, dtype = inputs.time, inputs.batch, run.dtype
    late = empty((time, batch, program.late_width), dtype) if program.late_width else None
    rows = run.row_addresses() | run.scratch() | _work_rows(program, kept.work, late)
    for k, (buffer, depth) in enumerate(zip(kept.states, program.depths, strict=True)):
        rows["state", k] = (_address(buffer[depth:]), buffer.stride(0), buffer.stride(1))
    zeros = None
    hold = []
    for i, d in enumerate(given):
        if d is None:
            zeros = torch.zeros(max(n.n for n in program.analyzed.collected), dtype=dtype) if zeros is None else zeros
            rows["dout", i] = (zeros.data_ptr(), 0, 0)
            continue
        d = d if d.stride(2) == 1 or d.shape[2] == 1 else d.contiguous()
        hold.append(d)
        rows["dout", i] = (d.data_ptr(), d.stride(0), d.stride(1))
    rings = []
    for k, (depth, line) in enumerate(zip(program.depths, lines, strict=True)):
        ring = torch.zeros(depth + 1, batch, program.captured.widths[k], dtype=dtype)
        for i in range(depth):
            ring[(time - 1 - i) % (depth + 1)] = line[i]
        rows["ring", k] = (ring.data_ptr(), ring.stride(0), ring.stride(1))
        rings.append(ring)
    totals, at = [], 0
    sums = torch.zeros(run.threads, sum((v.numel() + 15) // 16 * 16 for v in inputs.vectors) + 16, dtype=dtype)
    for i, vector in enumerate(inputs.vectors):
        total = sums[:, at : at + vector.numel()]
        rows["total", i] = (total.data_ptr(), 0, sums.stride(0))
        totals.append(total)
        at += (vector.numel() + 15) // 16 * 16
    run.frame(rows, time)

    for vector, total in zip(into.vectors, totals, strict=True):
        vector += total.sum(0)
    _rows_back(run, kept.work, late, into)
    _matrices_back(run, kept, late, into)
    return [
        torch.stack([ring[(-1 - i) % (depth + 1)] for i in range(depth)])
        for ring, depth in zip(rings, program.depths, strict=True)
    ]


def _slot_rows(slot: Slot, work: Tensor, late: Tensor | None) -> Tensor:
    buffer = late if slot.late else work
    assert buffer is not None
    return buffer.flatten(0, 1)[:, slot.offset : slot.offset + slot.n]


def _rows_back(run: _Execution, work: Tensor, late: Tensor | None, into: Gradients) -> None:
    """Gradients of the input rows: what the loop made at every step, and what goes back through hoisted products."""
    program, inputs = run.program, run.inputs
    count = inputs.time * inputs.batch
    sources: dict[tuple, list[tuple[Node, Slot, int]]] = {}
    packed = iter(run.packed[len(run.code.packed) :])
    for i, node in enumerate(program.analyzed.hoisted):
        gradient = program.backward.rows.get(("hoisted", i))
        for source in node.args:
            panel = next(packed)
            base = source if source.kind == "leaf" else source.args[0]
            if gradient is not None and base.data in into.rows:
                slot = program.slots[program.gradient_slot(gradient)]
                sources.setdefault(base.data, []).append((source, slot, panel))
    for name, to in into.rows.items():
        flat = to.flatten(0, 1)
        direct = program.backward.rows.get(name)
        parts = sources.get(name, [])
        whole = parts and all(source.kind == "leaf" for source, _, _ in parts)
        if direct is not None:
            flat.copy_(_slot_rows(program.slots[program.gradient_slot(direct)], work, late))
        elif not whole:
            flat.zero_()
        groups: dict[Node, list[tuple[Slot, int]]] = {}
        for source, slot, panel in parts:
            groups.setdefault(source, []).append((slot, panel))
        for source, terms_of in groups.items():
            terms = (Term * len(terms_of))()
            for term, (slot, panel) in zip(terms, terms_of, strict=True):
                buffer = late if slot.late else work
                assert buffer is not None
                term.a, term.lda = _address(buffer, slot.offset), buffer.stride(1)
                term.panel, term.k = panel, slot.n
            offset = 0 if source.kind == "leaf" else source.data.start
            add = int(direct is not None or not whole)
            run.kernels.library.product(
                count, terms, len(terms), source.n, _address(flat, offset), flat.stride(0), add, None, run.threads
            )


def _matrices_back(run: _Execution, kept: Kept, late: Tensor | None, into: Gradients) -> None:
    """Gradients of the matrices: deferred products over all steps.

    `into.matrices` are (out, in): a matrix lies there transposed.
    """
    program = run.program
    jobs: dict[tuple, list[tuple[Block, Tensor]]] = {}
    sources: dict[tuple, Tensor] = {}
    for i, node in enumerate(program.analyzed.hoisted):
        gradient = program.backward.rows.get(("hoisted", i))
        if gradient is None:
            continue
        d = _slot_rows(program.slots[program.gradient_slot(gradient)], kept.work, late)
        for source, block in zip(node.args, node.data, strict=True):
            key = (source, block.matrix, block.row, block.transposed)
            sources[key] = _input_rows(run, source)
            jobs.setdefault(key, []).append((block, d))
    for weight in program.backward.weights:
        block = weight.block
        key = (weight.source, block.matrix, block.row if not block.transposed else block.col, block.transposed)
        sources[key] = _source_rows(run, weight.source, kept, late)
        d = _slot_rows(program.slots[program.gradient_slot(weight.gradient)], kept.work, late)
        jobs.setdefault(key, []).append((block, d))
    outer = run.kernels.library.outer
    for key, of in jobs.items():
        source, (_, matrix, _, transposed) = sources[key], key
        to = into.matrices[matrix]
        b = Piece(source.data_ptr(), source.stride(0), source.shape[1])
        if transposed:
            for block, d in of:
                c = _address(to, block.col * to.stride(0) + block.row)
                a = Piece(source.data_ptr(), source.stride(0), source.shape[1])
                second = Piece(d.data_ptr(), d.stride(0), d.shape[1])
                outer(len(source), 1, ctypes.byref(a), ctypes.byref(second), c, to.stride(0), 1, run.threads)
            continue
        of = sorted(of, key=lambda pair: pair[0].col)
        start = 0
        while start < len(of):
            stop = start + 1
            while stop < len(of) and of[stop - 1][0].col + of[stop - 1][0].n == of[stop][0].col:
                stop += 1
            group = of[start:stop]
            pieces = (Piece * len(group))(*(Piece(d.data_ptr(), d.stride(0), d.shape[1]) for _, d in group))
            block = group[0][0]
            c = _address(to, block.col * to.stride(0) + block.row)
            outer(len(source), len(group), pieces, ctypes.byref(b), c, to.stride(0), 1, run.threads)
            start = stop


def _source_rows(run: _Execution, source: Node, kept: Kept, late: Tensor | None) -> Tensor:
    """(time · batch, k): the first factor of a deferred product at all steps."""
    program, time = run.program, run.inputs.time
    base = source if source.kind == "leaf" else source.args[0]
    kind = base.data[0]
    if kind in {"state", "new"}:
        k = base.data[1]
        tap = base.data[2] if kind == "state" else 0
        start = program.depths[k] - tap
        rows = kept.states[k][start : start + time].flatten(0, 1)
    elif kind == "saved":
        rows = _slot_rows(program.slots[base.data], kept.work, late)
    else:
        rows = run.flat(run.inputs.rows[base.data])
    if source is not base:
        rows = rows[:, source.data.start : source.data.start + source.n]
    return rows


class _Loop(torch.autograd.Function):
    """All steps: (collected values…, final lines…)."""

    @staticmethod
    def forward(ctx: Any, program: Program, shape: Inputs, recompute: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs = shape.like([t.detach() for t in tensors])
        ctx.program, ctx.shape, ctx.recompute = program, shape.like([t.detach()[:0] for t in tensors]), recompute
        needed = any(ctx.needs_input_grad)
        ctx.kept = None
        if needed and not recompute:
            kept = forward_piece(program, inputs, {}, [])
            collected, lines = kept.collected, _last_lines(program, kept.states, inputs.time)
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
        inputs = ctx.shape.like([t.detach() for t in tensors])
        dtype = program.variant.dtype
        lines = [
            torch.zeros(t.shape, dtype=dtype) if d is None else d
            for t, d in zip(inputs.states, lines_after, strict=True)
        ]
        needs = iter(ctx.needs_input_grad[3:])
        needed_rows = [name for name in inputs.rows if next(needs)]
        into = Gradients(
            {name: empty((inputs.time, inputs.batch, inputs.rows[name].shape[2]), dtype) for name in needed_rows},
            [torch.zeros(v.shape, dtype=dtype) for v in inputs.vectors],
            [torch.zeros(*m.shape[::-1], dtype=dtype) for m in inputs.matrices],
            [],
        )
        if ctx.recompute:
            lines = _back_in_pieces(program, inputs, ctx.recompute, ctx.lines, given, lines, into)
        else:
            if ctx.kept is None:  # a second backward pass: the first has overwritten the work rows
                again = forward_piece(program, inputs, {}, [])
                ctx.kept = (again.states, again.work)
            states, work = ctx.kept
            ctx.kept = None
            lines = backward_piece(program, inputs, Kept(states, work, []), given, lines, into)
        del collected
        row_gradients = [into.rows.get(name) for name in inputs.rows]
        matrices = [m.T for m in into.matrices]
        return (None, None, None, *row_gradients, *into.vectors, *matrices, *lines)


def _last_lines(program: Program, states: list[Tensor], time: int) -> list[Tensor]:
    made = []
    for buffer, depth in zip(states, program.depths, strict=True):
        line = buffer[time : time + depth]
        made.append(line.flip(0) if depth > 1 else line.clone())
    return made


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
        lines = _last_lines(program, kept.states, stop - start)
    return collected, lines, before


def _back_in_pieces(
    program: Program,
    inputs: Inputs,
    step: int,
    before: list[list[Tensor]],
    given: list[Tensor | None],
    lines: list[Tensor],
    into: Gradients,
) -> list[Tensor]:
    """The backward pass of a forward pass in pieces: each is computed again from the states before it."""
    for (start, stop), states in reversed(list(zip(_pieces(inputs.time, step), before, strict=True))):
        piece = inputs.piece(start, stop, states)
        kept = forward_piece(program, piece, {}, [])
        rows = {name: t[start:stop] for name, t in into.rows.items()}
        part = Gradients(rows, into.vectors, into.matrices, [])
        lines = backward_piece(program, piece, kept, [None if d is None else d[start:stop] for d in given], lines, part)
    return lines


def _backward_by_torch(
    program: Program, shape: Inputs, tensors: tuple[Tensor, ...], gradients: tuple[Tensor | None, ...], needs: Any
) -> list[Tensor | None]:
    """The gradients as differentiable tensors, by running the graph with PyTorch: for derivatives of higher order."""
    with torch.enable_grad():
        tensors = tuple(t.view_as(t) for t in tensors)  # one may be made from another outside; here they are apart
        outputs = loop_by_torch(program, shape.like(list(tensors)))
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
    for t in range(inputs.time):

        def leaf(name: tuple, t: int = t) -> Tensor:
            if name[0] == "state":
                return histories[name[1]][-name[2]]
            if name[0] == "vector":
                return inputs.vectors[name[1]]
            if name[0] == "hoisted":
                return interpret([analyzed.hoisted[name[1]]], leaf, inputs.matrices)[0]
            return inputs.rows[name][t]

        values = interpret([*analyzed.collected, *analyzed.states], leaf, inputs.matrices)
        for into, value in zip([*collected, *histories], values, strict=True):
            into.append(value.expand(inputs.batch, -1))
    lines = [torch.stack(h[-d:][::-1]) for h, d in zip(histories, program.depths, strict=True)]
    return [*(torch.stack(c) for c in collected), *lines]


def run_loop(program: Program, inputs: Inputs, recompute: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Run a program: the collected values (time, batch, n), and the lines of the states after the last step."""
    count = len(program.analyzed.collected)
    made = _Loop.apply(program, inputs, recompute, *inputs.tensors())
    return list(made[:count]), list(made[count:])
