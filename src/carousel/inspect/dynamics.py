r"""A recurrent network as a dynamical system: Jacobians, Lyapunov exponents, fixed points, responses.

With :math:`s_t = F(s_{t-1}, x_t)` and :math:`J_t = ∂s_t / ∂s_{t-1}`, all that a small change of a state becomes after
k steps is :math:`J_{t+k} ⋯ J_{t+1}`; the gradient that backpropagation through time carries is its transpose. So what
these numbers say of the forward dynamics (does it forget, hold, or tear apart) holds for learning too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import jacrev, vjp, vmap

from ..errors import UsageError
from .system import Recurrence, recurrence

__all__ = [
    "FixedPoint",
    "Lyapunov",
    "Response",
    "eigenvalues",
    "fixed_points",
    "impulse_response",
    "jacobians",
    "lyapunov",
    "step_response",
]

CHUNK = 64 << 20
"""Bytes that the Jacobians computed at once may have."""


# -- Jacobians --------------------------------------------------------------------------------------------------------


def jacobians(system: Any, states: Tensor, inputs: Tensor | None = None) -> Tensor:
    r"""The Jacobians :math:`J = ∂F(s, x)/∂s` at given states.

    Args:
        system: what `recurrence` takes.
        states: (points, size).
        inputs: (points, input_size), or (input_size,) for all; None for zeros.

    Returns:
        (points, size, size); row i is the gradient of number i of the next state.

    Example:
        >>> cell = torch.nn.RNNCell(2, 3).double()
        >>> W, s = cell.weight_hh, torch.zeros(1, 3, dtype=torch.float64)
        >>> h = cell(torch.zeros(1, 2, dtype=torch.float64), s)
        >>> torch.allclose(jacobians(cell, s)[0], (1 - h**2).T * W)          # diag(1 - tanh²) W
        True
    """
    system = recurrence(system)
    inputs = _inputs_of(system, inputs, len(states))
    with torch.no_grad():
        return torch.cat(list(_jacobians(system, states.to(system.device, system.dtype), inputs)))


def _jacobians(system: Recurrence, states: Tensor, inputs: Tensor) -> Iterator[Tensor]:
    """As many at once as memory is meant to hold."""
    step = vmap(jacrev(lambda s, x: system.step(s, x)[0]))
    many = max(1, CHUNK // (system.size * system.size * states.element_size()))
    for some, x in zip(states.split(many), inputs.split(many), strict=True):
        yield step(some, x).detach()


def eigenvalues(system: Any, states: Tensor, inputs: Tensor | None = None) -> Tensor:
    """The eigenvalues of the Jacobians at given states, the largest in magnitude first.

    Args:
        system: what `recurrence` takes.
        states: (points, size), such as every tenth state of a trajectory.
        inputs: (points, input_size), or (input_size,) for all; None for zeros.

    Returns:
        (points, size), complex. Above 1 in magnitude, what lies in that direction grows in the next step; at 1 it
        stays; complex ones turn it, by `angle` a step.

    Example:
        >>> leaky = recurrence(lambda s: torch.stack([0.9 * s[:, 0], -0.5 * s[:, 1]], 1), size=2)
        >>> eigenvalues(leaky, torch.zeros(1, 2)).real
        tensor([[ 0.9000, -0.5000]], dtype=torch.float64)
    """
    system = recurrence(system)
    inputs = _inputs_of(system, inputs, len(states))
    found = []
    with torch.no_grad():
        for some in _jacobians(system, states.to(system.device, system.dtype), inputs):
            values = torch.linalg.eigvals(some)
            found.append(values.gather(-1, values.abs().argsort(-1, descending=True)))
    return torch.cat(found)


# -- Lyapunov exponents -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lyapunov:
    r"""Exponents of growth along a trajectory.

    Attributes:
        exponents: (count,) nats a step, the largest first.
        errors: (count,) their standard errors, from the means of twenty stretches of the trajectory.
        history: (blocks, count), the exponents as they stood after each twentieth of the steps.
        steps: that were measured.
    """

    exponents: Tensor
    errors: Tensor
    history: Tensor
    steps: int

    @property
    def dimension(self) -> float:
        r"""Kaplan and Yorke's dimension of the attractor, :math:`j + \sum_{i≤j} λ_i / |λ_{j+1}|`.

        j is the most exponents whose sum is not negative; nan where all measured ones have such a sum, but there are
        more.
        """
        sums = self.exponents.cumsum(0)
        if self.exponents[0] < 0:
            return 0.0
        below = (sums < 0).nonzero()
        if not len(below):
            return math.nan
        j = int(below[0])
        return j + float(sums[j - 1] / self.exponents[j].abs())

    @property
    def horizon(self) -> float:
        """Steps in which a small change becomes e times larger (inf where the largest exponent is not positive)."""
        return 1 / float(self.exponents[0]) if self.exponents[0] > 0 else math.inf


BLOCKS = 20


def lyapunov(
    system: Any,
    inputs: Tensor | None = None,
    *,
    steps: int | None = None,
    start: Tensor | None = None,
    count: int | None = None,
    discard: int = 100,
    every: int = 1,
) -> Lyapunov:
    r"""The Lyapunov spectrum along a trajectory, by QR decompositions.

    .. math::
        J_t Q_{t-1} = Q_t R_t, \qquad λ_i = \lim_{T→∞} \frac{1}{T} \sum_{t=1}^{T} \ln |(R_t)_{ii}|

    λ_1 > 0 is chaos: nearby states part by e^{λ_1} a step, gradients explode as fast; λ_1 < 0: the network forgets its
    start, gradients vanish with the time constant -1/λ_1. Along inputs they are those of the driven system. Benettin,
    Galgani, Giorgilli & Strelcyn, Meccanica 15 (1980); for trained recurrent networks Vogt, Puelma Touzel, Shlizerman &
    Lajoie 2022.

    Args:
        system: what `recurrence` takes.
        inputs: (time, input_size), one for each step; None for zeros.
        steps: how many, where there are no inputs (default 10,000); otherwise all of them.
        start: (size,) state to begin with; None for the system's own.
        count: how many exponents, the largest; None for all.
        discard: steps before the measurement, in which state and directions settle.
        every: steps between decompositions: more is faster, and less exact where directions collapse in between.

    Returns:
        `Lyapunov`; a direction that is lost in one step, as through a dead unit, has the exponent -inf.

    Raises:
        UsageError: too few steps, or the states do not stay finite.

    Example:
        >>> logistic = recurrence(lambda s: 4 * s * (1 - s), size=1)
        >>> found = lyapunov(logistic, start=torch.tensor([0.3]), steps=20_000)
        >>> round(float(found.exponents[0]), 2)                                  # ln 2
        0.69
    """
    system = recurrence(system)
    size: int = system.size
    number = size if count is None else count
    if not 1 <= number <= size:
        raise UsageError(f"lyapunov got count={count}; the state has {size} numbers, so 1 to {size}.")
    if inputs is not None and steps is not None:
        raise UsageError("lyapunov got inputs and steps; leave out steps, each input is one.")
    total = (10_000 if steps is None else steps) + discard
    driven = system.checked(torch.zeros(1, system.input_size).expand(total, -1) if inputs is None else inputs)
    measured = (len(driven) - discard) // (BLOCKS * every) * BLOCKS * every
    if discard < 0 or every < 1 or measured < BLOCKS * every:
        raise UsageError(
            f"lyapunov got {len(driven)} steps, of which {discard} are discarded; it needs {BLOCKS * every} more than "
            "that."
        )
    state = (system.start() if start is None else start.to(system.device, system.dtype)).reshape(size)
    generator = torch.Generator().manual_seed(0)
    Q = torch.linalg.qr(torch.randn(number, size, generator=generator, dtype=torch.float64).T)[0].to(state)
    logs = state.new_zeros(BLOCKS, number)
    with torch.no_grad():
        few = size > 64 and 2 * number < size
        for t, (after, push) in enumerate(_steps(system, state, driven[: discard + measured], few)):
            Q, last = push(Q), after
            if t < discard or (t - discard) % every == every - 1:
                Q, R = torch.linalg.qr(Q)
                if t >= discard:
                    logs[(t - discard) * BLOCKS // measured] += R.diagonal().abs().log()
    if not bool(last.isfinite().all()):  # pyright: ignore[reportPossiblyUnboundVariable]
        raise UsageError(
            "The states did not stay finite, so there are no exponents; start nearer to where the system stays."
        )
    rates = logs / (measured // BLOCKS)
    order = rates.mean(0).argsort(descending=True)
    rates = rates[:, order]
    history = rates.cumsum(0) / torch.arange(1, BLOCKS + 1, device=rates.device).unsqueeze(1)
    return Lyapunov(rates.mean(0), rates.std(0) / math.sqrt(BLOCKS), history, measured)


def _steps(
    system: Recurrence, state: Tensor, inputs: Tensor, few: bool
) -> Iterator[tuple[Tensor, Callable[[Tensor], Tensor]]]:
    """After each step the state, and the product of the step's Jacobian with given columns, for few columns or many."""
    for some in inputs.split(1000):
        states = [state]
        for x in some.unbind(0):
            states.append(system.step(states[-1], x)[0])
        *before, state = states
        if few:
            pushes: Iterable[Callable[[Tensor], Tensor]] = map(partial(_push, system), before, some.unbind(0))
        else:
            pushes = (J.matmul for Js in _jacobians(system, torch.stack(before), some) for J in Js.unbind(0))
        yield from zip(states[1:], pushes, strict=True)


