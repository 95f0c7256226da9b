"""Plans: the list of work of one pass over a sequence of one size.

A pass packs the matrices, makes the hoisted products, runs the generated loop, and after a backward loop makes the
gradients of the input and of the matrices in a few large products. A plan says so in tables for C (`tables`,
`Command` in `cpu/runtime.h`), in which only the addresses of the buffers are missing. Their names:

    ("input", leaf)  ("vector", i)  ("matrix", i)        what the program is run on
    ("line", k)  ("last", k)                             states before the first and after the last step
    ("state", k)  ("collected", i)  ("work",)  ("late",)  what the loops keep
    ("given", i)  ("after", k)  ("before", k)            gradients of collected values and of lines
    ("d input", leaf)  ("d vector", i)  ("d matrix", i)  the other gradients
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from .graph import Block, Node
from .kernels import Kernels
from .program import Program, Slot
from .render import Code
from .tables import At, Filled, Tables

__all__ = ["COMMAND", "Plan", "Size", "ld", "plan_backward", "plan_forward"]

PACK, PRODUCT, LOOP, OUTER, COPY, SUM = range(6)
"""`Command::what`."""

COMMAND = 24
"""Bytes of a `Command`."""

CHUNK = 1 << 18
"""Numbers of hoisted products that are made at a time where none are kept: so many that they stay in the cache."""

Strides = tuple[int, int]


@dataclass(frozen=True)
class Size:
    """What a plan depends on besides the program; strides are those of the first two dimensions, in numbers.

    Attributes:
        rows: strides of the input rows that the program reads.
        matrices: strides of the matrices.
        lines: strides of the states before the first step, empty where they start at zero; in a backward plan of their
            gradients after the last step, None for zero.
        given: strides of the gradients of collected values, None for zero (backward only).
        wanted: the input leaves that need a gradient (backward only).
        starts: whether the states before the first step do (backward only).
        add: whether gradients of vectors and matrices are added to what is there (backward only).
    """

    time: int
    batch: int
    threads: int
    rows: tuple[tuple[tuple, Strides], ...]
    matrices: tuple[Strides, ...]
    lines: tuple[Strides | None, ...]
    given: tuple[Strides | None, ...] = ()
    wanted: tuple[tuple, ...] = ()
    starts: bool = False
    add: bool = False


@dataclass(frozen=True)
class Plan:
    """The tables of a pass, and where in them the list of work begins; its first `packs` commands pack the matrices."""

    tables: Filled
    commands: int
    count: int
    threads: int
    packs: int


def plan_forward(program: Program, size: Size, kernels: Kernels, buffers: list[tuple]) -> Plan:
    """Everything from the matrices to the last states; a call gives the addresses of `buffers`, in this order."""
    return _Forward(program, size, kernels, backward=False).plan(buffers)


def plan_backward(program: Program, size: Size, kernels: Kernels, buffers: list[tuple]) -> Plan:
    """Everything from the gradients of the collected values to those of the program's inputs."""
    return _Backward(program, size, kernels, backward=True).plan(buffers)


def ld(time: int, batch: int, strides: Strides) -> int | None:
    """The distance of neighboring rows, where all time · batch of them lie at one distance, else None."""
    if batch == 1:
        return strides[0]
    return strides[1] if time == 1 or strides[0] == batch * strides[1] else None


