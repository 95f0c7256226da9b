"""Before anything is timed: do the rivals compute the same numbers?"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cells import Cell
from ..errors import CarouselError, CellError
from ..nn import Recurrent
from .rivals import Problem, Rival, Shape

__all__ = ["check_cell", "check_equal", "check_rivals"]

NEAR = 1e-4
"""Largest deviation, as a share of a tensor's largest value: float32 with sums in another order, over 20 steps."""
FLOOR = 1e-5
"""The same as a share of the largest value of all tensors: a gradient whose terms cancel is only as exact as they."""
STEPS = 20


def check_cell(cell: Cell, shape: Shape) -> None:
    """Hold the cell's outputs and gradients as "auto" computes them against the plain loop.

    Raises:
        CellError: the loop itself gives NaN or infinity.
        CarouselError: they differ by more than rounding.
    """
    problem = Problem(shape._replace(time=min(shape.time, STEPS)), features=cell.input_size, seed=1)
    names = ["the output", "the gradient of the input", *(f"the gradient of {n}" for n, _ in cell.named_parameters())]
    found, expected = (_results(copy.deepcopy(cell), backend, problem) for backend in ("auto", "reference"))
    kind = type(cell).__name__
    if not all(bool(torch.isfinite(value).all()) for value in expected):
        raise CellError(f"{kind} gives NaN or infinity on random input; mend its equations or its starting weights.")
    check_equal(f"{kind} as it runs by default and on the plain loop", names, found, expected)


def _results(cell: Cell, backend: str, problem: Problem) -> list[Tensor]:
    x = problem.x.detach().clone().requires_grad_()
    layer = Recurrent([cell], backend=backend)
    output, _ = layer(x, generator=torch.Generator().manual_seed(0))
    if output.requires_grad:
        output.backward(problem.gradient(output.shape[-1]))
    leaves = [x, *cell.parameters()]
    return [output.detach(), *(torch.zeros_like(p) if p.grad is None else p.grad for p in leaves)]


def check_rivals(one: Rival, other: Rival, *, gradients: int | None = None) -> None:
    """Hold two rivals of the same weights against each other: outputs, and gradients where both have them.

    Args:
        one: a rival.
        other: another.
        gradients: how many of the gradients to compare, from the input's on; all of them if not given.

    Raises:
        CarouselError: they differ by more than rounding.
    """
    found, expected = [_tensor(one.forward())], [_tensor(other.forward())]
    if one.train is not None and other.train is not None:
        found += [_tensor(g) for g in one.train()[:gradients]]
        expected += [_tensor(g) for g in other.train()[:gradients]]
    names = ["the output", "the gradient of the input", *(f"gradient {n}" for n in range(2, len(found)))]
    check_equal(f"{one.name} and {other.name}", names, found, expected)


def check_equal(who: str, names: Sequence[str], found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Raise a CarouselError that names the first tensor in which the two differ by more than rounding."""
    gradients = max((float(value.abs().max()) for value in expected[1:] if value.numel()), default=0.0)
    for number, (name, a, b) in enumerate(zip(names, found, expected, strict=False)):
        if a.shape != b.shape:
            raise CarouselError(
                f"{who} differ in the shape of {name}: {tuple(a.shape)}, {tuple(b.shape)}. Nothing was timed."
            )
        if not b.numel():
            continue
        scale, apart = float(b.abs().max()), float((a - b).abs().max())
        if not apart <= NEAR * scale + (FLOOR * gradients if number else 0.0):
            raise CarouselError(
                f"{who} differ: {name} by {apart:.2g}, where its largest value is {scale:.2g}. Nothing was timed; "
                "please report this."
            )


def _tensor(value: Any) -> Tensor:
    return value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