def _push(system: Recurrence, state: Tensor, x: Tensor) -> Callable[[Tensor], Tensor]:
    """The product with J, without J.

    u -> u J is linear, so that its own gradient, along v, is J v: no forward differentiation, which own operations
    rarely have.
    """
    new, times_J = vjp(lambda s: system.step(s, x)[0], state)  # pyright: ignore[reportAssignmentType]
    J_times = vjp(lambda u: times_J(u)[0], torch.zeros_like(new))[1]
    return vmap(lambda v: J_times(v)[0], 1, 1)


# -- fixed points -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FixedPoint:
    """A state that the map gives back.

    Attributes:
        state: (size,).
        residual: largest element of |F(s) - s|.
        eigenvalues: (size,) of the Jacobian there, complex, the largest in magnitude first.
        found: from how many of the starts.
    """

    state: Tensor
    residual: float
    eigenvalues: Tensor
    found: int

    @property
    def unstable(self) -> int:
        """Directions in which a small change grows: eigenvalues above 1 in magnitude."""
        return int((self.eigenvalues.abs() > 1).sum())

    @property
    def kind(self) -> str:
        """One of stable node, stable spiral, unstable node, unstable spiral, saddle."""
        turning = bool(self.eigenvalues[0].imag.abs() > 1e-9)
        if 0 < self.unstable < len(self.eigenvalues):
            return "saddle"
        return f"{'unstable' if self.unstable else 'stable'} {'spiral' if turning else 'node'}"


