r"""How far back a recurrent network remembers: what an input k steps ago still does to the output.

By gradient, :math:`g_k = ‖∂y_T/∂x_{T-k}‖`, what an infinitesimal change does; by intervention,
:math:`d_k = ‖y_T(x) - y_T(x')‖` where x' has another input at step T - k, what a real change does. They part where a
network is not linear: a saturated gate has no gradient, and yet another input would flip it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .system import evaluating

__all__ = ["Memory", "memory_by_gradient", "memory_by_intervention"]

Network = Callable[[Tensor], Any]


@dataclass(frozen=True)
class Memory:
    """What inputs do to the last output, by how long ago they were.

    Attributes:
        lags: (n,) steps before the last one, rising from 0.
        influence: (n,) root mean square over sequences of what they do.
    """

    lags: Tensor
    influence: Tensor

    def length(self, share: float = 1 / math.e) -> int:
        """The largest lag whose influence is at least this share of the largest one.

        For a leaky integrator, a^k, it is its time constant -1/ln a; for a line of k delays it is k. 0 where nothing
        of any input arrives.
        """
        largest = self.influence.max()
        if not largest > 0:
            return 0
        return int(self.lags[self.influence >= share * largest * (1 - 1e-9)].max())


def memory_by_gradient(network: Network, inputs: Tensor, *, probes: int = 8) -> Memory:
    r"""The size of :math:`∂y_T/∂x_{T-k}` for every k, from one backward pass for each probe.

    Args:
        network: gives outputs (time, batch, …), alone or first in a tuple, for inputs (time, batch, features): a
            recurrent layer, or a function around one.
        inputs: sequences to measure it on, (time, batch, features); best real ones.
        probes: random directions v in the outputs; :math:`E‖v^⊤ J‖^2 = ‖J‖_F^2`. Where the output has no more numbers
            than that, each of them is a direction and the norm exact.

    Returns:
        `Memory`, with the Frobenius norms of the Jacobians.

    Example:
        >>> def leaky(x):                                                        # y_t = 0.5 y_{t-1} + x_t
        ...     y = torch.zeros(x.shape[1:])
        ...     return torch.stack([y := 0.5 * y + x_t for x_t in x])
        >>> memory_by_gradient(leaky, torch.randn(5, 3, 1)).influence
        tensor([1.0000, 0.5000, 0.2500, 0.1250, 0.0625])
    """
    x = _checked(inputs).detach().clone().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    with _evaluating(network), torch.enable_grad():
        last = _outputs(network, x)[-1].flatten(1)
        if not last.requires_grad:
            return Memory(torch.arange(len(x)), torch.zeros(len(x)))
        if last.shape[1] <= probes:
            directions = torch.eye(last.shape[1]).to(last)
        else:
            drawn = torch.randn(probes, last.shape[1], generator=generator, dtype=torch.float64)
            directions = (drawn / math.sqrt(probes)).to(last)
        square = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for v in directions:
            (gradient,) = torch.autograd.grad((last * v).sum(), x, retain_graph=True)
            square += gradient.square().flatten(2).sum(2).mean(1)
    return Memory(torch.arange(len(x)), square.sqrt().flip(0).cpu())


def memory_by_intervention(network: Network, inputs: Tensor, *, lags: int = 64) -> Memory:
    """How far the last output moves when the input of one step is put in place of that of another sequence.

    Args:
        network: as in `memory_by_gradient`; it need not be differentiable. It may take tokens, (time, batch).
        inputs: (time, batch, …), at least two sequences; that of sequence i at the changed step comes from i + 1.
        lags: how many to try, from 0 to time - 1: the first ones all, then by even factors.

    Returns:
        `Memory`, with root mean squares over sequences of the Euclidean distances.

    Example:
        >>> def delay(x):                                                        # y_t = x_{t-2}
        ...     return torch.cat([torch.zeros(2, *x.shape[1:]), x[:-2]])
        >>> found = memory_by_intervention(delay, torch.randn(6, 4, 1))
        >>> found.length(), (found.influence > 0).tolist()
        (2, [False, False, True, False, False, False])
    """
    x = _checked(inputs)
    if x.shape[1] < 2:
        raise UsageError("An input is put in place of another sequence's; give at least two sequences.")
    time = len(x)
    chosen = sorted({*range(min(time, lags // 2)), *_spread(time, lags)})
    found = []
    with _evaluating(network), torch.no_grad():
        before = _outputs(network, x)[-1].flatten(1)
        for lag in chosen:
            changed = x.clone()
            changed[time - 1 - lag] = x[time - 1 - lag].roll(-1, 0)
            after = _outputs(network, changed)[-1].flatten(1)
            found.append((after - before).square().sum(1).mean().sqrt())
    return Memory(torch.tensor(chosen), torch.stack(found).cpu())


def _spread(time: int, lags: int) -> list[int]:
    """From 1 to the first step, by even factors."""
    return torch.logspace(0, math.log10(max(time - 1, 1)), max(lags // 2, 1)).round().int().tolist() if time > 1 else []


def _checked(inputs: Tensor) -> Tensor:
    if inputs.ndim < 2 or not len(inputs):
        raise UsageError(f"The inputs have the shape {tuple(inputs.shape)}; expected (time, batch, features).")
    return inputs


def _outputs(network: Network, x: Tensor) -> Tensor:
    made = network(x)
    made = made[0] if isinstance(made, tuple) else made
    if not isinstance(made, Tensor) or len(made) != len(x):
        got = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise UsageError(f"The network gave {got} for inputs {tuple(x.shape)}; expected an output for each step.")
    return made


def _evaluating(network: Network) -> contextlib.AbstractContextManager[None]:
    """Without dropout, where the network is a module."""
    return evaluating(network) if isinstance(network, nn.Module) else contextlib.nullcontext()
