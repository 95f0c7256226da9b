"""Analysis: what of a step depends on what, and so what has to be done inside the loop over time.

    hoisted   products of the input: one large product over the whole sequence, into the loop's work rows
    before    what of the input alone goes into such a product: over the whole sequence, by PyTorch
    loop      the recurrence itself, and the rest of what depends on the input only, which costs little there
    behind    made from the output of the loop and feeding no state: over the whole sequence, by PyTorch

What depends on parameters alone never got into the graph: it is in the capture's recipe.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .capture import Captured
from .graph import Block, Graph, Map, Node, order, show

__all__ = ["Analyzed", "analyze", "rewritten"]


@dataclass
class Analyzed:
    """A step in pieces.

    Attributes:
        graph: the maker of the nodes.
        before: nodes over input leaves; the loop sees the i-th as leaf ("before", i).
        hoisted: products of row leaves; the loop sees the i-th as leaf ("hoisted", i).
        collected: nodes of the loop whose values at all steps are wanted.
        states: the new states.
        behind: the output as a node over ("collected", i) and input leaves, or None when it is collected[0].
        linear: the recurrence is linear and diagonal: every state is a ⊙ itself + b, neither dependent on states.
    """

    graph: Graph
    before: list[Node]
    hoisted: list[Node]
    collected: list[Node]
    states: list[Node]
    behind: Node | None
    linear: bool

    def text(self) -> str:
        """The pieces, readable."""
        parts = {
            "before the loop, over the whole sequence": {f"before {i}": n for i, n in enumerate(self.before)},
            "hoisted products, over the whole sequence": {f"hoisted {i}": n for i, n in enumerate(self.hoisted)},
            "in the loop": {
                **{f"collected {i}": n for i, n in enumerate(self.collected)},
                **{f"state {i}": n for i, n in enumerate(self.states)},
            },
            "behind the loop, over the whole sequence": {"output": self.behind} if self.behind else {},
        }
        return "\n".join(f"# {title}\n{show(nodes)}" for title, nodes in parts.items() if nodes)


def rewritten(graph: Graph, roots: list[Node], replace: dict[Node, Node], *, merge: bool = False) -> list[Node]:
    """The roots with nodes replaced; `merge` joins sums of products that are used nowhere else into one product."""
    done: dict[Node, Node] = dict(replace)
    uses = Counter(a for n in order(roots) for a in n.args)
    for node in order(roots):
        if node in done:
            continue
        args = tuple(done[a] for a in node.args)
        done[node] = _rebuilt(graph, node, args)
        sum_of_products = node.kind == "apply" and node.data == "add" and all(a.kind == "product" for a in args)
        if merge and sum_of_products and args[0] is not args[1] and all(uses[a] == 1 for a in node.args):
            done[node] = graph.product(t for a in args for t in zip(a.args, a.data, strict=True))
    return [done[r] for r in roots]


def _rebuilt(graph: Graph, node: Node, args: tuple[Node, ...]) -> Node:
    if args == node.args:
        return node
    if node.kind == "apply":
        return graph.apply(node.data, *args)
    if node.kind == "take":
        return graph.view(args[0], node.data)
    if node.kind == "product":
        return graph.product(zip(args, node.data, strict=True))
    if node.kind == "reduce":
        return graph.reduce(node.data, args[0], node.n)
    return graph.scatter(node.n, list(zip(args, node.data, strict=True)))


def analyze(captured: Captured) -> Analyzed:
    """Take the step apart."""
    graph = captured.graph
    roots = _whole_products(graph, [captured.output, *captured.states])
    kind = _dependence(roots)

    before, hoisted = _of_the_input(graph, roots, kind)
    replace = {n: _as(n, graph, "before", i) for i, n in enumerate(before)}
    hoisted = [h for h in rewritten(graph, hoisted, replace) if h.kind == "product"] if hoisted else []
    roots = rewritten(graph, roots, replace)
    replace = {n: graph.leaf(n.n, "hoisted", i) for i, n in enumerate(hoisted)}
    roots = rewritten(graph, roots, replace, merge=True)

    output, *states = roots
    collected, behind = _behind(graph, output, states)
    return Analyzed(graph, before, hoisted, collected, states, behind, _is_linear(states))


def _as(node: Node, graph: Graph, *name: object) -> Node:
    """What stands for `node` where it has become a leaf; truth values are kept as zeros and ones."""
    leaf = graph.leaf(node.n, *name)
    return graph.apply("ne", leaf, graph.const(0, node.n)) if node.is_mask else leaf


def _dependence(roots: list[Node]) -> dict[Node, str]:
    """For every node "state", "input" or "fixed"."""
    kind: dict[Node, str] = {}
    for node in order(roots):
        if node.kind == "leaf":
            kind[node] = {"state": "state", "vector": "fixed"}.get(node.data[0], "input")
        else:
            of = {kind[a] for a in node.args}
            kind[node] = "state" if "state" in of else "input" if "input" in of else "fixed"
    return kind


def _whole_products(graph: Graph, roots: list[Node]) -> list[Node]:
    """Column slices of a product that is also needed whole become views of it: it is computed once."""
    products = [n for n in order(roots) if n.kind == "product" and len(n.args) == 1]
    replace = {}
    for part in products:
        for whole in products:
            if whole.args == part.args and whole.n > part.n:
                start = _inside(part.data[0], whole.data[0])
                if start is not None:
                    replace[part] = graph.view(whole, Map(part.n, start))
                    break
    return rewritten(graph, roots, replace) if replace else roots


def _inside(part: Block, whole: Block) -> int | None:
    """Where the columns of `part` begin in `whole`, or None."""
    if part.matrix != whole.matrix or part.transposed != whole.transposed:
        return None
    if part.transposed:
        part, whole = (Block(b.matrix, b.col, b.row, b.k, b.n) for b in (part, whole))
    same_rows = (part.row, part.k) == (whole.row, whole.k)
    inside = whole.col <= part.col and part.col + part.n <= whole.col + whole.n
    return part.col - whole.col if same_rows and inside else None


def _of_the_input(graph: Graph, roots: list[Node], kind: dict[Node, str]) -> tuple[list[Node], list[Node]]:
    """The nodes to make before the loop, and the products to hoist.

    Every product of the input is hoisted. What goes into one has to be known for the whole sequence before it: it is
    made before, unless it is an input or a slice of one, which are there already.
    """
    nodes = order(roots)
    products = [n for n in nodes if n.kind == "product" and kind[n] == "input"]
    sources = dict.fromkeys(a for p in products for a in p.args if not _is_there(a))
    early = set(order(sources))
    products = [p for p in products if p not in early]
    products.sort(key=lambda p: [(a.number, b.matrix, b.row, b.col) for a, b in zip(p.args, p.data, strict=True)])
    late = [n for n in nodes if n not in early]
    needed = {a for n in late for a in n.args if a in early} | {r for r in roots if r in early}
    before = [n for n in nodes if n in needed and n.kind not in {"leaf", "const"} and kind[n] == "input"]
    return [n for n in before if not _is_there(n)], products


def _is_there(node: Node) -> bool:
    """An input or a slice of one."""
    return node.kind == "leaf" or (node.kind == "take" and node.data.is_slice and node.args[0].kind == "leaf")


def _behind(graph: Graph, output: Node, states: list[Node]) -> tuple[list[Node], Node | None]:
    """What of the output can be made after the loop."""
    for_states = set(order(states))
    late: set[Node] = set()
    for node in order([output]):
        if node in for_states or node.kind == "leaf":
            continue
        if node.kind in {"product", "reduce", "scatter"} or any(a in late for a in node.args):
            late.add(node)
    if output not in late:
        return [output], None
    inside = _inside_loop([output])
    collected: list[Node] = []
    replace: dict[Node, Node] = {}
    for node in order([output]):
        if node in late:
            for a in node.args:
                if a in inside and a not in late and a not in replace:
                    replace[a] = _as(a, graph, "collected", len(collected))
                    collected.append(a)
    (behind,) = rewritten(graph, [output], replace)
    return collected, behind


def _inside_loop(roots: list[Node]) -> set[Node]:
    """What depends on a state or on a hoisted product, and so can be had in the loop only."""
    found: set[Node] = set()
    for node in order(roots):
        if (node.kind == "leaf" and node.data[0] in {"state", "hoisted"}) or any(a in found for a in node.args):
            found.add(node)
    return found


def _is_linear(states: list[Node]) -> bool:
    """Whether each new state is a ⊙ state + b with a and b free of states, through element-wise functions only."""
    for k, root in enumerate(states):
        degree: dict[Node, int] = {}
        for node in order([root]):
            if node.kind == "leaf":
                own = node.data[0] == "state"
                if own and node.data[1:] != (k, 1):
                    return False
                degree[node] = 1 if own else 0
                continue
            of = [degree[a] for a in node.args]
            if not any(of):
                degree[node] = 0
            elif node.kind != "apply" or not _keeps_degree(node.data, of):
                return False
            else:
                degree[node] = 1
    return bool(states)


def _keeps_degree(fn: str, of: list[int]) -> bool:
    """Whether a function of arguments that are linear (1) or free (0) in the state is linear in it."""
    if fn == "mul":
        return sum(of) == 1
    if fn == "div":
        return of[1] == 0
    return fn in {"add", "sub", "neg"} or (fn == "where" and of[0] == 0)