def fixed_points(
    system: Any,
    starts: Tensor | int = 64,
    x: Tensor | None = None,
    *,
    tolerance: float | None = None,
    iterations: int = 200,
    apart: float | None = None,
    generator: torch.Generator | None = None,
) -> list[FixedPoint]:
    r"""States with :math:`F(s, x) = s` under a constant input, and how stable they are.

    From each start by Newton's method, :math:`s ← s + η (I - J)^{-1} (F(s) - s)`, with the step η halved until
    :math:`‖F(s) - s‖` falls; where :math:`I - J` is singular, by least squares. Sussillo & Barak, "Opening the black
    box: low-dimensional dynamics in high-dimensional recurrent neural networks", Neural Computation 25 (2013), who
    descend on :math:`½‖F(s) - s‖²`; Newton's method ends at the same points, with all digits.

    Args:
        system: what `recurrence` takes.
        starts: (starts, size), best from states the network goes through; or how many to draw from a normal
            distribution.
        x: (input_size,) held constant; None for zeros.
        tolerance: largest |F(s) - s| of a fixed point; None for 1e-9 in float64, 1e-5 in float32.
        iterations: Newton steps at most.
        apart: points whose elements all differ by less are the same; None for 1e-4, or a thousand tolerances.
        generator: for drawn starts.

    Returns:
        The different points, those found most often first; none where no start leads to one.

    Example:
        >>> cubic = recurrence(lambda s: 1.5 * s - 0.5 * s**3, size=1)
        >>> points = fixed_points(cubic, torch.linspace(-2, 2, 9).reshape(-1, 1))
        >>> sorted((round(float(p.state), 6) + 0.0, p.kind) for p in points)
        [(-1.0, 'stable node'), (0.0, 'unstable node'), (1.0, 'stable node')]
    """
    system = recurrence(system)
    if isinstance(starts, int):
        generator = generator or torch.Generator().manual_seed(0)
        starts = torch.randn(starts, system.size, generator=generator, dtype=torch.float64)
    if starts.ndim != 2 or starts.shape[1] != system.size:
        raise UsageError(
            f"fixed_points got starts of {tuple(starts.shape)}; expected (starts, {system.size}), a state each."
        )
    if tolerance is None:
        tolerance = 1e-9 if system.dtype == torch.float64 else 1e-5
    apart = max(1e-4, 1000 * tolerance) if apart is None else apart
    states, x = starts.detach().to(system.device, system.dtype), _inputs_of(system, x, 1)[0]
    with torch.no_grad():
        states = _newton(system, states, x, tolerance, iterations)
        residuals = _residual(system, states, x).abs().amax(1)
        kept = (residuals <= tolerance).nonzero()[:, 0]
        kept = kept[residuals[kept].argsort()].tolist()
        groups: dict[int, int] = {}
        for row in kept:
            same = next((other for other in groups if (states[row] - states[other]).abs().max() < apart), row)
            groups[same] = groups.get(same, 0) + 1
        points = states[list(groups)]
    values = eigenvalues(system, points, x) if len(points) else points
    found = [
        FixedPoint(state, float(residuals[row]), own, times)
        for state, own, (row, times) in zip(points, values, groups.items(), strict=True)
    ]
    return sorted(found, key=lambda point: -point.found)


