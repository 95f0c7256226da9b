"""A compiled step: all stages in order, and where in memory each of its values lies.

    capture → analyze → differentiate → schedule → render → build

The rows that the loops keep at every step lie side by side in one work buffer, (time, batch, slots). A slot is used
again as soon as nothing reads it: what the forward loop keeps overwrites the hoisted products, and in the backward loop
gradients overwrite what the forward loop kept.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from ..cells.base import Cell
from .analyze import Analyzed, analyze
from .build import build_all, kernels_source
from .capture import Captured, Extra, capture
from .differentiate import Backward, differentiate
from .graph import Block, Node, order
from .render import Code, render
from .schedule import Place, Schedule, Store, schedule

__all__ = ["Program", "Slot", "Variant", "compile_step"]

REAL = {torch.float32: "float", torch.float64: "double"}


@dataclass(frozen=True)
class Variant:
    """What besides the cell decides the program."""

    dtype: torch.dtype
    reset: bool = False
    lengths: bool = False
    collect_states: tuple[int, ...] = ()
    """States whose values at all steps are wanted."""
    extras: tuple[Extra, ...] | None = None
    differentiable: frozenset[tuple] = frozenset()
    """Input leaves that need a gradient."""
    backward: bool = True
    """Whether a backward pass may follow; if not, nothing is kept for one."""


@dataclass(frozen=True)
class Slot:
    """Features `offset:offset+n` of a row of the work buffer; `late` ones exist only in the backward loop."""

    offset: int
    n: int
    late: bool = False


@dataclass
class Program:
    """One step, compiled.

    Attributes:
        captured, analyzed, backward: the results of the first stages.
        forward_code, backward_code: the rendered loops.
        slots: name of rows -> where in the work buffer.
        width, late_width: features of a row of the work buffer, and of its late part.
        gradients: the distinct gradients kept at every step, ("gradient", i).
        depths: how many steps back each state is read.
        turning: the states of which the forward loop keeps no more than it reads, in turns.
    """

    variant: Variant
    captured: Captured
    analyzed: Analyzed
    backward: Backward
    forward_schedule: Schedule
    backward_schedule: Schedule
    forward_code: Code
    backward_code: Code
    gradients: list[Node]
    depths: list[int]
    turning: frozenset[int] = frozenset()
    slots: dict[tuple, Slot] = field(default_factory=dict)
    width: int = 0
    late_width: int = 0
    plans: dict[Any, Any] = field(default_factory=dict)
    """What `plan` made for sizes that were met."""

    @property
    def text(self) -> str:
        """The generated C++."""
        head = '#include "math.h"\n#include "frame.h"\n#include <cmath>\nusing namespace carousel;\n'
        work = "struct Work { const Frame* frame; Barrier* barrier; };\n\n"
        return head + work + self.forward_code.text + "\n" + self.backward_code.text

    @cached_property
    def libraries(self) -> tuple[ctypes.CDLL, ctypes.CDLL]:
        """The fixed kernels and this program's own code, built if need be."""
        kernels, own = build_all([kernels_source(), self.text], REAL[self.variant.dtype])
        return kernels, own

    @cached_property
    def lines(self) -> list[tuple[int, int]]:
        """How many steps back each state is read, and its features."""
        return list(zip(self.depths, self.captured.widths, strict=True))

    @cached_property
    def collected(self) -> list[tuple[int, int | None]]:
        """For every collected value its features, and the state that it is, or None."""
        states = self.analyzed.states
        return [(n.n, states.index(n) if n in states else None) for n in self.analyzed.collected]

    @cached_property
    def matrix_values(self) -> list[tuple[int, bool]]:
        """For every matrix a value of the recipe, and whether it lies as (out, in), as parameters mostly do."""
        recipe = self.captured.recipe
        sources = [recipe.transposed(number) for number in self.captured.matrices]
        return [
            (number, False) if source is None else (source, True)
            for number, source in zip(self.captured.matrices, sources, strict=True)
        ]

    @cached_property
    def fixed_values(self) -> tuple[list[int], list[tuple[str, str]] | None]:
        """What vectors and matrices are: numbers of the recipe's values, and attributes where they are just that."""
        recipe = self.captured.recipe
        numbers = [*map(recipe.flat, self.captured.vectors), *(number for number, _ in self.matrix_values)]
        return numbers, recipe.plain(numbers)

    @cached_property
    def loop_leaves(self) -> set[tuple]:
        """The names of the leaves that are read in the loop and by its hoisted products."""
        a = self.analyzed
        return {n.data for n in order([*a.hoisted, *a.collected, *a.states]) if n.kind == "leaf"}

    @cached_property
    def input_leaves(self) -> list[Node]:
        """The leaves for rows from outside that are read in the loop and by its hoisted products."""
        a = self.analyzed
        leaves = [n for n in order([*a.hoisted, *a.collected, *a.states]) if n.kind == "leaf"]
        return [n for n in leaves if n.data[0] not in {"state", "vector", "hoisted"}]

    @cached_property
    def flat_leaves(self) -> set[tuple]:
        """The names of those that are factors of products over the whole sequence."""
        factors = [*(a for n in self.analyzed.hoisted for a in n.args), *(w.source for w in self.backward.weights)]
        bases = [f if f.kind == "leaf" else f.args[0] for f in factors]
        return {b.data for b in bases} & {n.data for n in self.input_leaves}

    @cached_property
    def leaves(self) -> set[tuple]:
        """The names of all leaves that are read."""
        a = self.analyzed
        around = order([*a.before, *([a.behind] if a.behind else [])])
        return self.loop_leaves | {n.data for n in around if n.kind == "leaf"}

    @cached_property
    def runs(self) -> list[tuple[int, Node]]:
        """Hoisted products, neighbors in one matrix and in the work buffer joined: (number of the first, product)."""
        joined: list[tuple[int, Node]] = []
        for i, node in enumerate(self.analyzed.hoisted):
            if joined and len(node.data) == len(joined[-1][1].data) == 1 and joined[-1][1].args == node.args:
                first, before = joined[-1]
                a, b = before.data[0], node.data[0]
                follows = self.slots["hoisted", first].offset + before.n == self.slots["hoisted", i].offset
                rows = (a.matrix, a.row, a.k, False) == (b.matrix, b.row, b.k, a.transposed or b.transposed)
                if follows and rows and a.col + a.n == b.col:
                    wide = Block(a.matrix, a.row, a.col, a.k, a.n + b.n)
                    joined[-1] = (first, Node("product", wide.n, node.args, (wide,)))
                    continue
            joined.append((i, node))
        return joined

    @cached_property
    def forward_packed(self) -> list[Block]:
        """The blocks to pack for the forward pass: those of the loop, then those of the hoisted products."""
        return [*self.forward_code.packed, *(b for _, node in self.runs for b in node.data)]

    @cached_property
    def backward_packed(self) -> list[Block]:
        """The same for the backward pass, where products go the other way."""
        return [*self.backward_code.packed, *(b.turned() for node in self.analyzed.hoisted for b in node.data)]

    def gradient_slot(self, node: Node) -> tuple:
        """The name of the rows that keep this gradient."""
        return ("gradient", self.gradients.index(node))


