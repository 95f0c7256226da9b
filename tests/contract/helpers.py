"""What the files of the contract suite share: comparison, gradients, and running the pieces of a sequence alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from carousel.engine import start_state
from carousel.nn import Recurrent

from .cases import normal

__all__ = [
    "SUMMED",
    "assert_equals_the_loop",
    "assert_near",
    "everything",
    "gradients",
    "like",
    "random_state",
    "run_alone",
    "start",
    "tensors",
    "weighted_sum",
]

SUMMED = 1e-13
"""Two ways to the same float64 number that differ only in the order of sums: some hundred roundings of 1.1e-16 each,
relative to the largest element."""


def tensors(value: Any) -> list[Tensor]:
    """All tensors of a nested tuple, in order."""
    if isinstance(value, Tensor):
        return [value]
    return [t for v in value for t in tensors(v)]


def assert_near(
    got: Any, expected: Any, tolerance: float, what: str = "values", moved: Callable[[], Any] | None = None
) -> None:
    """Each tensor within `tolerance`, relative to the largest element of what is expected (at least one).

    Where equations magnify rounding (a norm over three units that are nearly equal does, a thousandfold), `moved()`
    measures by how much: it computes `expected` from numbers off by a few relative ε. Twice its distance is allowed.
    """
    got, expected = tensors(got), tensors(expected)
    assert len(got) == len(expected)
    others: list[Tensor] | None = None
    for number, (g, e) in enumerate(zip(got, expected, strict=True)):
        assert g.shape == e.shape, f"{what} {number}: shape {tuple(g.shape)}, expected {tuple(e.shape)}"
        if g.numel() == 0:
            continue
        assert bool(torch.isfinite(g).all()), f"{what} {number} is not finite"
        difference = (g.double() - e.double()).abs().max().item()
        scale = max(1.0, e.abs().max().item())
        allowed = tolerance * scale
        if difference > allowed and moved is not None:
            others = tensors(moved()) if others is None else others
            allowed = max(allowed, 2 * (others[number] - e).abs().max().item())
        assert difference <= allowed, f"{what} {number} differ by {difference:.2e} at scale {scale:.2e}"


def weighted_sum(values: Any, seed: int = 77) -> Tensor:
    """Σ w ⊙ v with random w: a scalar loss that sees every element differently."""
    parts = [(t * normal(*t.shape, seed=seed + n, dtype=t.dtype)).sum() for n, t in enumerate(tensors(values))]
    return torch.stack(parts).sum()


def gradients(loss: Tensor, module: nn.Module, *others: Any) -> list[Tensor]:
    """Of every parameter that learns, then of `others`; zeros where the loss does not depend on one."""
    wanted = [p for p in module.parameters() if p.requires_grad] + tensors(others)
    return list(torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True))


def everything(layer: Recurrent, x: Tensor, state: Any = None, **keywords: Any) -> dict[str, Tensor]:
    """By name: output, final states, and the gradients of all that asks for one, for a random functional of the two."""
    output, final = layer(x, state, generator=torch.Generator().manual_seed(1), **keywords)
    made = {"output": output, **{f"final state {n}": s for n, s in enumerate(tensors(final))}}
    inputs = dict(layer.named_parameters()) | {"x": x}
    inputs |= {f"initial state {n}": s for n, s in enumerate(tensors(() if state is None else state))}
    wanted = {name: t for name, t in inputs.items() if t.requires_grad}
    weights = [normal(*t.shape, seed=77 + n, dtype=torch.float32).to(t.dtype) for n, t in enumerate(made.values())]
    if wanted:
        pairs = [(t, w) for t, w in zip(made.values(), weights, strict=True) if t.requires_grad]
        options = {"allow_unused": True, "materialize_grads": True}
        found = torch.autograd.grad([t for t, _ in pairs], list(wanted.values()), [w for _, w in pairs], **options)
        made |= {f"gradient of {name}": g for name, g in zip(wanted, found, strict=True)}
    return {name: t.detach() for name, t in made.items()}


def like(value: Any, dtype: torch.dtype, noise: float = 0.0) -> Any:
    """The tensors of a nested tuple as new leaves of another precision, each number times (1 + noise · normal)."""
    if value is None or isinstance(value, tuple):
        return None if value is None else tuple(like(v, dtype, noise) for v in value)
    factor = 1 + noise * normal(*value.shape, seed=value.numel())
    return (value.detach() * factor).to(dtype).requires_grad_(value.requires_grad)


def assert_equals_the_loop(layer: Recurrent, x: Tensor, state: Any = None, **keywords: Any) -> None:
    """All of `everything(layer, …)` within rounding of the reference loop in float64 on the same numbers.

    What rounding can do is measured, not guessed: by the loop in float32, on these numbers and on some that are off by
    a relative ε each; for float64 scaled by the ratio of the two ε. Four times the larger error is allowed (products in
    another order, other `exp`; sixteen times in float64, whose functions are good to 2 ulp where float32's are to one
    half), and for small sums, which the loop may hit by luck, some ε and what adding up n terms one by one costs, ε√n.
    """
    eps, eps_32 = torch.finfo(x.dtype).eps, torch.finfo(torch.float32).eps

    def loop(dtype: torch.dtype, noise: float = 0.0) -> Mapping[str, Tensor]:
        other = copy.deepcopy(layer).to(dtype)
        other.backend = "reference"
        with torch.no_grad():
            for p in other.parameters():
                p.copy_(like(p, dtype, noise))
        return everything(other, like(x, dtype, noise), like(state, dtype, noise), **keywords)

    exact = loop(torch.float64)
    loops = [loop(torch.float32), loop(torch.float32, eps_32)]
    got = everything(layer, x, state, **keywords)
    assert got.keys() == exact.keys()
    terms = x.shape[0] * x.shape[1] + max(p.shape[-1] for p in layer.parameters() if p.ndim)
    for name, e in exact.items():
        g = got[name]
        assert g.dtype == x.dtype
        assert g.shape == e.shape, f"{name} has shape {tuple(g.shape)}, expected {tuple(e.shape)}"
        if not e.numel():
            continue
        assert bool(g.isfinite().all()), f"{name} is not finite"
        error = (g.double() - e).abs().max().item()
        usual = eps / eps_32 * max((run[name].double() - e).abs().max().item() for run in loops)
        usual *= 4 if x.dtype == torch.float32 else 16
        allowed = usual + eps * (8 + 2 * terms**0.5) * max(1.0, e.abs().max().item())
        assert error <= allowed, f"{name} is off by {error:.2e}, allowed are {allowed:.2e}"


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