def _residual(system: Recurrence, states: Tensor, x: Tensor) -> Tensor:
    return system.step(states, x.expand(len(states), -1))[0] - states


def _newton(system: Recurrence, states: Tensor, x: Tensor, tolerance: float, iterations: int) -> Tensor:
    """Each row as near to a fixed point as the steps lead it."""
    states = states.clone()
    moving = torch.arange(len(states), device=states.device)
    eye = torch.eye(system.size, dtype=states.dtype, device=states.device)
    for _ in range(iterations):
        some = states[moving]
        residual = _residual(system, some, x)
        size = residual.norm(dim=1)
        J = torch.cat(list(_jacobians(system, some, x.expand(len(some), -1))))
        matrix = eye - J
        step, info = torch.linalg.solve_ex(matrix, residual.unsqueeze(2))
        bad = (info != 0) | ~step.isfinite().all(dim=(1, 2))
        if bad.any():
            step[bad] = torch.linalg.pinv(matrix[bad]) @ residual[bad].unsqueeze(2)
        step, better, eta = step.squeeze(2), torch.zeros_like(bad), 1.0
        while eta > 1e-6 and not better.all():
            tried = some + eta * step
            after = _residual(system, tried, x).norm(dim=1)
            now = ~better & (after < size)
            states[moving[now]] = tried[now]
            better |= now
            eta /= 2
        # one more step from where the tolerance is met, for the digits that are left
        moving = moving[better & (size > 0.01 * tolerance)]
        if not len(moving):
            break
    return states


