"""What each PyTorch operation on stand-ins means in the language of `graph`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .elementwise import POINTWISE, Builder, Rule, add, plain
from .graph import Block, Map, Node
from .standin import FixedTensor, ObstacleError, RowTensor, Trace

__all__ = ["as_row", "lower"]

aten = torch.ops.aten


def lower(trace: Trace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of `func`, at least one of whose arguments is a `RowTensor`; `NotImplemented` if there is no rule.

    Raises:
        ObstacleError: the rule does not cover these arguments.
    """
    name = func._schema.name.removeprefix("aten::")
    if name in _VIEWS:
        return _view(func, args, kwargs)
    if name in _RULES:
        return _RULES[name](trace, *args, **kwargs)
    if name in POINTWISE:
        return _pointwise(trace, POINTWISE[name], args, kwargs)
    return NotImplemented


_VIEWS = frozenset(
    "view _unsafe_view reshape permute transpose t unsqueeze squeeze expand slice select split split_with_sizes unbind "
    "flip narrow alias clone contiguous roll movedim diagonal unfold lift_fresh repeat numpy_T".split()
)


def _view(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    row = args[0]
    if not isinstance(row, RowTensor):
        raise ObstacleError(f"there is no rule for torch's {func} with these arguments")
    kwargs = {k: v for k, v in kwargs.items() if k != "memory_format"}
    made = func(torch.from_numpy(row.places()), *args[1:], **kwargs)
    pieces = [row.moved(m.numpy()) for m in (made if isinstance(made, tuple | list) else [made])]
    if "clone" not in str(func):
        for tensor in (row, *pieces):
            tensor.viewed = True
    return pieces if isinstance(made, tuple | list) else pieces[0]


def as_row(trace: Trace, value: Any, shape: tuple[int, ...], owners: np.ndarray | None = None) -> RowTensor:
    """`value` broadcast to `shape`, whose elements belong to the batch elements `owners` (None: the slowest dim)."""
    if isinstance(value, RowTensor):
        if tuple(value.shape) != shape:
            value = value.moved(np.broadcast_to(value.places(), shape).copy())
        same = value.batch_of is None if owners is None else (value.owners() == owners).all()
        if not same:
            raise ObstacleError("step() mixes batch elements")
        return value
    count = math.prod(shape) // trace.batch
    if not isinstance(value, Tensor):
        return RowTensor(trace, shape, trace.graph.const(value, count), owners)
    fixed = trace.fixed(value)
    real = fixed.real
    if real.dtype.is_floating_point and real.dtype != trace.dtype and real.ndim:
        raise ObstacleError(f"step() mixes {trace.dtype} with a tensor of {real.dtype}")
    if not real.dtype.is_floating_point and real.dtype not in (torch.bool, torch.int64, torch.int32):
        raise ObstacleError(f"step() uses a tensor of {real.dtype}")
    if real.numel() == 1 and trace.recipe.steps[fixed.number][0] == "constant":
        return RowTensor(trace, shape, trace.graph.const(float(real), count), owners)
    places = np.broadcast_to(np.arange(real.numel()).reshape(real.shape), shape).reshape(-1)
    of = np.repeat(np.arange(trace.batch), count) if owners is None else owners.reshape(-1)
    rows = [places[of == b] for b in range(trace.batch)]
    if any((r != rows[0]).any() for r in rows):
        raise ObstacleError("step() uses a tensor of numbers that differ between batch elements")
    flat = trace.call(aten.reshape.default, fixed, [-1])
    if len(rows[0]) != real.numel() or (rows[0] != np.arange(real.numel())).any():
        index = torch.from_numpy(rows[0].copy())
        one = real.numel() == 1
        flat = (
            trace.call(aten.expand.default, flat, [count])
            if one
            else trace.call(aten.index_select.default, flat, 0, index)
        )
    node = trace.graph.leaf(count, "vector", trace.vector(flat.number))
    if real.dtype == torch.bool:
        node = trace.graph.apply("ne", node, trace.graph.const(0, count))
    return RowTensor(trace, shape, node, owners)


def _together(trace: Trace, *values: Any) -> tuple[tuple[int, ...], np.ndarray | None, list[Node]]:
    """Broadcast: the common shape, whose batch element each element is, and the nodes."""
    shapes = [tuple(v.shape) for v in values if isinstance(v, Tensor)]
    try:
        shape = np.broadcast_shapes(*shapes)  # torch.broadcast_shapes imports sympy (0.3 s)
    except ValueError:
        raise ObstacleError(f"step() combines tensors of shapes {' and '.join(map(str, shapes))}") from None
    first = next(v for v in values if isinstance(v, RowTensor))
    owners = None
    if first.batch_of is not None or tuple(first.shape) != shape:
        owners = np.broadcast_to(first.owners(), shape)
        if (owners.reshape(-1) == np.repeat(np.arange(trace.batch), owners.size // trace.batch)).all():
            owners = None
    return shape, owners, [as_row(trace, v, shape, owners).node for v in values]


def _pointwise(trace: Trace, rule: Rule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RowTensor:
    tensors = [a for a in args if isinstance(a, Tensor)]
    values: list[Any] = list(args)
    for t in tensors:
        if isinstance(t, RowTensor) and t.dtype != torch.bool and t.dtype != trace.dtype:
            raise ObstacleError(f"step() computes in {t.dtype}")
    keep = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
    shape, owners, nodes = _together(trace, *(args[i] for i in keep))
    for i, node in zip(keep, nodes, strict=True):
        values[i] = node
    n = nodes[0].n
    g = trace.graph
    node = rule(Builder(g, n), *values, **kwargs)
    return RowTensor(trace, shape, node, owners)


def _to_copy(trace: Trace, a: RowTensor, *, dtype: torch.dtype | None = None, **_: Any) -> RowTensor:
    if dtype in (None, a.dtype):
        return a.moved(a.places())
    if a.dtype == torch.bool and dtype == trace.dtype:
        return _pointwise(trace, lambda e, m: e("where", m, 1.0, 0.0), (a,), {})
    raise ObstacleError(f"step() converts {a.dtype} to {dtype}")


def _full_like(trace: Trace, a: RowTensor, value: float, **_: Any) -> RowTensor:
    return RowTensor(trace, tuple(a.shape), trace.graph.const(value, a.node.n), a.batch_of)


def _new_full(trace: Trace, a: RowTensor, size: list[int], value: float, **_: Any) -> Tensor:
    if size and size[0] == trace.batch:
        return RowTensor(trace, tuple(size), trace.graph.const(value, math.prod(size[1:])))
    return trace.fixed(torch.full(size, value, dtype=trace.dtype))


def _cat(trace: Trace, tensors: list[Any], dim: int = 0, *, stacked: bool = False) -> RowTensor:
    tensors = [t for t in tensors if t.numel()]
    if not all(isinstance(t, RowTensor) for t in tensors):
        raise ObstacleError("step() joins a tensor without batch dimension to one with")
    total = sum(t.node.n for t in tensors)
    parts, places, offset = [], [], 0
    e = Builder(trace.graph, 0)
    for t in tensors:
        node = t.node
        if node.is_mask:
            e.n = node.n
            node = e.number(node)
        parts.append((node, Map(t.node.n, offset)))
        here, n = t.places(), t.node.n
        places.append(torch.from_numpy(here // n * total + here % n + offset))
        offset += n
    joined = torch.stack(places, dim) if stacked else torch.cat(places, dim)
    whole = RowTensor(trace, (trace.batch, total), trace.graph.scatter(total, parts))
    return whole.moved(joined.numpy())


# Products


def _rows(row: RowTensor, k: int) -> int:
    """How many rows of `k` features each batch element has, for a tensor whose batch is the slowest."""
    if row.batch_of is not None or row.node.n % k:
        raise ObstacleError("step() multiplies a matrix along the batch dimension")
    return row.node.n // k


def _blockwise(trace: Trace, source: Node, blocks: list[Block]) -> Node:
    """Piece i of `source` times block i, joined."""
    g = trace.graph
    products, inside, outside = [], 0, 0
    for b in blocks:
        piece = g.take(source, Map(b.k, inside))
        products.append((g.product([(piece, b)]), Map(b.n, outside)))
        inside, outside = inside + b.k, outside + b.n
    return g.scatter(outside, products)


def _mm(trace: Trace, a: Any, b: Any) -> RowTensor:
    if isinstance(a, RowTensor) and isinstance(b, RowTensor):
        raise ObstacleError("step() multiplies matrices along the batch dimension")
    if isinstance(a, RowTensor):
        w = trace.fixed(b)
        k, n = w.shape
        if k == 0:
            return RowTensor(trace, (a.shape[0], n), trace.graph.const(0, n))
        m = trace.matrix(w.number)
        count = _rows(a, k)
        node = _blockwise(trace, a.node, [Block(m, 0, 0, k, n)] * count)
        return RowTensor(trace, (a.shape[0], n), node)
    w, columns = trace.fixed(a), b
    n, k = w.shape
    if columns.node.n != k or (columns.owners() != np.arange(trace.batch)).any():
        raise ObstacleError("step() multiplies a matrix along the batch dimension")
    node = trace.graph.product([(columns.node, Block(trace.matrix(w.number), 0, 0, k, n, True))])
    owners = np.broadcast_to(np.arange(trace.batch), (n, trace.batch)).copy()
    return RowTensor(trace, (n, trace.batch), node, owners)


def _addmm(trace: Trace, bias: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> RowTensor:
    product = _mm(trace, a, b)
    if alpha != 1:
        product = _pointwise(trace, lambda e, p: e("mul", p, alpha), (product,), {})
    if beta == 0:
        return product
    return _pointwise(trace, lambda e, c, p: e("add", p, c if beta == 1 else e("mul", c, beta)), (bias, product), {})


def _mv(trace: Trace, a: Any, v: Any) -> RowTensor:
    if not isinstance(a, RowTensor):
        raise ObstacleError("step() multiplies along the batch dimension")
    fixed = trace.fixed(v)
    column = trace.call(aten.unsqueeze.default, fixed, 1)
    product = _mm(trace, a, column)
    return product.moved(product.places().reshape(-1))


def _bmm(trace: Trace, a: Any, b: Any) -> RowTensor:
    if isinstance(a, RowTensor) and isinstance(b, RowTensor):
        return _bmm_of_rows(trace, a, b)
    if not isinstance(a, RowTensor):
        turned = _bmm(trace, b.moved(b.places().swapaxes(1, 2)), trace.call(aten.transpose.int, a, 1, 2))
        return turned.moved(turned.places().swapaxes(1, 2))
    w = trace.fixed(b)
    blocks, k, n = w.shape
    owners = np.broadcast_to(np.arange(trace.batch)[:, None], (blocks, trace.batch, k))
    if tuple(a.shape) != owners.shape or (a.owners() != owners).any():
        raise ObstacleError("step() multiplies matrices along the batch dimension")
    if blocks > 16:
        whole = trace.call(aten.block_diag.default, [_select(trace, w, i) for i in range(blocks)])
        node = trace.graph.product([(a.node, Block(trace.matrix(whole.number), 0, 0, blocks * k, blocks * n))])
    else:
        matrices = [trace.matrix(_select(trace, w, i).number) for i in range(blocks)]
        node = _blockwise(trace, a.node, [Block(m, 0, 0, k, n) for m in matrices])
    of = np.broadcast_to(np.arange(trace.batch)[:, None], (blocks, trace.batch, n)).copy()
    return RowTensor(trace, (blocks, trace.batch, n), node, of)


def _select(trace: Trace, w: FixedTensor, i: int) -> FixedTensor:
    return trace.call(aten.select.int, w, 0, i)


def _bmm_of_rows(trace: Trace, a: RowTensor, b: RowTensor) -> RowTensor:
    """A product of two rows seen as matrices: multiply and sum."""
    groups, p, k = a.shape
    q = b.shape[2]
    if a.batch_of is not None or b.batch_of is not None or groups % trace.batch:
        raise ObstacleError("step() multiplies matrices along the batch dimension")
    each = groups // trace.batch
    left = np.arange(each * p * k).reshape(each, p, 1, k)
    right = np.arange(each * k * q).reshape(each, k, q).swapaxes(1, 2)[:, None]
    shape = (each, p, q, k)
    g = trace.graph
    terms = [g.take(r.node, Map.of(np.broadcast_to(i, shape).reshape(-1))) for r, i in ((a, left), (b, right))]
    return RowTensor(trace, (groups, p, q), g.reduce("sum", g.apply("mul", *terms), each * p * q))


# Reductions over features


def _grouped(a: RowTensor, dims: Any) -> tuple[RowTensor, int, tuple[int, ...], tuple[int, ...]]:
    """`a` with the reduced dimensions last; elements of a group; the shape without them, and with them as ones."""
    ndim = a.ndim
    dims = list(range(ndim)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else list(dims)
    dims = sorted(d % ndim for d in dims)
    kept = [d for d in range(ndim) if d not in dims]
    size = math.prod(a.shape[d] for d in dims)
    shape = tuple(a.shape[d] for d in kept)
    ones = tuple(1 if d in dims else a.shape[d] for d in range(ndim))
    turned = a if dims == list(range(ndim - len(dims), ndim)) else a.moved(a.places().transpose(kept + dims))
    owners = turned.owners().reshape(-1, size)
    if (owners != owners[:, :1]).any():
        raise ObstacleError("step() sums or normalizes over the batch")
    return turned, size, shape, ones


def _reduced(trace: Trace, how: str, a: RowTensor, dims: Any, keepdim: bool) -> RowTensor:
    turned, size, shape, ones = _grouped(a, dims)
    node = trace.graph.reduce(how, Builder(trace.graph, turned.node.n).number(turned.node), turned.node.n // size)
    shape = ones if keepdim else shape
    owners = None if turned.batch_of is None else turned.owners().reshape(-1, size)[:, 0].reshape(shape)
    return RowTensor(trace, shape, node, owners)


def _sum(trace: Trace, a: RowTensor, dim: Any = None, keepdim: bool = False, **_: Any) -> RowTensor:
    return _reduced(trace, "sum", a, dim, keepdim)


def _mean(trace: Trace, a: RowTensor, dim: Any = None, keepdim: bool = False, **_: Any) -> RowTensor:
    size = _grouped(a, dim)[1]
    return _pointwise(trace, lambda e, s: e("div", s, size), (_reduced(trace, "sum", a, dim, keepdim),), {})


def _var(trace: Trace, a: RowTensor, dim: Any = None, *, correction: Any = 1, keepdim: bool = False) -> RowTensor:
    size = _grouped(a, dim)[1]
    # The mean is where Σ(v - m)² is least, so its derivative by m is zero.
    mean = _pointwise(trace, plain("stationary"), (_mean(trace, a, dim, True),), {})
    square = _pointwise(trace, lambda e, v, m: e("mul", e("sub", v, m), e("sub", v, m)), (a, mean), {})
    total = _reduced(trace, "sum", square, dim, keepdim)
    count = max(0, size - (1 if correction is None else correction))
    return _pointwise(trace, lambda e, s: e("div", s, count), (total,), {})


def _std(trace: Trace, a: RowTensor, dim: Any = None, **options: Any) -> RowTensor:
    return _pointwise(trace, plain("sqrt"), (_var(trace, a, dim, **options),), {})


def _amax(trace: Trace, a: RowTensor, dim: Any = (), keepdim: bool = False) -> RowTensor:
    return _reduced(trace, "max", a, dim or None, keepdim)


def _amin(trace: Trace, a: RowTensor, dim: Any = (), keepdim: bool = False) -> RowTensor:
    return _reduced(trace, "min", a, dim or None, keepdim)


def _max(trace: Trace, a: Any, b: Any = None, *rest: Any, fn: str = "max") -> RowTensor:
    if not isinstance(b, Tensor):
        raise ObstacleError(f"there is no rule for torch's {fn}() of this form; use torch.a{fn}")
    return _pointwise(trace, plain(fn), (a, b), {})


def _baddbmm(trace: Trace, bias: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> RowTensor:
    if beta != 1 or alpha != 1:
        raise ObstacleError("there is no rule for torch's baddbmm() with factors")
    return _pointwise(trace, add, (bias, _bmm(trace, a, b)), {})


def _norm(trace: Trace, a: RowTensor, p: float = 2, dim: Any = None, keepdim: bool = False, **_: Any) -> RowTensor:
    if p != 2:
        raise ObstacleError(f"there is no rule for a vector norm of order {p}")
    square = _pointwise(trace, lambda e, v: e("mul", v, v), (a,), {})
    total = _reduced(trace, "sum", square, dim, keepdim)
    return _pointwise(trace, _root, (total,), {})


def _root(e: Any, total: Any) -> Any:
    """The square root with a derivative of zero at zero, as PyTorch's norms have it."""
    none = e("eq", total, 0.0)
    return e("where", none, 0.0, e("sqrt", e("where", none, 1.0, total)))


def _softmax(trace: Trace, a: RowTensor, dim: int, half: bool = False) -> RowTensor:
    # The largest is subtracted for the sake of overflow only; it changes nothing, so it needs no derivative.
    largest = _pointwise(trace, plain("detach"), (_reduced(trace, "max", a, dim, True),), {})
    e = _pointwise(trace, lambda e, v, m: e("exp", e("sub", v, m)), (a, largest), {})
    return _pointwise(trace, plain("div"), (e, _reduced(trace, "sum", e, dim, True)), {})


def _log_softmax(trace: Trace, a: RowTensor, dim: int, half: bool = False) -> RowTensor:
    largest = _pointwise(trace, plain("detach"), (_reduced(trace, "max", a, dim, True),), {})
    shifted = _pointwise(trace, plain("sub"), (a, largest), {})
    e = _pointwise(trace, plain("exp"), (shifted,), {})
    total = _reduced(trace, "sum", e, dim, True)
    return _pointwise(trace, lambda e, v, s: e("sub", v, e("log", s)), (shifted, total), {})


def _logsumexp(trace: Trace, a: RowTensor, dim: Any, keepdim: bool = False) -> RowTensor:
    largest = _pointwise(trace, plain("detach"), (_reduced(trace, "max", a, dim, True),), {})
    finite = _pointwise(trace, lambda e, m: e("where", e("eq", e("abs", m), math.inf), 0.0, m), (largest,), {})
    e = _pointwise(trace, lambda e, v, m: e("exp", e("sub", v, m)), (a, finite), {})
    total = _reduced(trace, "sum", e, dim, True)
    made = _pointwise(trace, lambda e, s, m: e("add", e("log", s), m), (total, finite), {})
    if keepdim:
        return made
    dims = [dim] if isinstance(dim, int) else list(dim)
    return made.moved(np.squeeze(made.places(), tuple(d % a.ndim for d in dims)))


def _layer_norm(
    trace: Trace, a: RowTensor, shape: list[int], gain: Any, shift: Any, eps: float
) -> tuple[RowTensor, None, None]:
    dims = list(range(a.ndim - len(shape), a.ndim))
    mean = _mean(trace, a, dims, True)
    variance = _var(trace, a, dims, correction=0, keepdim=True)
    scale = _pointwise(trace, lambda e, v: e("rsqrt", e("add", v, eps)), (variance,), {})
    made = _pointwise(trace, lambda e, v, m, s: e("mul", e("sub", v, m), s), (a, mean, scale), {})
    if gain is not None:
        made = _pointwise(trace, plain("mul"), (made, gain), {})
    if shift is not None:
        made = _pointwise(trace, add, (made, shift), {})
    return made, None, None


def _rms_norm(trace: Trace, a: RowTensor, shape: list[int], gain: Any = None, eps: float | None = None) -> Any:
    dims = list(range(a.ndim - len(shape), a.ndim))
    square = _pointwise(trace, lambda e, v: e("mul", v, v), (a,), {})
    eps = torch.finfo(trace.dtype).eps if eps is None else eps
    mean = _mean(trace, square, dims, True)
    scale = _pointwise(trace, lambda e, v: e("rsqrt", e("add", v, eps)), (mean,), {})
    made = _pointwise(trace, plain("mul"), (a, scale), {})
    made = made if gain is None else _pointwise(trace, plain("mul"), (made, gain), {})
    return made, None


def _glu(trace: Trace, a: RowTensor, dim: int = -1) -> RowTensor:
    value, gate = _view(aten.split.Tensor, (a, a.shape[dim] // 2, dim), {})
    return _pointwise(trace, lambda e, v, s: e("mul", v, e("sigmoid", s)), (value, gate), {})


def _log_sigmoid(trace: Trace, a: RowTensor) -> tuple[RowTensor, None]:
    def rule(e: Builder, v: Any) -> Node:
        return e("sub", e("min", v, 0.0), e("log1p", e("exp", e("neg", e("abs", v)))))

    return _pointwise(trace, rule, (a,), {}), None


def _index_select(trace: Trace, a: RowTensor, dim: int, index: Any) -> RowTensor:
    fixed = trace.fixed(index)
    if trace.recipe.steps[fixed.number][0] != "constant":
        raise ObstacleError("step() selects by an index that is not a constant")
    return a.moved(np.take(a.places(), fixed.real.numpy(), axis=dim))


_RULES: dict[str, Callable[..., Any]] = {
    "mm": _mm, "addmm": _addmm, "mv": _mv, "bmm": _bmm, "baddbmm": _baddbmm,
    "max": _max, "min": lambda trace, *args: _max(trace, *args, fn="min"),
    "cat": _cat, "stack": lambda trace, tensors, dim=0: _cat(trace, tensors, dim, stacked=True),
    "sum": _sum, "mean": _mean, "var": _var, "std": _std, "amax": _amax, "amin": _amin,
    "linalg_vector_norm": _norm, "norm": _norm,
    "_softmax": _softmax, "_log_softmax": _log_softmax, "logsumexp": _logsumexp, "native_layer_norm": _layer_norm,
    "_fused_rms_norm": _rms_norm, "glu": _glu, "log_sigmoid_forward": _log_sigmoid,
    "_to_copy": _to_copy, "index_select": _index_select,
    "full_like": _full_like,
    "zeros_like": lambda trace, a, **_: _full_like(trace, a, 0.0),
    "ones_like": lambda trace, a, **_: _full_like(trace, a, 1.0),
    "new_full": _new_full,
    "new_zeros": lambda trace, a, size, **_: _new_full(trace, a, size, 0.0),
    "new_ones": lambda trace, a, size, **_: _new_full(trace, a, size, 1.0),
}  # fmt: skip
