"""Capture: one call of `cell.step` on stand-in tensors becomes a `Graph`.

The stand-ins are of two kinds. A `RowTensor` has a batch dimension somewhere and points to a node of the graph. A
`FixedTensor` depends on no batch element (parameters, and what `step` computes from parameters alone); it holds its
real value, and how it was made is recorded as PyTorch calls, which run once per sequence, outside the loop, with
autograd. The step is traced at two batch sizes: the graphs must be equal, so that no number that depends on the batch
is taken for a constant.

A branch on a tensor's value, a random number drawn in `step`, a change in place or an operation without a rule raise
`ObstacleError`; the cell then runs on the reference loop.
"""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from ..cells.base import Cell
from ..errors import CellError
from .graph import Graph, Map, Node, show

__all__ = ["Captured", "Extra", "FixedTensor", "ObstacleError", "Recipe", "RowTensor", "capture", "replay"]


class ObstacleError(Exception):
    """Why a cell can't be compiled, in words that fit behind "because"."""


@dataclass(frozen=True)
class Ref:
    """In the arguments of a recorded call: the value with this number."""

    number: int


@dataclass
class Recipe:
    """How the values that depend on no batch element are made, in order; a `Ref` points into it.

    Attributes:
        steps: ("attribute", module path, name), ("constant", tensor), ("extra", name) or ("call", function, args,
            kwargs, which of several outputs).
        values: while tracing, the value of each.
    """

    steps: list[tuple[Any, ...]] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def add(self, step: tuple[Any, ...], value: Tensor) -> int:
        """Record a step; its number."""
        self.steps.append(step)
        self.values.append(value.detach())
        return len(self.steps) - 1


@dataclass(frozen=True)
class Extra:
    """What `Cell.begin` gave under one name: `per_step` or for the whole sequence, with a batch dimension or not."""

    name: str
    per_step: bool
    batched: bool
    shape: tuple[int, ...]
    """Without time and batch."""
    dtype: torch.dtype
    requires_grad: bool = False


@dataclass
class Captured:
    """A step as a graph.

    Attributes:
        graph: the maker of the nodes.
        output: what the step returns first.
        states: the new states, in the order of `state_sizes`.
        vectors: recipe number of every ("vector", i) leaf; it is used flattened, and repeated if it has one element.
        matrices: recipe number of every matrix that products refer to, read as (in, out).
        recipe: how both are made.
        widths: features of each state.
    """

    graph: Graph
    output: Node
    states: list[Node]
    vectors: list[int]
    matrices: list[int]
    recipe: Recipe
    widths: list[int]

    def text(self) -> str:
        """The graph, one node a line."""
        roots = {"output": self.output}
        return show(roots | {f"state {k}": s for k, s in enumerate(self.states)})


class Trace:
    """What one run of `step` collects."""

    def __init__(self, batch: int, dtype: torch.dtype, device: torch.device):
        self.batch, self.dtype, self.device = batch, dtype, device
        self.graph, self.recipe = Graph(), Recipe()
        self.vectors: list[int] = []
        self.matrices: list[int] = []
        self.foreign: list[tuple[Tensor, int]] = []
        """Tensors met that are no attribute of the cell, with their recipe numbers; kept, so that no id is reused."""

    def vector(self, number: int) -> int:
        """The index of a fixed value among the vectors."""
        return _index(self.vectors, number)

    def matrix(self, number: int) -> int:
        """The index of a fixed value among the matrices."""
        return _index(self.matrices, number)

    def fixed(self, value: Any) -> FixedTensor:
        """A tensor argument that has no batch dimension, as a stand-in; foreign tensors become constants."""
        if isinstance(value, FixedTensor):
            return value
        for tensor, number in self.foreign:
            if tensor is value:
                return FixedTensor(self, number)
        if value.requires_grad:
            raise ObstacleError("step() uses a tensor with gradient that is not an attribute of the cell")
        number = self.recipe.add(("constant", value), value)
        self.foreign.append((value, number))
        return FixedTensor(self, number)


def _index(of: list[int], number: int) -> int:
    if number not in of:
        of.append(number)
    return of.index(number)


class StandIn(torch.Tensor):
    """A tensor without numbers that tells the trace what is done to it."""

    trace: Trace
    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore[reportAssignmentType]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return f"{type(self).__name__}{tuple(self.shape)}"


class FixedTensor(StandIn):
    """A stand-in that depends on no batch element: number `number` of the recipe."""

    number: int

    @staticmethod
    def __new__(cls, trace: Trace, number: int, requires_grad: bool = False) -> FixedTensor:
        real = trace.recipe.values[number]
        made = torch.Tensor._make_wrapper_subclass(
            cls, real.shape, dtype=real.dtype, device=real.device, requires_grad=requires_grad
        )
        made.trace, made.number = trace, number
        return made

    def __init__(self, *_: Any, **__: Any):
        super().__init__()

    @property
    def real(self) -> Tensor:
        """Its value."""
        return self.trace.recipe.values[self.number]