# -- responses --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Response:
    """What a change of the input does to the states.

    Attributes:
        states: (steps + 1, size) changed minus unchanged; row 0 is before the change, so zero.
        outputs: (steps, outputs) the same of the outputs.
    """

    states: Tensor
    outputs: Tensor

    @property
    def norms(self) -> Tensor:
        """(steps,) Euclidean norm of the outputs' change."""
        return self.outputs.norm(dim=1)


def impulse_response(
    system: Any,
    channel: int = 0,
    *,
    size: float = 1.0,
    steps: int = 100,
    inputs: Tensor | None = None,
    state: Tensor | None = None,
) -> Response:
    """What is left, step by step, of a change of one input number at the first step only.

    Args:
        system: what `recurrence` takes; it must have an input.
        channel: which number of the input.
        size: added to it.
        steps: to follow, where there are no inputs.
        inputs: (time, input_size) that are changed; None for zeros.
        state: (size,) before; None for the system's own.

    Returns:
        `Response`, whose states and outputs begin with the step of the change.

    Raises:
        UsageError: the system has no input, or not that channel.

    Example:
        >>> delay = recurrence(lambda s, x: torch.cat([x, s[:, :-1]], 1), size=3, input_size=1)
        >>> impulse_response(delay, steps=4).states[:, 2]
        tensor([0., 0., 0., 1., 0.], dtype=torch.float64)
    """
    return _response(system, channel, size, steps, inputs, state, lasting=False)


def step_response(
    system: Any,
    channel: int = 0,
    *,
    size: float = 1.0,
    steps: int = 100,
    inputs: Tensor | None = None,
    state: Tensor | None = None,
) -> Response:
    """What a lasting change of one input number does, from the first step on. Arguments as in `impulse_response`.

    Example:
        >>> leaky = recurrence(lambda s, x: 0.5 * s + 0.5 * x, size=1, input_size=1)
        >>> step_response(leaky, steps=3).states[:, 0]
        tensor([0.0000, 0.5000, 0.7500, 0.8750], dtype=torch.float64)
    """
    return _response(system, channel, size, steps, inputs, state, lasting=True)


def _response(
    system: Any, channel: int, size: float, steps: int, inputs: Tensor | None, state: Tensor | None, *, lasting: bool
) -> Response:
    system = recurrence(system)
    if not 0 <= channel < system.input_size:
        has = f"it has {system.input_size}, from 0" if system.input_size else "it has no input"
        raise UsageError(f"There is no channel {channel} in the input of this system; {has}.")
    plain: Tensor = system.checked(torch.zeros(steps, system.input_size) if inputs is None else inputs)
    changed = plain.clone()
    changed[slice(None) if lasting else 0, channel] += size
    with torch.no_grad():
        both = torch.stack([plain, changed], 1)
        start = None if state is None else state.to(plain).reshape(1, -1).expand(2, -1)
        states, outputs = system.run(both, start)
    return Response(states[:, 1] - states[:, 0], outputs[:, 1] - outputs[:, 0])


def _inputs_of(system: Recurrence, inputs: Tensor | None, points: int) -> Tensor:
    """An input for each point."""
    if inputs is None:
        inputs = torch.zeros(system.input_size)
    if inputs.ndim not in (1, 2) or inputs.shape[-1] != system.input_size:
        raise UsageError(
            f"The input has the shape {tuple(inputs.shape)}; expected ({system.input_size},), or one for each state."
        )
    return inputs.to(system.device, system.dtype).expand(points, -1)
