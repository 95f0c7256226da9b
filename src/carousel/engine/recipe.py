"""How the values of a step that depend on no batch element are made: PyTorch calls, recorded, and done again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..cells.base import Cell

__all__ = ["Recipe", "Ref", "replay"]


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

    def plain(self, numbers: list[int]) -> list[tuple[str, str]] | None:
        """Module path and name of each value, where all are parameters as they are."""
        steps = [self.steps[number] for number in numbers]
        return [(path, name) for _, path, name in steps] if all(step[0] == "attribute" for step in steps) else None

    def flat(self, number: int) -> int:
        """The number of the first value that has the same elements in the same order in memory."""
        source = self._source(number)
        while source is not None:
            a, b = self.values[source], self.values[number]
            alike = a.data_ptr() == b.data_ptr() and a.numel() == b.numel() and a.dtype == b.dtype
            if not (alike and a.is_contiguous() and b.is_contiguous()):
                break
            number, source = source, self._source(source)
        return number

    def transposed(self, number: int) -> int | None:
        """The number of the value whose transpose this one is."""
        source = self._source(number)
        if source is None:
            return None
        a, b = self.values[source], self.values[number]
        turned = a.ndim == b.ndim == 2 and a.stride() == b.stride()[::-1] and a.shape == b.shape[::-1]
        return source if turned and a.data_ptr() == b.data_ptr() and a.dtype == b.dtype else None

    def _source(self, number: int) -> int | None:
        """What a call was made with, if its first argument is a value."""
        step = self.steps[number]
        return step[2][0].number if step[0] == "call" and step[2] and type(step[2][0]) is Ref else None


def replay(
    recipe: Recipe, wanted: list[int], cell: Cell, extras: dict[str, Tensor], dtype: torch.dtype
) -> list[Tensor]:
    """The values of the recipe with these numbers, now, in `dtype`, differentiable to the cell's parameters."""
    values: dict[int, Any] = {}

    def value(number: int) -> Tensor:
        if number not in values:
            kind, *rest = recipe.steps[number]
            if kind == "attribute":
                module = cell.get_submodule(rest[0]) if rest[0] else cell
                found = module._parameters.get(rest[1])
                found = getattr(module, rest[1]) if found is None else found
                values[number] = found.to(dtype) if found.dtype != dtype and found.is_floating_point() else found
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
