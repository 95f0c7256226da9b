"""What the files of the contract suite share: comparison, gradients, and running the pieces of a sequence alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from carousel.engine import start_state
from carousel.nn import Recurrent

from .cases import normal

__all__ = ["SUMMED", "assert_near", "gradients", "random_state", "run_alone", "start", "tensors", "weighted_sum"]

SUMMED = 1e-13
"""Two ways to the same float64 number that differ only in the order of sums: some hundred roundings of 1.1e-16 each,
relative to the largest element."""


def tensors(value: Any) -> list[Tensor]:
    """All tensors of a nested tuple, in order."""
    if isinstance(value, Tensor):
        return [value]
    return [t for v in value for t in tensors(v)]


def assert_near(got: Any, expected: Any, tolerance: float, what: str = "values") -> None:
    """Each tensor within `tolerance`, relative to the largest element of what is expected (at least one)."""
    got, expected = tensors(got), tensors(expected)
    assert len(got) == len(expected)
    for number, (g, e) in enumerate(zip(got, expected, strict=True)):
        assert g.shape == e.shape, f"{what} {number}: shape {tuple(g.shape)}, expected {tuple(e.shape)}"
        if g.numel() == 0:
            continue
        assert bool(torch.isfinite(g).all()), f"{what} {number} is not finite"
        difference = (g.double() - e.double()).abs().max().item()
        scale = max(1.0, e.abs().max().item())
        assert difference <= tolerance * scale, f"{what} {number} differ by {difference:.2e} at scale {scale:.2e}"


def weighted_sum(values: Any, seed: int = 77) -> Tensor:
    """Σ w ⊙ v with random w: a scalar loss that sees every element differently."""
    parts = [(t * normal(*t.shape, seed=seed + n, dtype=t.dtype)).sum() for n, t in enumerate(tensors(values))]
    return torch.stack(parts).sum()


def gradients(loss: Tensor, module: nn.Module, *others: Any) -> list[Tensor]:
    """Of every parameter that learns, then of `others`; zeros where the loss does not depend on one."""
    wanted = [p for p in module.parameters() if p.requires_grad] + tensors(others)
    return list(torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True))


def start(layer: Recurrent, batch: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """The cells' own initial states, in the layout of a `State`."""
    cells = layer._bound_cells()
    each = [start_state(cell, batch, dtype=dtype, device=torch.device("cpu")) for cell in cells]
    return tuple(torch.stack(values) for values in zip(*each, strict=True))


def random_state(layer: Recurrent, batch: int, *, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Random states in the layout of a `State`, that ask for a gradient."""
    shapes = [s.shape for s in start(layer, batch, dtype)]
    return tuple((0.5 * normal(*shape, seed=seed + n, dtype=dtype)).requires_grad_() for n, shape in enumerate(shapes))


def run_alone(
    layer: Recurrent, x: Tensor, state: Sequence[Tensor], lengths: Sequence[int], reset: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What `layer(x, state, lengths=lengths, reset=reset)` must give, by running every piece of every row alone.

    A row's pieces begin at 0 and at its resets. In the forward direction the given state enters the first piece
    (unless it is reset at once); in the backward direction it enters the last piece, from its end. Every other piece
    starts from the initial state. The final state is the one that leaves the last piece, the first going backward.
    """
    batch_dim = {n: s.ndim - 1 - len(shape) for n, (s, shape) in enumerate(zip(state, _shapes(layer), strict=True))}
    fresh = start(layer, 1, x.dtype)
    count = len(state[0])
    forward = torch.arange(count) % layer.directions == 0
    rows, finals = [], []
    for b, length in enumerate(lengths):
        given = [s.narrow(batch_dim[n], b, 1) for n, s in enumerate(state)]
        starts = [t for t in range(length) if t == 0 or reset[t, b]]
        ends = [*starts[1:], length]
        final, outputs = given, []
        if layer.directions == 2 and length:
            final = list(given)
        for number, (begin, end) in enumerate(zip(starts, ends, strict=bool(length))):
            first, last = number == 0 and not reset[begin, b], end == length
            takes_given = torch.where(forward, torch.tensor(first), torch.tensor(last))
            piece_state = tuple(_choose(takes_given, g, f) for g, f in zip(given, fresh, strict=True))
            output, left = layer(x[begin:end, b : b + 1], piece_state)
            outputs.append(output)
            leaves = torch.where(forward, torch.tensor(last), torch.tensor(number == 0))
            final = [_choose(leaves, new, old) for new, old in zip(left, final, strict=True)]
        padding = x.new_zeros(len(x) - length, 1, layer.output_size)
        rows.append(torch.cat([*outputs, padding]))
        finals.append(final)
    joined = tuple(torch.cat([f[n] for f in finals], dim=batch_dim[n]) for n in range(len(state)))
    return torch.cat(rows, dim=1), joined


def _shapes(layer: Recurrent) -> list[tuple[int, ...]]:
    return list(layer._bound_cells()[0].state_shapes.values())


def _choose(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(mask.view(-1, *[1] * (yes.ndim - 1)), yes, no)
