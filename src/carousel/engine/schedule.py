"""Scheduling: a graph becomes phases, each one pass over the rows, and every value that outlives its phase a place.

A *block* phase goes through the units in blocks: matrix products into a register tile, then everything element-wise
that depends on them. A *row* phase makes a reduction, or puts pieces together. Values that are cheap are computed again
where they are used; products, costly functions and what is stored are computed once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .differentiate import COSTLY
from .graph import Node, order

__all__ = ["Phase", "Place", "Schedule", "Store", "schedule"]


@dataclass(frozen=True)
class Place:
    """Rows in memory: a name, the step relative to the present one, or a ring that the step is taken modulo."""

    name: tuple
    shift: int = 0
    ring: int = 0


@dataclass(frozen=True)
class Store:
    """Where a root goes; `add` adds to what is there, `total` sums over rows and steps (into one vector a thread)."""

    node: Node
    place: Place
    add: bool = False
    total: bool = False


@dataclass
class Phase:
    """One pass. `kind` is "block", "reduce" or "scatter"."""

    level: int
    n: int
    kind: str
    nodes: list[Node] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)
    products: list[Node] = field(default_factory=list)


@dataclass
class Schedule:
    """Phases in order, and where values are that cross from one to another.

    Attributes:
        phases: in the order of execution.
        of: the phase in which an anchored node is computed.
        places: where a node can be read in later phases.
        reads: (place name) -> (phase number, read at the same unit only) of every read.
        meets: for every phase whether threads that share the units of a row have to meet before it.
    """

    phases: list[Phase]
    of: dict[Node, Phase]
    places: dict[Node, Place]
    reads: dict[tuple, list[tuple[int, bool]]]
    meets: list[bool]

    def number(self, node: Node) -> int:
        """The position of the phase that computes `node`."""
        return self.phases.index(self.of[node])


@dataclass(frozen=True)
class _Access:
    """A read or write: `unit` is n where each unit of n is touched by the thread that has it, else 0."""

    place: Place
    unit: int
    writes: bool = False


_WORK = frozenset({"hoisted", "saved", "gradient"})
"""Names of rows in the work buffer, where one may take the place of another."""


def _meetings(accesses: list[list[_Access]], direction: int) -> list[bool]:
    """Before which phases threads must meet, that no one reads what is not there yet or writes what is still read."""
    meets = [False] * len(accesses)
    known = None
    while meets != known:
        known = list(meets)
        since: dict[tuple, list[_Access]] = {}
        for step in range(3):
            for number, phase in enumerate(accesses):
                at = [(_location(access.place, step * direction), access) for access in phase]
                apart = all(_apart(access, other) for key, access in at for other in since.get(key, ()))
                if meets[number] or not apart:
                    meets[number] = True
                    since = {}
                for key, access in at:
                    since.setdefault(key, []).append(access)
    return meets


def _location(place: Place, step: int) -> tuple:
    """The memory at this step; the same for all steps where it is used in turns."""
    name = ("work",) if place.name[0] in _WORK else place.name
    return (name, None) if place.ring or place.name[0] == "scratch" else (name, step + place.shift)


def _apart(one: _Access, other: _Access) -> bool:
    """Whether two accesses to the same memory by different threads can't get in each other's way."""
    return not (one.writes or other.writes) or one.unit == other.unit != 0


def source_of(node: Node) -> Node:
    """What is read from memory for a take or the factor of a product."""
    return node.args[0] if node.kind == "take" and node.data.is_slice else node


def schedule(stores: list[Store], leaf_place: Any, *, backward: bool) -> Schedule:
    """Phases for the stores; `leaf_place(node)` is the `Place` of a leaf, or None for vectors."""
    return _Scheduling(stores, leaf_place, -1 if backward else 1).run()


class _Scheduling:
    def __init__(self, stores: list[Store], leaf_place: Any, direction: int):
        self.stores, self.leaf_place, self.direction = stores, leaf_place, direction
        self.nodes = order([s.node for s in stores])
        self.anchored: set[Node] = {s.node for s in stores}
        for node in self.nodes:
            costly = node.kind == "apply" and node.data in COSTLY and not self.once_per_row(node)
            if node.kind in {"product", "reduce", "scatter"} or costly:
                self.anchored.add(node)
            if node.kind == "take" and node.args[0].kind != "leaf":
                self.anchored.add(node.args[0])
            if node.kind in {"product", "scatter"}:
                self.anchored |= {source_of(a) for a in node.args if not self.in_memory(source_of(a))}
        self.level: dict[Node, int] = {}
        self.phases: dict[tuple, Phase] = {}
        self.of: dict[Node, Phase] = {}
        self.places: dict[Node, Place] = {}
        self.reads: dict[tuple, list[tuple[int, bool]]] = {}
        self.accesses: list[list[_Access]] = []

    def in_memory(self, node: Node) -> bool:
        return node.kind == "leaf" and self.leaf_place(node) is not None

    def once_per_row(self, node: Node) -> bool:
        """Whether it is computed for a row as a whole, which is cheap."""
        if node.kind == "apply":
            return all(self.once_per_row(a) for a in node.args)
        if node.kind == "take":
            return node.data.is_splat and (node.args[0].kind != "leaf" or self.in_memory(node.args[0]))
        return node.kind == "const"

    def after(self, node: Node) -> int:
        """The first level at which `node` can be read from memory."""
        return 0 if self.in_memory(node) or node.kind in {"leaf", "const"} else self.level[node] + 1

    def run(self) -> Schedule:
        for node in self.nodes:
            self.level[node] = self.level_of(node)
        for node in self.nodes:
            if node in self.anchored:
                kind = node.kind if node.kind in {"reduce", "scatter"} else "block"
                n = node.args[0].n if kind == "reduce" else node.n
                key = (self.level[node], kind, n if kind != "reduce" else (n, node.n))
                phase = self.phases.setdefault(key, Phase(self.level[node], n, kind))
                phase.nodes.append(node)
                self.of[node] = phase
        for store in self.stores:
            phase = self.of[store.node]
            if phase.kind == "block":
                phase.stores.append(store)
        self.give_places()
        rank = {"block": 0, "reduce": 1, "scatter": 2}
        phases = sorted(self.phases.values(), key=lambda p: (p.level, rank[p.kind]))
        for number, phase in enumerate(phases):
            self.accesses.append([])
            self.plan(number, phase)
        for number, phase in enumerate(phases):
            self.written(number, phase)
        return Schedule(phases, self.of, self.places, self.reads, _meetings(self.accesses, self.direction))

    def level_of(self, node: Node) -> int:
        if node.kind in {"leaf", "const"}:
            return 0
        if node.kind == "take":
            return self.after(node.args[0])
        if node.kind in {"product", "scatter"}:
            return max(self.after(source_of(a)) for a in node.args)
        if node.kind == "reduce":
            return self.stop_level(node.args[0])
        return max((self.level[a] + (a.kind in {"reduce", "scatter"}) for a in node.args), default=0)

    def stop_level(self, node: Node) -> int:
        """The level of a row phase that evaluates `node`: after every anchored value that it reads."""
        if node.kind in {"leaf", "const"}:
            return 0
        if node in self.anchored:
            return self.level[node] + 1
        if node.kind == "take":
            return self.after(node.args[0])
        return max(self.stop_level(a) for a in node.args)

    def give_places(self) -> None:
        """A node that is stored can be read from there; a scatter is put together in its first place."""
        for store in self.stores:
            if store.total or store.add or store.node in self.places or store.node.kind in {"leaf", "const"}:
                continue
            if store.place.ring and self.of[store.node].kind == "block":
                continue
            self.places[store.node] = store.place
        for store in self.stores:
            if self.of[store.node].kind != "block" and self.places.get(store.node) != store.place:
                self.copied(store)

    def copied(self, store: Store) -> None:
        """A second place for what a row phase makes: copied by a block phase after it."""
        level = self.level[store.node] + 1
        phase = self.phases.setdefault((level, "block", store.node.n), Phase(level, store.node.n, "block"))
        phase.stores.append(store)

    def plan(self, number: int, phase: Phase) -> None:
        """Find what the phase reads from memory and which products it needs."""
        seen: set[Node] = set()

        def read(node: Node, same_unit: bool) -> None:
            place = self.leaf_place(node) if node.kind == "leaf" else self.place(node)
            if place is not None:
                self.reads.setdefault(place.name, []).append((number, same_unit))
                self.accesses[number].append(_Access(place, phase.n if same_unit else 0))

        def visit(node: Node) -> None:
            if node in seen:
                return
            seen.add(node)
            if node.kind == "leaf":
                read(node, phase.kind == "block")
            elif node.kind == "take":
                if node.args[0].kind != "leaf" or self.in_memory(node.args[0]):
                    read(node.args[0], False)
            elif node in self.anchored and self.of[node] is not phase:
                read(node, phase.kind == "block")
            elif node.kind == "product":
                phase.products.append(node)
                for a in node.args:
                    read(source_of(a), False)
            else:
                for a in node.args:
                    visit(a)

        if phase.kind == "block":
            for node in [*phase.nodes, *(s.node for s in phase.stores)]:
                visit(node)
        elif phase.kind == "reduce":
            for node in phase.nodes:
                visit(node.args[0])
        else:
            for node in phase.nodes:
                for a in node.args:
                    read(source_of(a), False)
        if phase.kind != "block":
            for node in phase.nodes:
                self.place(node)

    def written(self, number: int, phase: Phase) -> None:
        """Find what the phase writes to memory."""
        unit = phase.n if phase.kind == "block" else 0
        places = {store.place for store in phase.stores if not store.total}
        places |= {self.places[node] for node in phase.nodes if node in self.places}
        self.accesses[number] += [_Access(place, unit, writes=True) for place in places]

    def place(self, node: Node) -> Place:
        """Where `node` is read; scratch if it has no other place."""
        if node not in self.places:
            self.places[node] = Place(("scratch", len([p for p in self.places.values() if p.name[0] == "scratch"])))
        return self.places[node]
