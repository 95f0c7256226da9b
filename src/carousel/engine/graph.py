"""The core language of the compiler: one step of a cell as a graph over rows.

Every value is a row of `n` features per batch element (tensors of more dimensions are flattened). There are six kinds
of node; `Graph` makes each distinct one once and simplifies on the way: a `take` is moved towards the leaves, so that
the gates of one big matrix product become products of their own.

    leaf      a value from outside: ("x",), ("state", k, tap), ("vector", i), ("row", i) …
    const     a number
    apply     an element-wise function of rows of equal length
    take      out[j] = in[map[j]]                                   (slice, broadcast, permutation)
    product   out = Σ_i  in_i · M_i                                 (M_i a block of a parameter matrix)
    reduce    sum, max or min over consecutive groups of features
    scatter   out[map[j]] += in_i[j], summed over the parts i        (concatenation; the transpose of `take`)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["MASKS", "Block", "Graph", "Map", "Node", "order", "show"]

MASKS = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"})
"""Element-wise functions whose value is true or false."""


@dataclass(frozen=True)
class Map:
    """An index map of a `take`: `start` for consecutive ones, `stride` 0 for one element repeated; else a table."""

    n: int
    start: int = 0
    stride: int = 1
    table: bytes | None = None

    @staticmethod
    def of(indices: Sequence[int] | np.ndarray) -> Map:
        """The simplest map that has these indices."""
        a = np.ascontiguousarray(indices, dtype=np.int32)
        if len(a) == 1 or (a[1:] - a[:-1] == 1).all():
            return Map(len(a), int(a[0]))
        if (a == a[0]).all():
            return Map(len(a), int(a[0]), 0)
        return Map(len(a), table=a.tobytes())

    def indices(self) -> np.ndarray:
        """As an array."""
        if self.table is not None:
            return np.frombuffer(self.table, dtype=np.int32)
        return self.start + self.stride * np.arange(self.n, dtype=np.int32)

    @property
    def is_slice(self) -> bool:
        """Consecutive elements."""
        return self.table is None and (self.stride == 1 or self.n == 1)

    @property
    def is_splat(self) -> bool:
        """One element for all."""
        return self.table is None and self.stride == 0

    def __str__(self) -> str:
        if self.is_slice:
            return f"{self.start}:{self.start + self.n}"
        return f"{self.start} x{self.n}" if self.is_splat else f"table of {self.n}"


@dataclass(frozen=True)
class Block:
    """Rows `row:row+k` and columns `col:col+n` of parameter matrix number `matrix`, (in, out); or its transpose."""

    matrix: int
    row: int
    col: int
    k: int
    n: int
    transposed: bool = False

    def turned(self) -> Block:
        """For the product in the other direction."""
        return Block(self.matrix, self.row, self.col, self.n, self.k, not self.transposed)


@dataclass(frozen=True, eq=False)
class Node:
    """A row of `n` features; see the module for the kinds."""

    kind: str
    n: int
    args: tuple[Node, ...] = ()
    data: Any = None
    number: int = 0

    @property
    def is_mask(self) -> bool:
        return self.kind == "apply" and self.data in MASKS

    @property
    def is_uniform(self) -> bool:
        """All its features are visibly the same."""
        if self.kind == "apply":
            return all(a.is_uniform for a in self.args)
        return self.kind == "const" or (self.kind == "take" and self.data.is_splat)

    def __repr__(self) -> str:
        return f"%{self.number}"


@dataclass
class Graph:
    """Makes nodes; equal ones are one."""

    _nodes: dict[Any, Node] = field(default_factory=dict)

    def _make(self, kind: str, n: int, args: tuple[Node, ...] = (), data: Any = None) -> Node:
        key = (kind, n, args, data)
        if key not in self._nodes:
            self._nodes[key] = Node(kind, n, args, data, len(self._nodes))
        return self._nodes[key]

    def leaf(self, n: int, *name: Any) -> Node:
        """A value from outside."""
        return self._make("leaf", n, data=name)

    def const(self, value: float, n: int) -> Node:
        """A number, as a row."""
        return self._make("const", n, data=_Number(float(value)))

    def apply(self, fn: str, *args: Node) -> Node:
        """An element-wise function."""
        n = args[0].n
        assert all(a.n == n for a in args), (fn, [a.n for a in args])
        values = [a.data.value if a.kind == "const" else None for a in args]
        if fn == "add" and values[0] == 0:
            return args[1]
        if fn in ("add", "sub") and values[1] == 0:
            return args[0]
        if fn == "mul" and values[0] == 1:
            return args[1]
        if fn in ("mul", "div") and values[1] == 1:
            return args[0]
        if fn == "neg" and args[0].kind == "apply" and args[0].data == "neg":
            return args[0].args[0]
        if fn == "where" and args[1] is args[2]:
            return args[1]
        return self._make("apply", n, args, fn)

    def take(self, source: Node, m: Map) -> Node:
        """out[j] = source[map[j]], moved to where it costs least."""
        if m.is_slice and m.start == 0 and m.n == source.n:
            return source
        if source.kind == "const":
            return self.const(source.data.value, m.n)
        if source.kind == "take":
            return self.take(source.args[0], Map.of(source.data.indices()[m.indices()]))
        if source.kind == "apply":
            return self.apply(source.data, *(self.take(a, m) for a in source.args))
        if source.kind == "product" and m.is_slice:
            blocks = tuple(
                Block(b.matrix, b.row + m.start, b.col, b.k, m.n, True)
                if b.transposed
                else Block(b.matrix, b.row, b.col + m.start, b.k, m.n)
                for b in source.data
            )
            return self._make("product", m.n, source.args, blocks)
        if source.kind == "scatter" and m.is_slice:
            for part, where in zip(source.args, source.data, strict=True):
                inside = where.is_slice and where.start <= m.start and m.start + m.n <= where.start + where.n
                if inside and _disjoint(source.data):
                    return self.take(part, Map(m.n, m.start - where.start))
        return self.view(source, m)

    def view(self, source: Node, m: Map) -> Node:
        """A `take` that stays where it is."""
        return self._make("take", m.n, (source,), m)

    def product(self, terms: Iterable[tuple[Node, Block]]) -> Node:
        """Σ source · block."""
        sources, blocks = zip(*terms, strict=True)
        return self._make("product", blocks[0].n, tuple(sources), tuple(blocks))

    def reduce(self, how: str, source: Node, outer: int = 1) -> Node:
        """`how` ("sum", "max", "min") over each of `outer` groups of consecutive features."""
        if source.n == outer:
            return source
        if how == "sum" and source.kind == "apply" and source.data in {"mul", "div", "neg"}:
            factored = self._factored(source, outer)
            if factored is not None:
                return factored
        return self._make("reduce", outer, (source,), how)

    def _factored(self, source: Node, outer: int) -> Node | None:
        """The sums of a product, where a factor is the same for all: that factor times the sums of the other."""
        if source.data == "neg":
            return self.apply("neg", self.reduce("sum", source.args[0], outer))
        a, b = source.args
        if b.is_uniform:
            return self.apply(source.data, self.reduce("sum", a, outer), self.narrowed(b, outer))
        if source.data == "mul" and a.is_uniform:
            return self.apply("mul", self.narrowed(a, outer), self.reduce("sum", b, outer))
        return None

    def narrowed(self, node: Node, n: int) -> Node:
        """The first `n` features of a uniform node."""
        if node.kind == "const":
            return self.const(node.data.value, n)
        if node.kind == "take":
            start = node.data.start
            return self.take(node.args[0], Map(n, start, 0 if n > 1 else 1))
        return self.apply(node.data, *(self.narrowed(a, n) for a in node.args))

    def scatter(self, n: int, parts: Sequence[tuple[Node, Map]]) -> Node:
        """A row of `n` zeros to which every part is added at its places."""
        if len(parts) == 1 and parts[0][1].is_slice and parts[0][1].n == n:
            return parts[0][0]
        return self._make("scatter", n, tuple(p for p, _ in parts), tuple(m for _, m in parts))


@dataclass(frozen=True)
class _Number:
    """A float whose equality tells -0.0 from 0.0 and has NaN equal to itself."""

    value: float

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Number) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[bool, float, float]:
        return (self.value != self.value, 0.0 if self.value != self.value else self.value, math.copysign(1, self.value))


def _disjoint(maps: Sequence[Map]) -> bool:
    indices = np.concatenate([m.indices() for m in maps])
    return len(np.unique(indices)) == len(indices)


def order(roots: Iterable[Node]) -> list[Node]:
    """The roots and all they depend on, arguments first."""
    done: dict[Node, None] = {}
    stack: list[tuple[Node, Iterator[Node]]] = []
    for root in roots:
        if root in done:
            continue
        stack.append((root, iter(root.args)))
        while stack:
            node, rest = stack[-1]
            for arg in rest:
                if arg not in done:
                    stack.append((arg, iter(arg.args)))
                    break
            else:
                done[node] = None
                stack.pop()
    return list(done)


def show(roots: dict[str, Node]) -> str:
    """The graph as text, one node a line; equal graphs give equal text."""
    numbers: dict[Node, int] = {}
    lines = []
    for number, node in enumerate(order(roots.values())):
        numbers[node] = number
        args = ", ".join(f"%{numbers[a]}" for a in node.args)
        lines.append(f"%{number}: {node.n} = {_describe(node, args)}")
    return "\n".join([*lines, *(f"{name} = %{numbers[node]}" for name, node in roots.items())])


def _describe(node: Node, args: str) -> str:
    if node.kind == "leaf":
        return " ".join(map(str, node.data))
    if node.kind == "const":
        return repr(node.data.value)
    if node.kind == "apply":
        return f"{node.data}({args})"
    if node.kind == "take":
        return f"{args}[{node.data}]"
    if node.kind == "reduce":
        return f"{node.data}({args})"
    if node.kind == "scatter":
        return f"scatter({', '.join(f'{m}: %' for m in node.data)} of {args})"
    blocks = ", ".join(
        f"M{b.matrix}{'.T' if b.transposed else ''}[{b.row}+{b.k if not b.transposed else b.n}, "
        f"{b.col}+{b.n if not b.transposed else b.k}]"
        for b in node.data
    )
    return f"product({args}; {blocks})"
