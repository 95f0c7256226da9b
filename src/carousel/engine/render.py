"""Rendering: phases become C++ text.

Sizes are no part of the text: every length, offset and number such as 1/n is an entry of a table given at run time, so
that one build serves all sizes of a cell. Beside it is listed which rows, vectors, packed matrices and index tables the
code wants.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from .graph import Block, Map, Node
from .schedule import Phase, Place, Schedule, Store, source_of

__all__ = ["Code", "render"]


@dataclass
class Code:
    """A rendered loop: its text, and what to pass to it, in order.

    Attributes:
        text: the phases and the function `name`.
        rows: names of rows in memory.
        vectors: numbers of vectors.
        packed: blocks of matrices.
        tables: index tables.
        sizes: the lengths and offsets that the text refers to.
        numbers: the constants that it refers to.
    """

    text: str = ""
    rows: list[tuple] = field(default_factory=list)
    vectors: list[int] = field(default_factory=list)
    packed: list[Block] = field(default_factory=list)
    tables: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)


_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==",
          "ne": "!=", "and": "&", "or": "|"}  # fmt: skip
_CALLS = {"sqrt": "vsqrt", "rsqrt": "vrsqrt", "exp": "vexp", "expm1": "vexpm1", "log": "vlog", "log1p": "vlog1p",
          "sigmoid": "vsigmoid", "tanh": "vtanh", "abs": "vabs", "sign": "vsign", "sin": "vsin", "cos": "vcos",
          "erf": "verf", "atan": "vatan", "floor": "vfloor", "ceil": "vceil", "trunc": "vtrunc", "round": "vround",
          "max": "vmax", "min": "vmin", "pow": "vpow"}  # fmt: skip
_FORMULAS = {
    "neg": "-{0}",
    "detach": "{0}",
    "stationary": "{0}",
    "where": "select({0}, {1}, {2})",
    "relu": "select({0} <= splat(0), splat(0), {0})",
    "reciprocal": "splat(1) / {0}",
    "not": "~{0}",
}


def render(name: str, schedule: Schedule, leaf_place: Callable[[Node], Place | None], *, backward: bool) -> Code:
    """C++ for the schedule, as a function `name(const Frame*)`."""
    return _Renderer(name, schedule, leaf_place, backward).run()


class _Renderer:
    def __init__(self, name: str, schedule: Schedule, leaf_place: Callable[[Node], Place | None], backward: bool):
        self.name, self.schedule, self.leaf_place, self.backward = name, schedule, leaf_place, backward
        self.code = Code()
        self.lines: list[str] = []

    def run(self) -> Code:
        for number, phase in enumerate(self.schedule.phases):
            {"block": self.block, "reduce": self.reduce, "scatter": self.scatter}[phase.kind](number, phase)
        self.driver()
        self.code.text = "\n".join(self.lines) + "\n"
        return self.code

    # what the code refers to

    def size(self, value: int) -> str:
        self.code.sizes.append(value)
        return f"D[{len(self.code.sizes) - 1}]"

    def index(self, of: list, value: object) -> int:
        if value not in of:
            of.append(value)
        return of.index(value)

    def place_of(self, node: Node) -> Place:
        place = self.leaf_place(node) if node.kind == "leaf" else self.schedule.places[node]
        assert place is not None
        return place

    def rows(self, place: Place) -> tuple[str, str]:
        """C++ for the address of row 0, and for the distance of rows, at the present step."""
        i = self.index(self.code.rows, place.name)
        step = "t"
        if place.ring:
            ring = self.size(place.ring)
            step = f"((t + {self.size(place.shift + place.ring)}) % {ring})"
        elif place.shift:
            step = f"(t + {self.size(place.shift)})"
        return f"f.rows[{i}].p + {step} * f.rows[{i}].t_stride", f"f.rows[{i}].r_stride"

    # one phase

    def head(self, number: int, arguments: str) -> None:
        self.lines += [
            f"static void {self.name}_{number}(const Frame& f, long t, {arguments}) {{",
            "  const long* const D = f.sizes;",
        ]

    def block(self, number: int, phase: Phase) -> None:
        self.head(number, "long r0, long r1, long b0, long b1, long id")
        body = _Body(self, phase)
        n = self.size(phase.n)
        per_vector = body.emit_block()
        products = phase.products
        if products:
            self.lines.append(f"  alignas(64) real tile[{len(products)} * MR * BLK];")
        self.lines += [f"  {line}" for line in body.head]
        self.lines += [
            f"  const long n = {n};",
            "  for (long b = b0; b < b1; b++) {",
            "    const long j0 = b * BLK, j1 = j0 + BLK < n ? j0 + BLK : n;",
            "    tiles(r0, r1, [&](long a, long m) {",
        ]
        for q, product in enumerate(products):
            self.lines += [f"      {line}" for line in self.product(q, product)]
        if body.per_row:
            self.lines += [f"      V u[{body.uniforms}][MR];", "      for (long r = 0; r < m; r++) {"]
            self.lines += [f"        {line}" for line in body.per_row]
            self.lines += ["      }"]
        self.lines += [
            "      for (long j = j0; j < j1; j += VL) {",
            "        const int lanes = lanes_at(j, n); (void)lanes;",
            *(f"        {line}" for line in body.before_rows),
            "        for (long r = 0; r < m; r++) {",
            *(f"          {line}" for line in per_vector),
            "        }",
            *(f"        {line}" for line in body.after_rows),
            "      }",
            "    });",
            "  }",
            "  (void)D; (void)id;",
            "}",
            "",
        ]

    def product(self, q: int, node: Node) -> list[str]:
        terms = []
        for source, block in zip(node.args, node.data, strict=True):
            address, stride = self.rows(self.place_of(source_of(source)))
            offset = f" + {self.size(source.data.start)}" if source is not source_of(source) else ""
            packed = self.index(self.code.packed, block)
            k = self.size(block.k)
            terms.append(f"{{{address} + a * {stride}{offset}, {stride}, f.packed[{packed}] + j0 * {k}, {k}}}")
        return [
            f"const Term terms{q}[] = {{{', '.join(terms)}}};",
            f"f.runtime->tile(m, (j1 - j0 + VL - 1) / VL, terms{q}, {len(terms)}, tile + {q} * MR * BLK, BLK);",
        ]

    def reduce(self, number: int, phase: Phase) -> None:
        self.head(number, "long r0, long r1")
        outer = self.size(phase.nodes[0].n)
        inner = self.size(phase.n // phase.nodes[0].n)
        body = _Body(self, phase)
        per_vector = body.emit_reduce()
        self.lines += [f"  {line}" for line in body.head]
        self.lines += [
            f"  const long inner = {inner}, outer = {outer};",
            "  for (long r = r0; r < r1; r++) {",
            "    const long a = 0; (void)a;",
        ]
        if body.per_row:
            self.lines += [f"    V u[{body.uniforms}][1];", *(f"    {line}" for line in body.per_row)]
        self.lines += ["    for (long o = 0; o < outer; o++) {"]
        self.lines += [f"      {line}" for line in body.before_rows]
        self.lines += [
            "      for (long i = 0; i < inner; i += VL) {",
            "        const int lanes = lanes_at(i, inner); const long j = o * inner + i; (void)lanes; (void)j;",
            *(f"        {line}" for line in per_vector),
            "      }",
            *(f"      {line}" for line in body.after_rows),
            "    }",
            "  }",
            "  (void)D;",
            "}",
            "",
        ]

    def scatter(self, number: int, phase: Phase) -> None:
        self.head(number, "long r0, long r1")
        for node in phase.nodes:
            address, stride = self.rows(self.schedule.places[node])
            n = self.size(node.n)
            filled = _fills(node)
            self.lines += ["  {", f"    real* const to = {address}; const long to_stride = {stride}, n = {n}; (void)n;"]
            if not filled:
                self.lines += [
                    "    for (long r = r0; r < r1; r++) memset(to + r * to_stride, 0, n * sizeof(real));",
                ]
            for part, where in zip(node.args, node.data, strict=True):
                base = source_of(part)
                from_address, from_stride = self.rows(self.place_of(base))
                offset = f" + {self.size(part.data.start)}" if part is not base else ""
                count = self.size(where.n)
                self.lines += [
                    "    for (long r = r0; r < r1; r++) {",
                    f"      const real* const p = {from_address}{offset} + r * {from_stride};",
                    "      real* const q = to + r * to_stride;",
                ]
                if where.is_slice:
                    start = self.size(where.start)
                    sum_ = "p[i]" if filled else f"q[{start} + i] + p[i]"
                    self.lines += [f"      for (long i = 0; i < {count}; i++) q[{start} + i] = {sum_};"]
                else:
                    table = self.index(self.code.tables, where.indices().tobytes())
                    self.lines += [f"      for (long i = 0; i < {count}; i++) q[f.tables[{table}][i]] += p[i];"]
                self.lines += ["    }"]
            self.lines += ["  }"]
        self.lines += ["  (void)D;", "}", ""]

    # all phases, all steps

    def driver(self) -> None:
        calls, barrier = [], "    if (meet) f.runtime->barrier_wait(w.barrier);"
        for number, (phase, meet) in enumerate(zip(self.schedule.phases, self.schedule.meets, strict=True)):
            calls += [barrier] if meet else []
            if phase.kind == "block":
                count = f"blocks_of({self.size(phase.n)})"
                share = f"f.split_units ? {count} * id / n : 0, f.split_units ? {count} * (id + 1) / n : {count}"
                calls.append(f"    {self.name}_{number}(f, t, u0, u1, {share}, id);")
            else:
                calls.append(f"    {self.name}_{number}(f, t, r0, r1);")
        steps = "long t = f.to - 1; t >= f.from; t--" if self.backward else "long t = f.from; t < f.to; t++"
        self.lines += [
            f"static void {self.name}_work(void* argument, long id, long n) {{",
            "  const Work& w = *(const Work*)argument; const Frame& f = *w.frame; const long* const D = f.sizes;",
            "  const long r0 = f.batch * id / n, r1 = f.batch * (id + 1) / n;",
            "  const long u0 = f.split_units ? 0 : r0, u1 = f.split_units ? f.batch : r1;",
            "  const bool meet = f.split_units && n > 1; (void)meet; (void)u0; (void)u1; (void)r0; (void)r1; (void)D;",
            f"  for ({steps}) {{",
            *calls,
            "  }",
            "}",
            "",
            f'extern "C" void {self.name}(const Frame* frame) {{',
            "  const long threads = frame->runtime->team(frame->threads);",
            "  Barrier barrier(threads);",
            "  Work work{frame, &barrier};",
            f"  frame->runtime->parallel(threads, {self.name}_work, &work);",
            "}",
        ]


def _fills(node: Node) -> bool:
    """Whether the parts of a scatter are slices that cover it without overlap."""
    if not all(m.is_slice for m in node.data):
        return False
    ends = sorted((m.start, m.start + m.n) for m in node.data)
    joined = all(a[1] == b[0] for a, b in pairwise(ends))
    return joined and ends[0][0] == 0 and ends[-1][1] == node.n


class _Body:
    """The statements for one vector of one row, with what can be done once before them taken out."""

    def __init__(self, renderer: _Renderer, phase: Phase):
        self.to, self.phase = renderer, phase
        self.head: list[str] = []
        self.before_rows: list[str] = []
        self.after_rows: list[str] = []
        self.per_row: list[str] = []
        self.uniforms = 0
        self.lines: list[str] = []
        self.names: dict[Node, str] = {}
        self.uniform: dict[Node, str] = {}
        self.pointers: dict[tuple, str] = {}
        self.constants: dict[float, str] = {}

    def emit_block(self) -> list[str]:
        to, phase = self.to, self.phase
        stored: dict[Node, list[Store | Place]] = {}
        for store in phase.stores:
            stored.setdefault(store.node, []).append(store)
        for node in phase.nodes:
            place = to.schedule.places.get(node)
            if place is not None and place.name[0] == "scratch":
                stored.setdefault(node, []).append(place)
        last: list[str] = []
        for node, targets in stored.items():
            value = self.number(node)
            for target in targets:
                place = target if isinstance(target, Place) else target.place
                if isinstance(target, Store) and target.total:
                    i = to.index(to.code.rows, place.name)
                    sum_, at = f"s{len(self.after_rows)}", f"f.rows[{i}].p + id * f.rows[{i}].r_stride + j"
                    if place.shift:
                        at += f" + {to.size(place.shift)}"
                    self.before_rows.append(f"V {sum_} = ld({at}, lanes);")
                    last.append(f"{sum_} += {value};")
                    self.after_rows.append(f"st({at}, {sum_}, lanes);")
                    continue
                p = self.pointer(place)
                address = f"{p} + (a + r) * {p}_r + j"
                value_ = f"ld({address}, lanes) + {value}" if isinstance(target, Store) and target.add else value
                last.append(f"st({address}, {value_}, lanes);")
        return [*self.lines, *last]

    def emit_reduce(self) -> list[str]:
        to = self.to
        start = {"sum": "V{}", "max": "splat(-INFINITY)", "min": "splat(INFINITY)"}
        for q, node in enumerate(self.phase.nodes):
            value = self.number(node.args[0])
            self.before_rows.append(f"V acc{q} = {start[node.data]};")
            if node.data == "sum":
                self.lines.append(f"acc{q} += keep({value}, lanes, 0);")
            else:
                other = "-INFINITY" if node.data == "max" else "INFINITY"
                self.lines.append(f"acc{q} = v{node.data}(acc{q}, keep({value}, lanes, {other}));")
            p = self.pointer(to.schedule.places[node])
            result = f"sum_of(acc{q})" if node.data == "sum" else f"{node.data}_of(acc{q}, VL)"
            self.after_rows.append(f"{p}[r * {p}_r + o] = {result};")
        return self.lines

    def pointer(self, place: Place) -> str:
        """A name for row 0 of a place at this step."""
        key = (place.name, place.shift, place.ring)
        if key not in self.pointers:
            name = f"p{len(self.pointers)}"
            address, stride = self.to.rows(place)
            self.head.append(f"real* const {name} = {address}; const long {name}_r = {stride};")
            self.pointers[key] = name
        return self.pointers[key]

    def constant(self, value: float) -> str:
        """A number: in the text where it is of a kind that equations are written with, else a name for it."""
        if math.isnan(value):
            return "NAN"
        if math.isinf(value):
            return "INFINITY" if value > 0 else "-INFINITY"
        if abs(value) in (0.0, 0.5, 1.0, 2.0):
            return f"real({value!r})"
        if value not in self.constants:
            name = f"c{len(self.constants)}"
            self.head.append(f"const real {name} = f.numbers[{self.to.index(self.to.code.numbers, value)}];")
            self.constants[value] = name
        return self.constants[value]

    def number(self, node: Node) -> str:
        """The name of a value that is a number, also where the node is a truth value."""
        name = self.value(node)
        return f"from_mask({name})" if node.is_mask else name

    def is_uniform(self, node: Node) -> bool:
        """The same for all units of a row."""
        if node.kind == "const":
            return True
        if node.kind == "take":
            return node.data.is_splat and self.loadable(node.args[0])
        if node.kind == "apply" and not (node in self.to.schedule.of and self.to.schedule.of[node] is not self.phase):
            return all(self.is_uniform(a) for a in node.args)
        return False

    def loadable(self, node: Node) -> bool:
        return node.kind != "leaf" or self.to.leaf_place(node) is not None

    def value(self, node: Node) -> str:
        """The name of the node's value, whose statements are added where they have not been."""
        if node in self.names:
            return self.names[node]
        if node.kind == "const":
            return f"splat({self.constant(node.data.value)})"
        if node.kind == "apply" and self.is_uniform(node):
            name = self.once_per_row(node)
        else:
            text = self.expression(node)
            name = f"v{len(self.names)}"
            kind = "M" if node.is_mask else "V"
            self.lines.append(f"const {kind} {name} = {text};")
        self.names[node] = name
        return name

    def once_per_row(self, node: Node) -> str:
        text = self.uniform_expression(node)
        return f"to_mask({text})" if node.is_mask else text

    def uniform_expression(self, node: Node) -> str:
        """In memory as a number, once for each row of the tile."""
        if node.kind == "const":
            return f"splat({self.constant(node.data.value)})"
        if node not in self.uniform:
            if node.kind == "take":
                text = self.splat(node.args[0], node.data)
            else:
                args = [
                    f"to_mask({self.uniform_expression(a)})" if a.is_mask else self.uniform_expression(a)
                    for a in node.args
                ]
                text = _formula(node.data, args)
                text = f"from_mask({text})" if node.is_mask else text
            number, self.uniforms = self.uniforms, self.uniforms + 1
            row = "0" if self.phase.kind == "reduce" else "r"
            self.per_row.append(f"u[{number}][{row}] = {text};")
            self.uniform[node] = f"u[{number}][{row}]"
        return self.uniform[node]

    def splat(self, base: Node, where: Map) -> str:
        p = self.pointer(self.to.place_of(base))
        return f"splat({p}[(a + r) * {p}_r + {self.to.size(where.start)}])"

    def expression(self, node: Node) -> str:
        if node.kind == "leaf":
            return self.load(node, Map(node.n))
        if node.kind == "take":
            return self.load(node.args[0], node.data)
        if node in self.to.schedule.of and self.to.schedule.of[node] is not self.phase:
            loaded = self.load(node, Map(node.n))
            return f"to_mask({loaded})" if node.is_mask else loaded
        if node.kind == "product":
            return f"load(tile + ({self.phase.products.index(node)} * MR + r) * BLK + (j - j0))"
        assert node.kind == "apply", node.kind
        args = [self.value(a) for a in node.args]
        return _formula(node.data, args)

    def load(self, base: Node, where: Map) -> str:
        """A vector of what lies in memory."""
        if where.is_splat and where.n > 1 and self.loadable(base):
            return self.splat(base, where)
        if base.kind == "leaf" and self.to.leaf_place(base) is None:
            v = self.to.index(self.to.code.vectors, base.data[1])
            name = f"w{len(self.before_rows)}"
            if where.is_splat and where.n > 1:
                text = f"splat(f.vectors[{v}][{self.to.size(where.start)}])"
            elif where.is_slice:
                offset = f" + {self.to.size(where.start)}" if where.start else ""
                text = f"ld(f.vectors[{v}]{offset} + j, lanes)"
            else:
                table = self.to.index(self.to.code.tables, where.indices().tobytes())
                text = f"gather(f.vectors[{v}], f.tables[{table}] + j, lanes)"
            if self.phase.kind == "reduce":
                return text
            self.before_rows.append(f"const V {name} = {text};")
            return name
        p = self.pointer(self.to.place_of(base))
        row = f"{p} + (a + r) * {p}_r"
        if where.is_slice:
            offset = f" + {self.to.size(where.start)}" if where.start else ""
            return f"ld({row}{offset} + j, lanes)"
        table = self.to.index(self.to.code.tables, where.indices().tobytes())
        return f"gather({row}, f.tables[{table}] + j, lanes)"


def _formula(fn: str, args: list[str]) -> str:
    if fn in _INFIX:
        return f"{args[0]} {_INFIX[fn]} {args[1]}"
    if fn in _FORMULAS:
        return _FORMULAS[fn].format(*args)
    return f"{_CALLS[fn]}({', '.join(args)})"