def compile_step(cell: Cell, variant: Variant) -> Program:
    """All stages up to the C++ text; building happens at the first run.

    Raises:
        ObstacleError: the step can't be compiled.
    """
    device = torch.device("cpu")
    options: dict[str, Any] = {"reset": variant.reset, "lengths": variant.lengths, "extras": variant.extras}
    captured = capture(cell, dtype=variant.dtype, device=device, **options)
    analyzed = analyze(captured)
    for k in variant.collect_states:
        if analyzed.states[k] not in analyzed.collected:
            analyzed.collected.append(analyzed.states[k])
    depths = [max(taps) for taps in cell.taps.values()]
    if variant.backward:
        backward = differentiate(analyzed, lambda leaf: leaf[0] == "before" or leaf in variant.differentiable)
        turning = frozenset()
    else:
        backward = Backward(analyzed.graph, [], set(), {}, {}, [], [])
        turning = frozenset(k for k, node in enumerate(analyzed.states) if node not in analyzed.collected)

    place = _forward_place(depths, turning)
    forward_schedule = schedule(_forward_stores(analyzed, backward, depths, turning), place, backward=False)
    forward_code = render("forward", forward_schedule, place, backward=False)
    gradients = list(dict.fromkeys([*backward.rows.values(), *(w.gradient for w in backward.weights)]))
    place = _backward_place(depths)
    stores = _backward_stores(analyzed, backward, gradients, cell) if variant.backward else []
    backward_schedule = schedule(stores, place, backward=True)
    backward_code = render("backward", backward_schedule, place, backward=True) if variant.backward else Code()
    program = Program(
        variant,
        captured,
        analyzed,
        backward,
        forward_schedule,
        backward_schedule,
        forward_code,
        backward_code,
        gradients,
        depths,
        turning,
    )
    _Slots(program).assign()
    return program