class _Planner:
    def __init__(self, program: Program, size: Size, kernels: Kernels, *, backward: bool):
        self.program, self.size, self.kernels = program, size, kernels
        self.code: Code = program.backward_code if backward else program.forward_code
        self.schedule = program.backward_schedule if backward else program.forward_schedule
        blocks = program.backward_packed if backward else program.forward_packed
        self.function: Any = program.libraries[1].backward if backward else program.libraries[1].forward
        self.item = program.variant.dtype.itemsize
        self.count = size.time * size.batch
        self.strides = dict(size.rows)
        self.tables = Tables()
        self.commands: list[tuple[int, int, At]] = []
        self.copies: list[tuple[int | At, ...]] = []
        self.panels = self.pack(blocks)

    def finish(self, buffers: list[tuple]) -> Plan:
        """The plan, when all commands are given."""
        self.flush()
        at = self.tables.table(*(word for command in self.commands for word in command))
        return Plan(self.tables.done(buffers), at.offset, len(self.commands), self.size.threads, int(bool(self.panels)))

    def command(self, what: int, count: int, table: At) -> None:
        self.flush()
        self.commands.append((what, count, table))

    def copy(self, to: At, to_ld: int, source: At | int, source_ld: int, rows: int, n: int) -> None:
        """Rows copied; zeros where the source is 0."""
        self.copies.append((to, to_ld, source, source_ld, rows, n))

    def flush(self) -> None:
        """Make the copies so far a command."""
        if self.copies:
            table = self.tables.table(*(word for job in self.copies for word in job))
            self.commands.append((COPY, len(self.copies), table))
            self.copies = []

    def pack(self, blocks: list[Block]) -> list[At]:
        """Pack blocks of matrices; where each will be."""
        places, jobs = [], []
        for b in blocks:
            places.append(self.tables.reserve(self.kernels.packed_size(b.k, b.n) * self.item))
            rows, columns = self.size.matrices[b.matrix]
            start = At(("matrix", b.matrix), (b.row * rows + b.col * columns) * self.item)
            jobs += [start, *((columns, rows) if b.transposed else (rows, columns)), b.k, b.n, places[-1]]
        if blocks:
            self.command(PACK, len(blocks), self.tables.table(*jobs))
        return places

    def product(
        self, count: int, terms: list[tuple[At, int, At, int]], n: int, to: At, to_ld: int, *, add: bool
    ) -> None:
        """`count` rows times packed matrices, summed over (rows, their distance, panel, features)."""
        table = self.tables.table(*(word for term in terms for word in term))
        job = self.tables.table(count, table, len(terms), n, to, to_ld, int(add))
        self.command(PRODUCT, 1, job)

    def loop(self, rows: dict[tuple, tuple[At, int, int]], start: int, stop: int) -> None:
        """The generated code for some steps; `rows` gives address, time stride and row stride by name."""
        size, split = self.size, self.shares_units
        threads = size.threads if split else max(1, min(size.threads, size.batch))
        at = self.tables.table(*(word for name in self.code.rows for word in rows[name]))
        frame = self.tables.table(
            self.kernels.runtime, at, *self.constants, start, stop, size.batch, threads, int(split)
        )
        self.command(LOOP, self.kernels.address(self.function), frame)

    @cached_property
    def constants(self) -> tuple[At, ...]:
        """Where all is listed that the generated code reads: vectors, packed matrices, index tables, sizes, numbers."""
        tables, code = self.tables, self.code
        return (
            tables.table(*(At(("vector", i)) for i in code.vectors)),
            tables.table(*self.panels[: len(code.packed)]),
            tables.table(*[tables.data(t) for t in code.tables]),
            tables.table(*code.sizes),
            tables.data(torch.tensor(code.numbers, dtype=self.program.variant.dtype).numpy().tobytes()),
        )

    @cached_property
    def shares_units(self) -> bool:
        """Whether threads share the units of every row; else they share the rows, and need not meet at every step.

        With few rows to a thread the matrices do not come fast enough from memory: a part of them for each thread does.
        """
        threads, batch, meets = self.size.threads, self.size.batch, sum(self.schedule.meets)
        widest = max(self.program.captured.widths)
        blocks = -(-widest // self.kernels.panel)
        busy_by_rows, busy_by_units = (n / -(-n // threads) for n in (batch, blocks))
        if meets and widest < 64 * threads:  # a step is shorter than a meeting
            return False
        few = batch < 2 * threads or (batch <= 16 * threads and meets <= 2)
        return threads > 1 and few and busy_by_units >= busy_by_rows

    def scratch(self) -> dict[tuple, tuple[At, int, int]]:
        """Rows for values that live for one step."""
        places = {place.name: node.n for node, place in self.schedule.places.items() if place.name[0] == "scratch"}
        names = [name for name in self.code.rows if name[0] == "scratch"]
        total = sum(places[name] for name in names)
        made, at = {}, self.tables.reserve(self.size.batch * total * self.item)
        for name in names:
            made[name] = (at, 0, total)
            at += places[name] * self.item
        return made

    def inputs(self) -> dict[tuple, tuple[At, int, int]]:
        return {name: (At(("input", name)), *strides) for name, strides in self.size.rows}

    def line(self, k: int, step: int) -> At:
        """State k behind a step; those before the first have negative numbers."""
        program, each = self.program, self.size.batch * self.program.captured.widths[k] * self.item
        if k in program.turning:
            return self.rings[k] + step % (program.depths[k] + 1) * each
        return At(("state", k), (program.depths[k] + step) * each)

    @cached_property
    def rings(self) -> dict[int, At]:
        """Memory for the states that are kept in turns."""
        program, batch = self.program, self.size.batch
        return {
            k: self.tables.reserve((program.depths[k] + 1) * batch * program.captured.widths[k] * self.item)
            for k in program.turning
        }

    def states(self) -> dict[tuple, tuple[At, int, int]]:
        """The state that a step makes; those before it lie before it."""
        return {
            ("state", k): (self.line(k, 0), self.size.batch * n, n) for k, n in enumerate(self.program.captured.widths)
        }

    def slots(self, *, late: bool) -> dict[tuple, tuple[At, int, int]]:
        made = {}
        for name, slot in self.program.slots.items():
            if late or not slot.late:
                at, row = self.slot(slot)
                made[name] = (at, self.size.batch * row, row)
        return made

    def slot(self, slot: Slot) -> tuple[At, int]:
        """Where a slot begins at the first step, and the distance of rows."""
        program = self.program
        if slot.late:
            return At(("late",), slot.offset * self.item), program.late_width
        return At(("work",), slot.offset * self.item), program.width

    def source(self, node: Node) -> tuple[At, int]:
        """The rows of an input leaf or of a slice of one."""
        base = node if node.kind == "leaf" else node.args[0]
        distance = ld(self.size.time, self.size.batch, self.strides[base.data])
        assert distance is not None
        return At(("input", base.data)) + self.start(node), distance

    def start(self, node: Node) -> int:
        """Where a slice begins, in bytes."""
        return 0 if node.kind == "leaf" else node.data.start * self.item


class _Forward(_Planner):
    def plan(self, buffers: list[tuple]) -> Plan:
        program, size = self.program, self.size
        batch, time = size.batch, size.time
        rows = self.inputs() | self.scratch() | self.states()
        for i, (n, k) in enumerate(program.collected):
            if k is None:
                rows["collected", i] = (At(("collected", i)), batch * n, n)
        ends = []
        for k, (depth, n) in enumerate(program.lines):
            line, each = size.lines[k] if size.lines else None, batch * n * self.item
            for i in range(depth):
                before = (At(("line", k), i * line[0] * self.item), line[1]) if line else (0, 0)
                self.copy(self.line(k, -1 - i), n, *before, batch, n)
                ends.append((At(("last", k), i * each), n, self.line(k, time - 1 - i), n, batch, n))
        for start in range(0, time, self.chunk):
            stop = min(start + self.chunk, time)
            self.first = start
            self.hoist(start, stop)
            self.loop(rows | self.slots(late=False), start, stop)
        for end in ends:
            self.copy(*end)
        return self.finish(buffers)

    first = 0
    """The step whose rows are the first in the memory for hoisted products, where none are kept."""

    @cached_property
    def chunk(self) -> int:
        """Steps whose hoisted products are in memory at the same time."""
        program, size = self.program, self.size
        if program.variant.backward or not program.width:
            return size.time
        return min(size.time, max(1, CHUNK // (size.batch * program.width)))

    @cached_property
    def work(self) -> At:
        program = self.program
        if program.variant.backward:
            return At(("work",))
        return self.tables.reserve(self.chunk * self.size.batch * program.width * self.item)

    def slot(self, slot: Slot) -> tuple[At, int]:
        width = self.program.width
        return self.work + (slot.offset - self.first * self.size.batch * width) * self.item, width

    def hoist(self, start: int, stop: int) -> None:
        """The hoisted products of some steps, into their slots."""
        panels = iter(self.panels[len(self.code.packed) :])
        batch = self.size.batch
        for i, node in self.program.runs:
            terms = []
            for source, block in zip(node.args, node.data, strict=True):
                at, distance = self.source(source)
                terms.append((at + start * batch * distance * self.item, distance, next(panels), block.k))
            to, width = self.slot(self.program.slots["hoisted", i])
            to += start * batch * width * self.item
            self.product((stop - start) * batch, terms, node.n, to, width, add=False)


class _Backward(_Planner):
    def plan(self, buffers: list[tuple]) -> Plan:
        program, size = self.program, self.size
        time, batch = size.time, size.batch
        rows = self.inputs() | self.scratch() | self.slots(late=True) | self.states()
        for i, strides in enumerate(size.given):
            if strides is None:
                n = program.analyzed.collected[i].n
                zeros = self.tables.reserve(n * self.item)
                self.copy(zeros, n, 0, 0, 1, n)
                rows["dout", i] = (zeros, 0, 0)
            else:
                rows["dout", i] = (At(("given", i)), *strides)
        ends = []
        for k, (depth, n) in enumerate(program.lines):
            each, line = batch * n * self.item, size.lines[k]
            ring = self.tables.reserve((depth + 1) * each)
            rows["ring", k] = (ring, batch * n, n)
            self.copy(ring, n, 0, 0, (depth + 1) * batch, n)
            for i in range(depth):
                if line is not None:
                    after = At(("after", k), i * line[0] * self.item)
                    self.copy(ring + (time - 1 - i) % (depth + 1) * each, n, after, line[1], batch, n)
                if size.starts:
                    ends.append((At(("before", k), i * each), n, ring + (-1 - i) % (depth + 1) * each, n, batch, n))
        sums = self.totals(rows)
        self.loop(rows, 0, size.time)
        for end in ends:
            self.copy(*end)
        if sums:
            self.command(SUM, len(sums), self.tables.table(*(word for job in sums for word in job)))
        self.rows_back()
        self.matrices_back()
        return self.finish(buffers)

    def totals(self, rows: dict[tuple, tuple[At, int, int]]) -> list[tuple[int | At, ...]]:
        """Room for the sums of gradients of vectors, one for each thread; the jobs that add them up."""
        jobs = []
        for i, n in enumerate(self.size_of_vectors()):
            row = (n + 15) // 16 * 16
            at = self.tables.reserve(self.size.threads * row * self.item)
            self.copy(at, row, 0, 0, self.size.threads, row)
            rows["total", i] = (at, 0, row)
            jobs.append((self.size.threads, at, row, n, At(("d vector", i)), int(self.size.add)))
        return jobs

    def size_of_vectors(self) -> list[int]:
        captured = self.program.captured
        return [captured.recipe.values[number].numel() for number in captured.vectors]

    def rows_back(self) -> None:
        """Gradients of the input rows: what the loop made at every step, and what comes through hoisted products."""
        program, backward = self.program, self.program.backward
        sources: dict[tuple, dict[Node, list[tuple[At, int, At, int]]]] = {}
        panels = iter(self.panels[len(self.code.packed) :])
        for i, node in enumerate(program.analyzed.hoisted):
            gradient = backward.rows.get(("hoisted", i))
            for source in node.args:
                panel = next(panels)
                base = source if source.kind == "leaf" else source.args[0]
                if gradient is not None and base.data in self.size.wanted:
                    slot = program.slots[program.gradient_slot(gradient)]
                    groups = sources.setdefault(base.data, {})
                    groups.setdefault(source, []).append((*self.slot(slot), panel, slot.n))
        for name in self.size.wanted:
            groups = sources.get(name, {})
            n = self.width_of(name)
            to, direct = At(("d input", name)), backward.rows.get(name)
            whole = bool(groups) and all(source.kind == "leaf" for source in groups)
            if direct is not None:
                self.copy(to, n, *self.slot(program.slots[program.gradient_slot(direct)]), self.count, n)
            elif not whole:
                self.copy(to, n, 0, 0, self.count, n)
            for source, terms in groups.items():
                add = direct is not None or not whole
                self.product(self.count, terms, source.n, to + self.start(source), n, add=add)

    def width_of(self, name: tuple) -> int:
        return next(leaf.n for leaf in self.program.input_leaves if leaf.data == name)

    def matrices_back(self) -> None:
        """Gradients of the matrices: deferred products over all steps. They are made as (out, in)."""
        runs: dict[tuple, list[tuple[At, int, int, int, int, int]]] = {}
        places: dict[int, list[tuple[int, int, int, int]]] = {}
        turned = []
        for source, pairs in self.deferred().items():
            (at, distance, k), (_, matrix, row, transposed) = self.factor(source[0]), source
            if transposed:  # C is blockᵀ itself: the source's features are its rows
                for block, slot in pairs:
                    places.setdefault(matrix, []).append((block.col, block.row, k, slot.n))
                    turned.append(((at, distance, k), (*self.slot(slot), slot.n), matrix, block.col, block.row))
                continue
            for run in _runs(pairs):
                first = run[0][0]
                places.setdefault(matrix, []).append((first.col, row, sum(s.n for _, s in run), k))
                runs.setdefault(tuple(s for _, s in run), []).append((at, distance, k, matrix, first.col, row))
        fresh = {i: not self.size.add and self.fills(i, places.get(i, [])) for i in range(len(self.size.matrices))}
        for i, shape in enumerate(self.shapes()):
            if not fresh[i] and not self.size.add:
                self.copy(At(("d matrix", i)), shape[0], 0, 0, shape[1], shape[0])
        for slots, columns in runs.items():
            targets = [
                (at, distance, k, *self.target(matrix, r, c), not fresh[matrix])
                for at, distance, k, matrix, r, c in columns
            ]
            self.outer([(*self.slot(s), s.n) for s in slots], targets)
        for source, (at, distance, n), matrix, r, c in turned:
            self.outer([source], [(at, distance, n, *self.target(matrix, r, c), not fresh[matrix])])

    def deferred(self) -> dict[tuple, list[tuple[Block, Slot]]]:
        """(first factor, matrix, its row, transposed) -> blocks of the matrix and gradients of what they made."""
        program, jobs = self.program, {}
        for i, node in enumerate(program.analyzed.hoisted):
            gradient = program.backward.rows.get(("hoisted", i))
            if gradient is not None:
                slot = program.slots[program.gradient_slot(gradient)]
                for source, block in zip(node.args, node.data, strict=True):
                    jobs.setdefault((source, block.matrix, _row(block), block.transposed), []).append((block, slot))
        for weight in program.backward.weights:
            block, slot = weight.block, program.slots[program.gradient_slot(weight.gradient)]
            jobs.setdefault((weight.source, block.matrix, _row(block), block.transposed), []).append((block, slot))
        return jobs

    def factor(self, node: Node) -> tuple[At, int, int]:
        """The first factor of a deferred product: rows, their distance, features."""
        base = node if node.kind == "leaf" else node.args[0]
        kind = base.data[0]
        if kind in {"state", "new"}:
            k = base.data[1]
            n, tap = self.program.captured.widths[k], base.data[2] if kind == "state" else 0
            steps = self.program.depths[k] - tap
            at, distance = At(("state", k), steps * self.size.batch * n * self.item), n
        elif kind == "saved":
            at, distance = self.slot(self.program.slots[base.data])
        else:
            at, distance = self.source(base)
        return at + self.start(node), distance, node.n

    def shapes(self) -> list[tuple[int, int]]:
        """Of the matrices, (in, out)."""
        captured = self.program.captured
        return [tuple(captured.recipe.values[number].shape) for number in captured.matrices]  # pyright: ignore[reportReturnType]

    def target(self, matrix: int, row: int, column: int) -> tuple[At, int]:
        """An element of the gradient of a matrix, and the distance of rows."""
        width = self.shapes()[matrix][0]
        return At(("d matrix", matrix), (row * width + column) * self.item), width

    def fills(self, matrix: int, places: list[tuple[int, int, int, int]]) -> bool:
        """Whether rectangles (row, column, rows, columns) cover a matrix without overlap."""
        apart = all(
            a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]
            for i, a in enumerate(places)
            for b in places[:i]
        )
        rows, columns = self.shapes()[matrix]
        return apart and sum(height * width for *_, height, width in places) == rows * columns

    def outer(self, left: list[tuple[At, int, int]], right: Iterable[tuple[At, int, int, At, int, bool]]) -> None:
        targets = [(at, distance, n, to, to_ld, int(add)) for at, distance, n, to, to_ld, add in right]
        a = self.tables.table(*(word for block in left for word in block))
        b = self.tables.table(*(word for target in targets for word in target))
        self.command(OUTER, 1, self.tables.table(self.count, len(left), a, len(targets), b))


def _row(block: Block) -> int:
    return block.col if block.transposed else block.row


def _runs(pairs: list[tuple[Block, Slot]]) -> list[list[tuple[Block, Slot]]]:
    """Neighboring columns together."""
    made: list[list[tuple[Block, Slot]]] = []
    for pair in sorted(pairs, key=lambda pair: pair[0].col):
        before = made[-1][-1][0] if made else None
        if before is not None and before.col + before.n == pair[0].col:
            made[-1].append(pair)
        else:
            made.append([pair])
    return made
