"""Stand-ins for the tensors of a step: they have a shape and a type, and instead of numbers a place in the graph.

A `RowTensor` has a batch dimension somewhere and points to a node of the graph. A `FixedTensor` depends on no batch
element (parameters, and what `step` computes from parameters alone); it holds its real value, and how it was made is
recorded as PyTorch calls, which run once per sequence, outside the loop, with autograd.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from .graph import Graph, Map, Node
from .recipe import Recipe, Ref

__all__ = ["FixedTensor", "ObstacleError", "RowTensor", "StandIn", "Trace"]


class ObstacleError(Exception):
    """Why a cell can't be compiled, in words that fit behind "because"."""


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

    def call(self, func: Any, /, *args: Any, **kwargs: Any) -> Any:
        """What `func` makes of tensors without batch dimension, recorded."""

        def stand_in(a: Any) -> Any:
            return self.fixed(a) if isinstance(a, Tensor) else a

        args, kwargs = tree_map(stand_in, args), tree_map(stand_in, kwargs)
        with torch.no_grad():
            real = func(*tree_map(_real, args), **tree_map(_real, kwargs))
        recorded = tree_map(_ref, args), tree_map(_ref, kwargs)

        def made(value: Any, which: int | None) -> Any:
            if not isinstance(value, Tensor):
                return value
            return FixedTensor(self, self.recipe.add(("call", func, *recorded, which), value))

        if isinstance(real, tuple | list):
            return type(real)(made(v, i) for i, v in enumerate(real))
        return made(real, None)


def _index(of: list[int], number: int) -> int:
    if number not in of:
        of.append(number)
    return of.index(number)


def _real(a: Any) -> Any:
    return a.real if isinstance(a, FixedTensor) else a


def _ref(a: Any) -> Any:
    return Ref(a.number) if isinstance(a, FixedTensor) else a


class StandIn(torch.Tensor):
    """A tensor without numbers; what is done to it while a step is followed goes to its trace."""

    trace: Trace
    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore[reportAssignmentType]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        raise ObstacleError("step() uses its tensors on another thread or after it has returned")

    def register_hook(self, hook: Any) -> Any:
        """Compiled code would never call it."""
        raise ObstacleError("step() registers a hook on a tensor")

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