class RowTensor(StandIn):
    """A stand-in with a batch: `node` holds its features in the order in which they lie, batch element by element.

    `batch_of` tells for every element which batch element it belongs to; None when that is the slowest dimension.
    """

    node: Node
    batch_of: np.ndarray | None
    viewed = False
    """Another tensor would see a change in place."""

    @staticmethod
    def __new__(
        cls, trace: Trace, shape: tuple[int, ...], node: Node, batch_of: np.ndarray | None = None, **keywords: Any
    ) -> RowTensor:
        dtype = torch.bool if node.is_mask else keywords.pop("dtype", trace.dtype)
        made = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=trace.device, **keywords)
        made.trace, made.node, made.batch_of = trace, node, batch_of
        return made

    def __init__(self, *_: Any, **__: Any):
        super().__init__()

    def owners(self) -> np.ndarray:
        """`batch_of`, never None, in the tensor's shape."""
        if self.batch_of is not None:
            return self.batch_of
        return np.repeat(np.arange(self.trace.batch), self.node.n).reshape(tuple(self.shape))

    def places(self) -> np.ndarray:
        """For every element batch element * n + feature, in the tensor's shape."""
        n, owners = self.node.n, self.owners().reshape(-1)
        features = np.empty(owners.size, dtype=np.int64)
        for b in range(self.trace.batch):
            features[owners == b] = np.arange(n)
        return (owners * n + features).reshape(tuple(self.shape))

    def moved(self, places: np.ndarray) -> RowTensor:
        """The tensor whose elements are those of this one at `places`."""
        n, batch = self.node.n, self.trace.batch
        owners = places // n
        rows = [places[owners == b] % n for b in range(batch)]
        if any(len(r) != len(rows[0]) or (r != rows[0]).any() for r in rows):
            raise ObstacleError("step() treats the batch elements differently")
        if not len(rows[0]):
            raise ObstacleError("step() makes an empty tensor")
        node = self.trace.graph.take(self.node, Map.of(rows[0]))
        plain = (owners.reshape(-1) == np.repeat(np.arange(batch), len(rows[0]))).all()
        return RowTensor(self.trace, places.shape, node, None if plain else owners)