def _forward_place(depths: list[int], turning: frozenset[int]) -> Callable[[Node], Place | None]:
    """Where a leaf of the forward loop lies."""

    def place(node: Node) -> Place | None:
        kind = node.data[0]
        if kind == "vector":
            return None
        if kind == "state":
            k = node.data[1]
            return Place(("state", k), -node.data[2], depths[k] + 1 if k in turning else 0)
        return Place(node.data)

    return place


def _backward_place(depths: list[int]) -> Callable[[Node], Place | None]:
    forward_place = _forward_place(depths, frozenset())

    def place(node: Node) -> Place | None:
        kind = node.data[0]
        if kind == "new":
            return Place(("state", node.data[1]))
        if kind == "dstate":
            return Place(("ring", node.data[1]), 0, depths[node.data[1]] + 1)
        return forward_place(node)

    return place


def _forward_stores(analyzed: Analyzed, backward: Backward, depths: list[int], turning: frozenset[int]) -> list[Store]:
    rings = [depth + 1 if k in turning else 0 for k, depth in enumerate(depths)]
    stores = [Store(node, Place(("state", k), 0, rings[k])) for k, node in enumerate(analyzed.states)]
    stores += [
        Store(node, Place(("collected", i))) for i, node in enumerate(analyzed.collected) if node not in analyzed.states
    ]
    saved = enumerate(backward.saved)
    return stores + [Store(n, Place(("saved", i))) for i, n in saved if n.kind != "leaf"]


def _backward_stores(analyzed: Analyzed, backward: Backward, gradients: list[Node], cell: Cell) -> list[Store]:
    stores = [Store(node, Place(("gradient", j))) for j, node in enumerate(gradients)]
    for k, (taps, root) in enumerate(zip(cell.taps.values(), analyzed.states, strict=True)):
        ring = max(taps) + 1
        for tap in sorted(taps, reverse=True):
            node = backward.taps.get((k, tap))
            opens = tap == max(taps)
            if node is None and opens:
                node = analyzed.graph.const(0, root.n)
            if node is not None:
                stores.append(Store(node, Place(("ring", k), -tap, ring), add=not opens))
    stores += [Store(d, Place(("total", i), where.start), total=True) for i, where, d in backward.vectors]
    return stores


class _Slots:
    """Gives every kept value a slot."""

    def __init__(self, program: Program):
        self.program = program

    def assign(self) -> None:
        program, backward = self.program, self.program.backward
        slots, schedule_ = program.slots, program.forward_schedule
        for i, node in enumerate(program.analyzed.hoisted):
            slots["hoisted", i] = self.new(node.n)
        free = [slots["hoisted", i] for i in range(len(program.analyzed.hoisted))]
        reads = {slots["hoisted", i]: schedule_.reads.get(("hoisted", i), []) for i in range(len(free))}
        for i, node in enumerate(backward.saved):
            if node.kind == "leaf" and node.data[0] == "hoisted":
                slots["saved", i] = slots[node.data]
                free = [s for s in free if s != slots[node.data]]
        for i, node in enumerate(backward.saved):
            if ("saved", i) in slots:
                continue
            phase = schedule_.number(node)
            slots["saved", i] = self.reuse(free, reads, node.n, phase) or self.new(node.n)

        schedule_ = program.backward_schedule
        pinned = {slots["saved", i] for i in backward.pinned}
        saved = {slots["saved", i]: schedule_.reads.get(("saved", i), []) for i in range(len(backward.saved))}
        free = [s for s in dict.fromkeys(slots.values()) if s not in pinned]
        for j, node in enumerate(program.gradients):
            phase = schedule_.number(node)
            slots["gradient", j] = self.reuse(free, saved, node.n, phase) or self.new(node.n, late=True)

    def new(self, n: int, *, late: bool = False) -> Slot:
        program = self.program
        offset = program.late_width if late else program.width
        if late:
            program.late_width += n
        else:
            program.width += n
        return Slot(offset, n, late)

    @staticmethod
    def reuse(free: list[Slot], reads: dict[Slot, list[tuple[int, bool]]], n: int, phase: int) -> Slot | None:
        """A slot of this width that no one reads after it is written in this phase."""
        for slot in free:
            over = all(at < phase or (at == phase and same_unit) for at, same_unit in reads.get(slot, []))
            if slot.n == n and over:
                free.remove(slot)
                return slot
        return None
