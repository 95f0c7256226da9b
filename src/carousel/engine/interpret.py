"""Run a graph with PyTorch, all rows at once: for what lies before and behind the loop, and to check each stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .graph import Block, Node, order

__all__ = ["block_of", "interpret"]

_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "max": torch.maximum,
    "min": torch.minimum,
    "and": torch.logical_and,
    "or": torch.logical_or,
    "not": torch.logical_not,
    "detach": Tensor.detach,
    "stationary": lambda a: a,
    **{
        name: getattr(torch, name)
        for name in "add sub mul div pow neg exp expm1 log log1p sqrt rsqrt reciprocal sigmoid tanh abs sign sin cos "
        "erf atan floor ceil trunc round relu lt le gt ge eq ne where".split()
    },
}


def interpret(
    roots: list[Node],
    leaves: Callable[[tuple[Any, ...]], Tensor],
    matrices: list[Tensor],
    multiply: Callable[[Tensor, Tensor], Tensor] = torch.matmul,
) -> list[Tensor]:
    """The values of `roots`, each (rows, n); `leaves` gives the value of a leaf by its name, (rows, n) or (n,)."""
    values: dict[Node, Tensor] = {}
    rows, like = 1, matrices[0] if matrices else None
    for node in order(roots):
        args = [values[a] for a in node.args]
        if node.kind == "leaf":
            value = leaves(node.data)
            rows, like = (len(value) if value.ndim == 2 else rows), value
        elif node.kind == "const":
            dtype = None if like is None else like.dtype
            value = torch.tensor(node.data.value, dtype=dtype).expand(node.n)
        elif node.kind == "apply":
            value = _FUNCTIONS[node.data](*args)
        elif node.kind == "take":
            m = node.data
            source = args[0]
            if m.is_slice:
                value = source[..., m.start : m.start + m.n]
            elif m.is_splat:
                value = source[..., m.start : m.start + 1].expand(*source.shape[:-1], m.n)
            else:
                value = source[..., torch.from_numpy(m.indices().copy()).long()]
        elif node.kind == "product":
            terms = [multiply(a, block_of(matrices, b)) for a, b in zip(args, node.data, strict=True)]
            value = terms[0]
            for term in terms[1:]:
                value = value + term
        elif node.kind == "reduce":
            grouped = args[0].reshape(*args[0].shape[:-1], node.n, -1)
            value = {"sum": torch.sum, "max": torch.amax, "min": torch.amin}[node.data](grouped, -1)
        else:
            value = args[0].new_zeros(*_leading(args), node.n)
            for part, m in zip(args, node.data, strict=True):
                index = torch.from_numpy(m.indices().copy()).long()
                value = value.index_add(-1, index, part.expand(*value.shape[:-1], m.n))
        values[node] = value
    return [v if v.ndim == 2 else v.expand(rows, -1) for v in (values[r] for r in roots)]


def _leading(args: list[Tensor]) -> tuple[int, ...]:
    return max((a.shape[:-1] for a in args), key=len)


def block_of(matrices: list[Tensor], block: Block) -> Tensor:
    """The (k, n) matrix that a block names."""
    m = matrices[block.matrix]
    if block.transposed:
        return m[block.row : block.row + block.n, block.col : block.col + block.k].T
    return m[block.row : block.row + block.k, block.col : block.col + block.n]