def _dispatch(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    from .lower import lower

    tensors = [a for a in tree_leaves((args, kwargs)) if isinstance(a, Tensor)]
    trace = next(t.trace for t in tensors if isinstance(t, StandIn))
    name = str(func).removeprefix("aten.")
    if not torch.is_grad_enabled():
        raise ObstacleError("step() switches gradients off (torch.no_grad), or uses a torch.autograd.Function")
    if torch.Tag.nondeterministic_seeded in func.tags:
        raise ObstacleError(f"step() draws random numbers ({name}); draw them in begin(), from its generator")
    if name.startswith(("_local_scalar_dense", "is_nonzero", "item", "equal")):
        raise ObstacleError("step() looks at a tensor's value (an `if` on a tensor, or .item())")
    if func._schema.is_mutable:
        return _in_place(trace, func, args, kwargs)
    if any(isinstance(t, RowTensor) for t in tensors):
        return lower(trace, func, args, kwargs)
    return _call_fixed(trace, func, args, kwargs)


def _in_place(trace: Trace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A change in place of a tensor that the step made itself and of which there is no view: a new value for it."""
    from .lower import lower

    name, target = func._schema.name.removeprefix("aten::"), args[0]
    plain = getattr(torch.ops.aten, name.removesuffix("_"), None) if name.endswith("_") else None
    if plain is None or not isinstance(target, RowTensor) or target.viewed:
        raise ObstacleError(f"step() changes a tensor in place ({name})")
    made = lower(trace, getattr(plain, func._overloadname), args, kwargs)
    if made.shape != target.shape or made.dtype != target.dtype:
        raise ObstacleError(f"step() changes a tensor in place to another kind ({name})")
    target.node, target.batch_of = made.node, made.batch_of
    return target


def _call_fixed(trace: Trace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    def stand_in(a: Any) -> Any:
        return trace.fixed(a) if isinstance(a, Tensor) else a

    args, kwargs = tree_map(stand_in, args), tree_map(stand_in, kwargs)
    with torch.no_grad():
        real = func(*tree_map(_real, args), **tree_map(_real, kwargs))
    recorded = tree_map(_ref, args), tree_map(_ref, kwargs)

    def made(value: Any, which: int | None) -> Any:
        if not isinstance(value, Tensor):
            return value
        return FixedTensor(trace, trace.recipe.add(("call", func, *recorded, which), value))

    if isinstance(real, tuple | list):
        return type(real)(made(v, i) for i, v in enumerate(real))
    return made(real, None)


def _real(a: Any) -> Any:
    return a.real if isinstance(a, FixedTensor) else a


def _ref(a: Any) -> Any:
    return Ref(a.number) if isinstance(a, FixedTensor) else a


def replay(
    recipe: Recipe, wanted: list[int], cell: Cell, extras: dict[str, Tensor], dtype: torch.dtype
) -> list[Tensor]:
    """The values of the recipe with these numbers, now, in `dtype`, differentiable to the cell's parameters."""
    values: dict[int, Any] = {}

    def value(number: int) -> Tensor:
        if number not in values:
            kind, *rest = recipe.steps[number]
            if kind == "attribute":
                module = cell.get_submodule(rest[0])
                found = module._parameters.get(rest[1])
                found = getattr(module, rest[1]) if found is None else found
                values[number] = found.to(dtype) if found.is_floating_point() else found
            elif kind == "constant":
                values[number] = rest[0]
            elif kind == "extra":
                values[number] = extras[rest[0]]
            else:
                func, args, kwargs, which = rest
                made = func(*[resolve(a) for a in args], **{k: resolve(a) for k, a in kwargs.items()})
                values[number] = made if which is None else made[which]
        return values[number]

    def resolve(a: Any) -> Any:
        if type(a) is Ref:
            return value(a.number)
        return [resolve(b) for b in a] if isinstance(a, list | tuple) else a

    return [value(number) for number in wanted]


def capture(
    cell: Cell,
    *,
    dtype: torch.dtype,
    device: torch.device,
    reset: bool = False,
    lengths: bool = False,
    extras: tuple[Extra, ...] | None = None,
) -> Captured:
    """The graph of `cell.step`, with resets and lengths written into it as equations.

    A reset puts ("initial", k) in the place of a state where ("reset", tap) is one; a row that has ended, ("active",)
    zero, keeps its state (a state with delays becomes zero) and its output is zero.

    Raises:
        ObstacleError: the step can't be captured.
    """
    with torch.inference_mode(False), torch.enable_grad():
        first, second = (
            _trace(cell, batch, dtype, device, reset=reset, lengths=lengths, extras=extras) for batch in (11, 13)
        )
    one, two = first[0].text(), second[0].text()
    if one != two:
        raise ObstacleError("step() does something that depends on the batch size")
    for (a, number), (b, other) in zip(first[1].foreign, second[1].foreign, strict=True):
        if a is b:
            raise ObstacleError("step() uses a tensor that is not an attribute of the cell; keep it as one")
        if a.shape != b.shape or not torch.equal(a, b) or number != other:
            raise ObstacleError("step() makes a tensor whose numbers differ from call to call")
    return second[0]


def _trace(
    cell: Cell,
    batch: int,
    dtype: torch.dtype,
    device: torch.device,
    *,
    reset: bool,
    lengths: bool,
    extras: tuple[Extra, ...] | None,
) -> tuple[Captured, Trace]:
    trace = Trace(batch, dtype, device)
    graph = trace.graph
    shapes, taps = list(cell.state_shapes.values()), cell.taps
    widths = [int(np.prod(s)) for s in shapes]

    def row(node: Node, shape: tuple[int, ...]) -> RowTensor:
        made = RowTensor(trace, (batch, *shape), node, requires_grad=True)
        made.viewed = True
        return made

    def splat(node: Node, n: int) -> Node:
        return graph.take(node, Map(n, 0, 0)) if n > 1 else node

    seen: list[list[Node]] = []
    for k, (n, depths) in enumerate(zip(widths, taps.values(), strict=True)):
        entries = []
        for tap in depths:
            node = graph.leaf(n, "state", k, tap)
            if reset:
                mask = splat(graph.apply("ne", graph.leaf(1, "reset", tap), graph.const(0, 1)), n)
                node = graph.apply("where", mask, graph.leaf(n, "initial", k), node)
            entries.append(node)
        seen.append(entries)
    state = tuple(
        tuple(row(e, shape) for e in entries) if name in cell.delays else row(entries[0], shape)
        for name, entries, shape in zip(taps, seen, shapes, strict=True)
    )
    n = cell.input_size
    x = row(graph.leaf(n, "x") if n else graph.const(0, 0), (n,))
    with _Bound(cell, trace):
        given = (_extras(trace, extras),) if extras is not None else ()
        output, new = _call(cell, x, state, *given)
    _check_plain_autograd(output, new)
    output_node = _node(trace, output, cell.output_size)
    new_nodes = [_node(trace, s, n) for s, n in zip(new, widths, strict=True)]
    if lengths:
        active = graph.apply("ne", graph.leaf(1, "active"), graph.const(0, 1))
        for k, (n, entries, depths) in enumerate(zip(widths, seen, taps.values(), strict=True)):
            old = entries[depths.index(1)] if tuple(depths) == (1,) else graph.const(0, n)
            new_nodes[k] = graph.apply("where", splat(active, n), new_nodes[k], old)
        n = output_node.n
        output_node = graph.apply("where", splat(active, n), output_node, graph.const(0, n))
    made = Captured(graph, output_node, new_nodes, trace.vectors, trace.matrices, trace.recipe, widths)
    return made, trace


def _node(trace: Trace, value: Tensor, n: int) -> Node:
    """The node of a result; a fixed one (it depends on nothing but parameters) is a vector repeated for all rows."""
    from .lower import as_row

    row = as_row(trace, value, (trace.batch, *value.shape[1:])) if not isinstance(value, RowTensor) else value
    if row.batch_of is not None or row.node.n != n:
        raise ObstacleError("step() returns a tensor whose batch is not the first dimension")
    if row.node.is_mask:
        raise ObstacleError("step() returns a tensor of truth values")
    return row.node


def _extras(trace: Trace, extras: tuple[Extra, ...]) -> dict[str, Tensor]:
    given: dict[str, Tensor] = {}
    for extra in extras:
        if extra.batched or extra.per_step:
            n = int(np.prod(extra.shape))
            node = trace.graph.leaf(n, "extra", extra.name)
            if extra.dtype == torch.bool:
                node = trace.graph.apply("ne", node, trace.graph.const(0, n))
            if extra.batched:
                given[extra.name] = RowTensor(trace, (trace.batch, *extra.shape), node, requires_grad=False)
            else:
                raise ObstacleError(f"begin() gives per-step {extra.name!r} without a batch dimension")
        else:
            number = trace.recipe.add(("extra", extra.name), torch.zeros(extra.shape, dtype=extra.dtype))
            given[extra.name] = FixedTensor(trace, number, requires_grad=extra.dtype.is_floating_point)
    return given


class _Bound:
    """While entered, the tensors of a cell and its submodules are stand-ins."""

    def __init__(self, cell: Cell, trace: Trace):
        self.cell, self.trace = cell, trace
        self.saved: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def __enter__(self) -> None:
        made: dict[int, FixedTensor] = {}
        for path, module in self.cell.named_modules():
            stores: tuple[dict[str, Any], ...] = (module._parameters, module._buffers, module.__dict__)
            for store in stores:
                tensors = {name: value for name, value in store.items() if isinstance(value, Tensor)}
                self.saved.append((store, tensors))
                for name, value in tensors.items():
                    if id(value) not in made:
                        real = value.to(self.trace.dtype) if value.is_floating_point() else value
                        number = self.trace.recipe.add(("attribute", path, name), real)
                        made[id(value)] = FixedTensor(self.trace, number, requires_grad=value.requires_grad)
                    store[name] = made[id(value)]  # pyright: ignore[reportArgumentType]

    def __exit__(self, *_: object) -> None:
        for store, tensors in self.saved:
            store.update(tensors)


def _call(cell: Cell, x: Tensor, state: tuple[Any, ...], *extra: Any) -> Any:
    object.__setattr__(cell, "_stepping", True)
    try:
        output, new = cell.step(x, state, *extra)
        tensors = isinstance(output, Tensor) and all(isinstance(s, Tensor) for s in new)
        if not tensors or len(new) != len(state):
            raise ObstacleError("step() does not return a tensor and one more for each state")
        return output, tuple(new)
    except (ObstacleError, CellError) as error:
        line = _line(error)
        raise ObstacleError(f"{error}{line}") from error
    except Exception as error:
        text = str(error).strip().splitlines()[:1]
        raise ObstacleError(
            f"step() could not be followed ({type(error).__name__}: {''.join(text)}){_line(error)}"
        ) from error
    finally:
        object.__delattr__(cell, "_stepping")


def _line(error: BaseException) -> str:
    """Where in the cell's own file the error arose, as " at FILE:LINE"."""
    own = sys.modules[__name__].__file__
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if f.filename not in (own,) and "site-packages/torch" not in f.filename and "engine/lower" not in f.filename
    ]
    return f" at {frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else ""


def _check_plain_autograd(output: Tensor, new: tuple[Tensor, ...]) -> None:
    """A `torch.autograd.Function` has a derivative of its own, which the graph does not show."""
    seen: set[Any] = set()
    stack = [t.grad_fn for t in (output, *new) if t.grad_fn is not None]
    while stack:
        fn = stack.pop()
        if fn in seen:
            continue
        seen.add(fn)
        if isinstance(fn, torch.autograd.function.BackwardCFunction):
            raise ObstacleError(f"step() uses {type(fn).__name__.removesuffix('Backward')}, a torch.autograd.Function")
        stack += [f for f, _ in fn.next_functions if f is not None]
