r"""Gradients on their way back through time.

:math:`∂L/∂h_t` is what a loss still says to the state of step t, :math:`∂h_T/∂h_t` what is left at the last state of a
small change at step t. Of a vanilla network :math:`h_t = φ(W h_{t-1} + …)` the second is a product of T - t factors
:math:`\mathrm{diag}(φ') W`, so that

.. math:: ‖∂h_T/∂h_t‖ ≤ (γ_W γ_φ)^{T-t}, \qquad γ_W = σ_{\max}(W), \; γ_φ = \max |φ'|

(Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural networks", ICML 2013; Bengio, Simard &
Frasconi 1994).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..cells.activations import ACTIVATIONS
from ..cells.rnn import RNN, PreActivationRNN
from ..errors import CellError, UsageError
from .replay import watch
from .system import Recurrence, recurrence

__all__ = ["Carry", "Gradients", "carried_gradients", "gradients_through_time"]

SLOPES = {"tanh": 1.0, "sigmoid": 0.25, "relu": 1.0, "identity": 1.0}
"""The largest derivative of some activations."""
EXACT = 64 << 20
"""Numbers of all ∂s_T/∂s_t together up to which they are computed in full."""


# -- the gradient of a loss -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gradients:
    r"""What the gradient of a loss is at each step.

    Attributes:
        norms: name of a state, such as "rnn: h" or "rnn: c of layer 2, backward" → (time,) :math:`‖∂L/∂h_t‖`, the root
            of its mean square over the sequences that have a step t. Step t is step t of the input.
    """

    norms: dict[str, Tensor]

    def rate(self, name: str) -> float:
        """Factor by which the norm changes per step backward in time, over the steps where it is not zero.

        Below 1 it vanishes; the slope of a straight line through its logarithm.
        """
        norms = self.norms[name].double()
        steps = norms.nonzero()[:, 0]
        if len(steps) < 2:
            return math.nan
        back = -steps.double()
        logs = norms[steps].log()
        slope = ((back - back.mean()) * (logs - logs.mean())).sum() / ((back - back.mean()) ** 2).sum()
        return math.exp(float(slope))


def gradients_through_time(network: nn.Module, loss: Callable[[], Tensor], of: nn.Module | None = None) -> Gradients:
    r"""The norms of :math:`∂L/∂h_t` of every recurrent layer in a network, for one evaluation of a loss.

    Args:
        network: holds recurrent layers: Carousel's, PyTorch's, or cells that a loop of the user's calls.
        loss: runs the network and gives the loss, as `lambda: criterion(net(x), y)`. While it runs, PyTorch's layers
            are replayed step by step in their own equations, since their kernels keep the states to themselves.
        of: in a loop written by hand, the module that makes the new state, such as the `nn.Linear` from h to h; what
            it gives at its t-th call is taken for the state of step t.

    Returns:
        `Gradients`. The network's own gradients (`p.grad`) are left as they were.

    Raises:
        UsageError: no recurrent layer ran, or no gradient reached one.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net, x = nn.RNN(3, 20), torch.randn(30, 8, 3)
        >>> found = gradients_through_time(net, lambda: net(x)[0][-1].square().mean())
        >>> found.norms["RNN: h"].shape, 0 < found.rate("RNN: h") < 0.8          # it vanishes
        (torch.Size([30]), True)
    """
    with watch(network, of) as seen, torch.enable_grad():
        value = loss()
        if not seen:
            raise UsageError("No recurrent layer of the network ran; name the module that makes the new state as of=.")
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            raise UsageError("loss() must give one number that depends on the network's parameters.")
    kept = {name: p.grad for name, p in network.named_parameters()}
    try:
        network.zero_grad(set_to_none=True)
        _backward(value, seen)
        norms: dict[str, Tensor] = {}
        for name, records in seen.items():
            norms |= _norms(name, records)
    finally:
        for name, p in network.named_parameters():
            p.grad = kept[name]
    if not any(bool(n.any()) for n in norms.values()):
        raise UsageError("The loss depends on no state of the recurrent layers: no gradient reached any of them.")
    return Gradients(norms)


def _backward(value: Tensor, seen: dict[str, list[Any]]) -> None:
    """Gradients of the states alone: those of the parameters, an outer product at every step, are most of the work."""
    calls = [call for records in seen.values() for call in records]
    states = [state for call in calls for state in (call if isinstance(call, list) else call[1].tensors)]
    torch.autograd.backward(value, inputs=[state for state in states if state.requires_grad] or None)


def _norms(name: str, records: list[Any]) -> dict[str, Tensor]:
    """(time,) for each state of a module that was called once over a sequence, in pieces, or step by step."""
    if isinstance(records[0], list):
        names = (
            ("h", "c") if len(records[0]) == 2 else tuple("h" if i == 0 else f"h{i}" for i in range(len(records[0])))
        )
        found = {}
        for number, state in enumerate(names):
            steps = [_norm(step[number].grad, step[number], 0) for step in records]
            found[f"{name}: {state}"] = torch.stack(steps)
        return found
    pieces: dict[str, list[Tensor]] = {}
    for layer, trajectory in records:
        cells = layer._bound_cells()
        for number, cell in enumerate(cells):
            depth, direction = divmod(number, layer.directions)
            of = f" of layer {depth + 1}" * (layer.num_layers > 1) + ", backward" * bool(direction)
            for state in cell.state_sizes:
                gradients = _or_none(partial(trajectory.gradients, state, depth, direction))
                norms = _norm(gradients, trajectory.states(state, depth, direction), 1, trajectory.lengths)
                pieces.setdefault(f"{name}: {state}{of}", []).append(norms)
    return {state: torch.cat(some) for state, some in pieces.items()}


def _or_none(gradients: Callable[[], Tensor]) -> Tensor | None:
    try:
        return gradients()
    except CellError:
        return None


def _norm(gradient: Tensor | None, state: Tensor, dims: int, lengths: Tensor | None = None) -> Tensor:
    """The root mean square over the batch of Euclidean norms; `dims` dimensions stand before the batch."""
    if gradient is None:
        return torch.zeros(state.shape[:dims])
    if state.ndim == dims + 1:  # a single sequence
        gradient = gradient.unsqueeze(dims)
    square = gradient.detach().flatten(dims + 1).square().sum(-1)
    if lengths is not None:
        alive = torch.arange(len(square), device=square.device).unsqueeze(1) < lengths
        return ((square * alive).sum(1) / alive.sum(1).clamp_min(1)).sqrt()
    return square.mean(dims).sqrt()


# -- what is carried from state to state ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Carry:
    r"""How much of a change of the state of step t is left at the last step.

    Attributes:
        frobenius: (time + 1,) :math:`‖∂s_T/∂s_t‖_F` for t = 0 (before the first step) to T.
        spectral: (time + 1,) the largest singular value, what the most sensitive direction keeps; None where the
            Jacobians were too large to be computed in full, `frobenius` then is estimated.
        bound: (time + 1,) :math:`(γ_W γ_φ)^{T-t}`, above `spectral`; None where the network is not one vanilla layer.
        factor: :math:`γ_W γ_φ`; None where there is no bound.
    """

    frobenius: Tensor
    spectral: Tensor | None
    bound: Tensor | None
    factor: float | None


def carried_gradients(
    network: Any, inputs: Tensor, *, part: str | None = None, state: Tensor | None = None, probes: int = 32
) -> Carry:
    r"""The norms of :math:`∂s_T/∂s_t` along one sequence, and for a vanilla layer the bound above them.

    In full (by a backward pass for each number of the last state, all in one batch) where that is at most 64 million
    numbers; else by `probes` random directions, for which :math:`E‖v^⊤ ∂s_T/∂s_t‖^2 = ‖∂s_T/∂s_t‖_F^2` with
    :math:`v ∼ N(0, I)`: the relative error is about :math:`1/\sqrt{2 \cdot probes}` or less.

    Args:
        network: what `recurrence` takes.
        inputs: (time, input_size).
        part: name of the numbers of the state to look at, such as "h" (∂h_T/∂h_t with c_t held, though not
            what c carries on from it); None for the whole state.
        state: (size,) before the first step; None for the network's own.
        probes: random directions, where they are needed.

    Returns:
        `Carry`.

    Raises:
        UsageError: the inputs do not fit.

    Example:
        >>> cell = torch.nn.RNNCell(1, 2, nonlinearity="relu").double()
        >>> with torch.no_grad():
        ...     _ = cell.weight_hh.copy_(0.5 * torch.eye(2)), cell.bias_hh.fill_(1), cell.bias_ih.fill_(1)
        ...     _ = cell.weight_ih.zero_()
        >>> found = carried_gradients(cell, torch.zeros(3, 1))
        >>> found.spectral, found.factor
        (tensor([0.1250, 0.2500, 0.5000, 1.0000], dtype=torch.float64), 0.5)
    """
    system = recurrence(network)
    inputs = system.checked(inputs)
    if inputs.ndim != 2:
        raise UsageError(f"carried_gradients takes one sequence, (time, {system.input_size}).")
    some, time = system.part(part), len(inputs)
    width = some.stop - some.start
    exact = width * width * (time + 1) <= EXACT
    if exact:
        directions = torch.eye(width, dtype=system.dtype, device=system.device)
    else:
        generator = torch.Generator().manual_seed(0)
        directions = torch.randn(probes, width, generator=generator, dtype=torch.float64)
        directions = directions.to(system.device, system.dtype)
    start = (system.start() if state is None else state.to(inputs)).reshape(1, -1).expand(len(directions), -1)
    with torch.enable_grad():
        now = start.detach().clone().requires_grad_()
        states = [now]
        for x in inputs.detach().unbind(0):
            now = system.step(now, x.expand(len(directions), -1))[0]
            states.append(now)
        carried = torch.autograd.grad(
            (now[:, some] * directions).sum(), states, allow_unused=True, materialize_grads=True
        )
    products = [gradient[:, some] for gradient in carried]
    squares = torch.stack([p.square().sum() for p in products]) / (1 if exact else len(directions))
    spectral = torch.stack([torch.linalg.matrix_norm(p, 2) for p in products]) if exact else None
    factor = _factor(system)
    bound = None if factor is None else factor ** torch.arange(time, -1, -1, dtype=torch.float64)
    return Carry(squares.sqrt(), spectral, bound, factor)


def _factor(system: Recurrence) -> float | None:
    """γ_W γ_φ of a single vanilla layer."""
    if len(system.cells) != 1 or type(system.cells[0]) not in (RNN, PreActivationRNN):
        return None
    cell = system.cells[0]
    assert isinstance(cell, RNN)
    slope = next((slope for name, slope in SLOPES.items() if ACTIVATIONS[name] is cell.phi), None)
    if slope is None or cell.weight_hh is None:
        return None
    return slope * float(torch.linalg.matrix_norm(cell.weight_hh.detach().double(), 2))
