"""Differentiation: the step of backpropagation through time as a graph, and what the forward loop has to keep for it.

The backward step sees, at step t, the states and the input again, ("new", k) the state that step t made, ("saved", i)
what the forward loop kept, ("dstate", k) the gradient that comes from later steps and ("dout", i) the one that comes
from outside. It gives gradients for the taps of every state, for the rows of the input and for vectors. Gradients of
matrices are not made step by step: the loop keeps both factors, and one large product over all steps follows it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .analyze import Analyzed, rewritten
from .graph import Block, Graph, Map, Node, order, show

__all__ = ["COSTLY", "Backward", "WeightGradient", "differentiate"]

COSTLY = frozenset(
    {"exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "sigmoid", "tanh", "sin", "cos", "erf", "atan", "pow"}
)
"""Functions worth a place in memory rather than a second evaluation."""

CONSTANT = frozenset({"detach", "stationary"})
"""Functions that give what they are given and have no derivative: by the user's wish, or because it does not matter.

What depends on a "stationary" value is at an extremum there; for derivatives of higher order it is differentiated.
"""


@dataclass(frozen=True)
class WeightGradient:
    """d(block) = Σ_t sourceᵀ · gradient, summed over rows too; `source` is a leaf of the backward graph or a slice."""

    source: Node
    block: Block
    gradient: Node


@dataclass
class Backward:
    """The backward step.

    Attributes:
        saved: nodes of the forward loop to keep at every step.
        pinned: those of them that are read again after the backward loop.
        rows: leaf name -> gradient to keep at every step, for hoisted products and input rows.
        taps: (state, tap) -> gradient.
        vectors: (vector, where in it, gradient), to be summed over rows and steps.
        weights: the deferred products.
    """

    graph: Graph
    saved: list[Node]
    pinned: set[int]
    rows: dict[tuple, Node]
    taps: dict[tuple[int, int], Node]
    vectors: list[tuple[int, Map, Node]]
    weights: list[WeightGradient]

    def roots(self) -> list[Node]:
        """Everything to compute."""
        weights = [w.gradient for w in self.weights]
        return [*self.rows.values(), *self.taps.values(), *(v for *_, v in self.vectors), *weights]

    def text(self) -> str:
        """The backward step, readable."""
        names = {f"gradient of {' '.join(map(str, k))}": v for k, v in self.rows.items()}
        names |= {f"gradient of state {k} {tap}": v for (k, tap), v in self.taps.items()}
        names |= {f"gradient of vector {i}[{m}] (to be summed)": v for i, m, v in self.vectors}
        names |= {
            f"gradient of M{w.block.matrix}[{w.block.row}, {w.block.col}] (deferred product)": w.gradient
            for w in self.weights
        }
        kept = show({f"saved {i}": n for i, n in enumerate(self.saved)})
        return f"# kept by the forward loop\n{kept}\n# backward step\n{show(names)}"


def differentiate(step: Analyzed, differentiable: Callable[[tuple], bool]) -> Backward:
    """The backward step of `step`; `differentiable` tells which input leaves need a gradient."""
    return _Differentiation(step, differentiable).run()


class _Differentiation:
    def __init__(self, step: Analyzed, differentiable: Callable[[tuple], bool]):
        self.step, self.graph, self.differentiable = step, step.graph, differentiable
        self.parts: dict[Node, list[tuple[Node, Map | None]]] = {}
        self.terms: dict[Node, list[tuple[Node, Block]]] = {}
        self.weights: list[tuple[Node, Block, Node]] = []
        self.vectors: list[tuple[int, Map, Node]] = []

    def run(self) -> Backward:
        step, g = self.step, self.graph
        forward = order([*step.collected, *step.states])
        needs_gradient: dict[Node, bool] = {}
        for node in forward:
            if node.kind == "leaf":
                needs = node.data[0] in {"state", "vector", "hoisted"} or self.differentiable(node.data)
            else:
                needs = any(needs_gradient[a] for a in node.args) or node.kind == "product"
                needs = needs and not node.is_mask and not (node.kind == "apply" and node.data in CONSTANT)
            needs_gradient[node] = needs
        for i, node in enumerate(step.collected):
            self.give(node, g.leaf(node.n, "dout", i))
        for k, node in enumerate(step.states):
            self.give(node, g.leaf(node.n, "dstate", k))

        rows: dict[tuple, Node] = {}
        taps: dict[tuple[int, int], Node] = {}
        for node in reversed(forward):
            if not needs_gradient[node]:
                continue
            if node.kind == "leaf" and node.data[0] == "vector":
                self.vectors += self.of_vector(node)
                continue
            d = self.total(node)
            if d is None:
                continue
            if node.kind == "leaf":
                if node.data[0] == "state":
                    taps[node.data[1:]] = d
                else:
                    rows[node.data] = d
            else:
                self.back(node, d)
        return self.finish(set(forward), rows, taps)

    def give(self, node: Node, d: Node | None, where: Map | None = None) -> None:
        """Add `d` to the gradient of `node`, or of its elements `where`."""
        if d is not None:
            self.parts.setdefault(node, []).append((d, where))

    def total(self, node: Node) -> Node | None:
        """The sum of all that was given."""
        g = self.graph
        given = self.parts.get(node, [])
        whole = [d for d, where in given if where is None]
        if node in self.terms:
            whole.append(g.product(self.terms[node]))
        placed = [self.placed(d, where) for d, where in given if where is not None]
        if placed:
            slices: dict[Map, Node] = {}
            for d, where in placed:
                slices[where] = g.apply("add", slices[where], d) if where in slices else d
            whole.append(g.scatter(node.n, [(d, where) for where, d in slices.items()]))
        if not whole:
            return None
        result = whole[0]
        for d in whole[1:]:
            result = g.apply("add", result, d)
        return result

    def placed(self, d: Node, where: Map) -> tuple[Node, Map]:
        """A gradient that goes to one element many times, summed first."""
        if where.is_splat and where.n > 1:
            return self.graph.reduce("sum", d), Map(1, where.start)
        return d, where

    def of_vector(self, node: Node) -> list[tuple[int, Map, Node]]:
        given = [self.placed(d, Map(node.n) if where is None else where) for d, where in self.parts.get(node, [])]
        return [(node.data[1], where, d) for d, where in given]

    def placed_in_vector(self, i: int, where: Map, d: Node) -> tuple[int, Map, Node]:
        """A gradient for scattered elements of a vector, put in their order first."""
        if where.is_slice:
            return i, where, d
        n = int(where.indices().max()) + 1
        return i, Map(n), self.graph.scatter(n, [(d, where)])

    def back(self, node: Node, d: Node) -> None:
        g = self.graph
        if node.kind == "apply":
            for arg, da in zip(node.args, _RULES[node.data](_Formula(g), node, d), strict=False):
                if da is not None and arg.kind != "const":
                    self.give(arg, da)
        elif node.kind == "take":
            self.give(node.args[0], d, node.data)
        elif node.kind == "product":
            for source, b in zip(node.args, node.data, strict=True):
                self.weights.append((source, b, d))
                self.terms.setdefault(source, []).append((d, b.turned()))
        elif node.kind == "scatter":
            for part, where in zip(node.args, node.data, strict=True):
                self.give(part, g.take(d, where))
        else:
            (source,) = node.args
            spread = Map.of(np.repeat(np.arange(node.n), source.n // node.n))
            if node.data != "sum":  # the extremes share the gradient evenly
                hit = g.apply("eq", source, g.take(node, spread))
                one, none = g.const(1, source.n), g.const(0, source.n)
                count = g.reduce("sum", g.apply("where", hit, one, none), node.n)
                self.give(source, g.apply("where", hit, g.take(g.apply("div", d, count), spread), none))
            else:
                self.give(source, g.take(d, spread))

    def finish(self, forward: set[Node], rows: dict, taps: dict) -> Backward:
        """Decide what the forward loop keeps, and write the backward step in terms of it."""
        g, step = self.graph, self.step
        new = {node: g.leaf(node.n, "new", k) for k, node in reversed(list(enumerate(step.states)))}
        new = {n: leaf for n, leaf in new.items() if n.kind not in {"leaf", "const"}}
        d_roots = [*rows.values(), *taps.values(), *(v for *_, v in self.vectors), *(d for *_, d in self.weights)]
        wanted = {a for n in order(d_roots) if n not in forward for a in n.args if a in forward}
        wanted |= {d for d in d_roots if d in forward}
        saving = _Saving(set(new))
        for source, _, _ in self.weights:  # the other factor of the deferred product has to be in memory as it is
            base = source.args[0] if source.kind == "take" and source.data.is_slice else source
            in_memory = saving.at_hand(base) and base.kind not in {"const", "take", "apply"}
            if not in_memory and base not in new:
                saving.keep(base)
        pinned = list(saving.kept)
        wanted_in_order = [n for n in order([*step.collected, *step.states]) if n in wanted]
        saving.shared = Counter(base for n in wanted_in_order for base in saving.missing(n)[0])
        for node in wanted_in_order:
            saving.need(node)
        saved = list(saving.kept)
        replace = dict(new)
        for i, node in enumerate(saved):
            leaf = g.leaf(node.n, "saved", i)
            replace[node] = g.apply("ne", leaf, g.const(0, node.n)) if node.is_mask else leaf
        made = iter(rewritten(g, [*d_roots, *(s for s, *_ in self.weights)], replace))
        rows = {k: next(made) for k in rows}
        taps = {k: next(made) for k in taps}
        vectors = [self.placed_in_vector(i, where, next(made)) for i, where, _ in self.vectors]
        gradients = [next(made) for _ in self.weights]
        weights = [WeightGradient(next(made), b, d) for (_, b, _), d in zip(self.weights, gradients, strict=True)]
        return Backward(g, saved, {saved.index(n) for n in pinned}, rows, taps, _joined(g, vectors), weights)


def _joined(g: Graph, vectors: list[tuple[int, Map, Node]]) -> list[tuple[int, Map, Node]]:
    """Gradients of the same place of a vector, added."""
    sums: dict[tuple[int, Map], Node] = {}
    for i, where, d in vectors:
        sums[i, where] = g.apply("add", sums[i, where], d) if (i, where) in sums else d
    return [(i, where, d) for (i, where), d in sums.items()]


class _Saving:
    """Chooses what to keep: as few numbers as possible without evaluating costly functions a second time."""

    def __init__(self, new: set[Node]):
        self.new = new
        self.kept: dict[Node, None] = {}
        self.shared: Counter[Node] = Counter()
        """In how many needs a value that could be kept occurs; its cost is shared between them."""

    def keep(self, node: Node) -> None:
        self.kept[node] = None

    def at_hand(self, node: Node) -> bool:
        """Readable in the backward loop without being kept."""
        if node in self.new or node in self.kept or node.kind == "const":
            return True
        return node.kind == "leaf" and node.data[0] != "hoisted"

    def missing(self, node: Node) -> tuple[dict[Node, None], int]:
        """What would have to be kept to compute `node` again, and how many costly functions that takes."""
        if self.at_hand(node):
            return {}, 0
        if node.kind not in {"apply", "take"}:
            return {node: None}, 0
        found: dict[Node, None] = {}
        costly = int(node.kind == "apply" and node.data in COSTLY)
        for a in node.args:
            more, price = self.missing(a)
            found |= more
            costly += price
        return found, costly

    def need(self, node: Node) -> None:
        """Make sure that `node` can be had in the backward loop."""
        found, costly = self.missing(node)
        if not found and costly <= 1:
            return
        if found and sum(n.n / max(1, self.shared[n]) for n in found) < node.n and costly <= 1:
            for n in found:
                self.keep(n)
        else:
            self.keep(node)


class _Formula:
    def __init__(self, graph: Graph):
        self.graph = graph

    def __call__(self, fn: str, *args: Node | float) -> Node:
        n = next(a.n for a in args if isinstance(a, Node))
        return self.graph.apply(fn, *(a if isinstance(a, Node) else self.graph.const(a, n) for a in args))


Rule = Callable[[_Formula, Node, Node], list[Node | None]]


def _mul(f: _Formula, y: Node, d: Node) -> list[Node | None]:
    a, b = y.args
    return [f("mul", d, b), f("mul", d, a)]


def _div(f: _Formula, y: Node, d: Node) -> list[Node | None]:
    b = y.args[1]
    da = f("div", d, b)
    return [da, None if b.kind == "const" else f("neg", f("mul", da, y))]


def _pow(f: _Formula, y: Node, d: Node) -> list[Node | None]:
    a, b = y.args
    da = f("mul", d, f("mul", b, f("pow", a, f("sub", b, 1.0))))
    da = f("where", f("eq", b, 0.0), 0.0, da)
    if b.kind == "const":
        return [da, None]
    flat = f("and", f("eq", a, 0.0), f("ge", b, 0.0))
    return [da, f("where", flat, 0.0, f("mul", d, f("mul", y, f("log", a))))]


def _extreme(better: str) -> Rule:
    def rule(f: _Formula, y: Node, d: Node) -> list[Node | None]:
        a, b = y.args
        half = f("mul", d, 0.5)

        def share(one: Node, other: Node) -> Node:
            return f("where", f("eq", one, other), half, f("where", f(better, one, other), d, 0.0))

        return [share(a, b), share(b, a)]

    return rule


def _no(f: _Formula, y: Node, d: Node) -> list[Node | None]:
    return []


def _unary(derivative: Callable[[_Formula, Node, Node], Node]) -> Rule:
    """Dx = d ⊙ derivative(x, y)."""
    return lambda f, y, d: [f("mul", d, derivative(f, y.args[0], y))]


_RULES: dict[str, Rule] = {
    "add": lambda f, y, d: [d, d],
    "sub": lambda f, y, d: [d, f("neg", d)],
    "neg": lambda f, y, d: [f("neg", d)],
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    "max": _extreme("gt"),
    "min": _extreme("lt"),
    "where": lambda f, y, d: [None, f("where", y.args[0], d, 0.0), f("where", y.args[0], 0.0, d)],
    "relu": lambda f, y, d: [f("where", f("gt", y, 0.0), d, 0.0)],
    "exp": _unary(lambda f, x, y: y),
    "expm1": _unary(lambda f, x, y: f("add", y, 1.0)),
    "log": lambda f, y, d: [f("div", d, y.args[0])],
    "log1p": lambda f, y, d: [f("div", d, f("add", y.args[0], 1.0))],
    "sqrt": lambda f, y, d: [f("div", d, f("mul", y, 2.0))],
    "rsqrt": _unary(lambda f, x, y: f("mul", f("mul", y, f("mul", y, y)), -0.5)),
    "reciprocal": _unary(lambda f, x, y: f("neg", f("mul", y, y))),
    "sigmoid": _unary(lambda f, x, y: f("mul", y, f("sub", 1.0, y))),
    "tanh": _unary(lambda f, x, y: f("sub", 1.0, f("mul", y, y))),
    "abs": _unary(lambda f, x, y: f("sign", x)),
    "sin": _unary(lambda f, x, y: f("cos", x)),
    "cos": _unary(lambda f, x, y: f("neg", f("sin", x))),
    "erf": _unary(lambda f, x, y: f("mul", f("exp", f("neg", f("mul", x, x))), 2 / math.sqrt(math.pi))),
    "atan": lambda f, y, d: [f("div", d, f("add", f("mul", y.args[0], y.args[0]), 1.0))],
    **dict.fromkeys("sign floor ceil trunc round detach stationary lt le gt ge eq ne and or not".split(), _no),
}
