"""Capture: one call of `cell.step` on stand-in tensors becomes a `Graph`.

What the step does to the stand-ins (`standin`) is followed operation by operation: `lower` puts what depends on the
batch into the graph, and the rest goes into a recipe. The step is traced at two batch sizes: the graphs must be equal,
so that no number that depends on the batch is taken for a constant.

A branch on a tensor's value, a random number drawn in `step`, a change in place or an operation without a rule raise
`ObstacleError`; the cell then runs on the reference loop.
"""

from __future__ import annotations

import threading
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..cells.base import Cell
from ..errors import CellError
from .graph import Graph, Map, Node, show
from .lower import as_row, lower
from .recipe import Recipe, replay
from .standin import FixedTensor, ObstacleError, RowTensor, StandIn, Trace

__all__ = ["Captured", "Extra", "ObstacleError", "capture", "replay"]


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


class _Following(TorchDispatchMode):
    """While entered, what is done to stand-ins goes into their trace.

    Why a mode, which is asked first, and not the stand-ins' own `__torch_dispatch__`: before PyTorch calls that of any
    class for the first time, it imports torch.distributed.tensor, to see whether it is the one defined there (0.5 s).
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: else PyTorch imports torch._dynamo at the first call, to tell it to skip this (1 s)."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [a for a in tree_leaves((args, kwargs)) if isinstance(a, Tensor)]
        trace = next((t.trace for t in tensors if isinstance(t, StandIn)), None)
        if trace is None:
            return func(*args, **kwargs)
        name = str(func).removeprefix("aten.")
        if not torch.is_grad_enabled():
            raise ObstacleError("step() switches gradients off (torch.no_grad), or uses a torch.autograd.Function")
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise ObstacleError(f"step() draws random numbers ({name}); draw them in begin(), from its generator")
        if name.startswith(("_local_scalar_dense", "is_nonzero", "item", "equal")):
            raise ObstacleError("step() looks at a tensor's value (an `if` on a tensor, or .item())")
        if func._schema.is_mutable:
            return self.in_place(trace, func, args, kwargs)
        if any(isinstance(t, RowTensor) for t in tensors):
            return self.lowered(trace, func, args, kwargs)
        return trace.call(func, *args, **kwargs)

    def lowered(self, trace: Trace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """By the rule for it, or by the rules for the operations that it is made of."""
        made = lower(trace, func, args, kwargs)
        if made is NotImplemented:
            with self:
                made = func.decompose(*args, **kwargs)
        if made is NotImplemented:
            raise ObstacleError(f"there is no rule for torch's {func._schema.name.removeprefix('aten::')}()")
        return made

    def in_place(self, trace: Trace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A change in place of a tensor that the step made itself and of which there is no view: a new value for it."""
        name, target = func._schema.name.removeprefix("aten::"), args[0]
        plain = getattr(torch.ops.aten, name.removesuffix("_"), None) if name.endswith("_") else None
        if plain is None or not isinstance(target, RowTensor) or target.viewed:
            raise ObstacleError(f"step() changes a tensor in place ({name})")
        made = self.lowered(trace, getattr(plain, func._overloadname), args, kwargs)
        if made.shape != target.shape or made.dtype != target.dtype:
            raise ObstacleError(f"step() changes a tensor in place to another kind ({name})")
        target.node, target.batch_of = made.node, made.batch_of
        return target


_LOCK = threading.RLock()
"""One capture at a time: it puts stand-ins into the cell, and PyTorch notes for all threads that there is a mode."""


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
    with _LOCK, torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
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
        with _Following():
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
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if not any(Path(f.filename).is_relative_to(folder) for folder in _NOT_THE_CELL)
    ]
    return f" at {frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else ""


_NOT_THE_CELL = tuple(Path(file).parent for file in (__file__, torch.__file__, np.__file__))
"""Folders of code that acts on the cell's behalf."""


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
