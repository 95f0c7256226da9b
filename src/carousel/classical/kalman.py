r"""Linear dynamical systems with Gaussian noise: Kalman filter, smoother and expectation maximization.

Kalman, "A new approach to linear filtering and prediction problems", 1960; Rauch, Tung and Striebel 1965 (smoother);
Shumway and Stoffer, "An approach to time series smoothing and forecasting using the EM algorithm", 1982.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import DataError, UsageError

__all__ = ["Filtered", "LinearGaussian", "Smoothed"]


class Filtered(NamedTuple):
    """What is known of the state at each step from the observations up to it, and before it was seen."""

    mean: Tensor
    """(time, batch, states): E[z_t | x_1 … x_t]."""
    covariance: Tensor
    """(time, batch, states, states)."""
    predicted_mean: Tensor
    """(time, batch, states): E[z_t | x_1 … x_{t-1}]."""
    predicted_covariance: Tensor
    """(time, batch, states, states)."""
    log_likelihood: Tensor
    """(batch,): log p(x), in nats."""


class Smoothed(NamedTuple):
    """What is known of the state at each step from all observations."""

    mean: Tensor
    """(time, batch, states): E[z_t | x]."""
    covariance: Tensor
    """(time, batch, states, states)."""
    lag: Tensor
    """(time - 1, batch, states, states): Cov(z_{t+1}, z_t | x)."""
    log_likelihood: Tensor
    """(batch,): log p(x), in nats."""


class LinearGaussian(nn.Module):
    r"""A state that moves linearly, seen linearly, both with normal noise.

    .. math::
        z_1 &\sim N(m, P) \\
        z_t &= A z_{t-1} + w_t, & w_t &\sim N(0, Q) \\
        x_t &= C z_t + v_t, & v_t &\sim N(0, R)

    The covariances are kept as factors, Q = F Fᵀ, so that the log-likelihood can be followed by its gradient; a factor
    may be singular (a state without noise), that of R may not. NaN in the observations are missing values.

    Args:
        states: elements of the state z.
        size: elements of an observation x.

    Example:
        >>> walk = LinearGaussian(1, 1)                          # a random walk, seen with noise of the same size
        >>> seen = walk.filter(torch.tensor([0.0, 1.0, 2.0]).reshape(3, 1, 1))
        >>> [round(float(v), 3) for v in seen.covariance.flatten().detach()]
        [0.5, 0.6, 0.615]
    """

    def __init__(self, states: int, size: int):
        super().__init__()
        if states < 1 or size < 1:
            raise UsageError(f"States and observations have at least one element; they were given {states} and {size}.")
        self.states, self.size = states, size
        self.transition = nn.Parameter(torch.eye(states))
        self.observation = nn.Parameter(torch.eye(size, states))
        self.initial_mean = nn.Parameter(torch.zeros(states))
        self.initial_factor = nn.Parameter(torch.eye(states))
        self.state_factor = nn.Parameter(torch.eye(states))
        self.observation_factor = nn.Parameter(torch.eye(size))

    @property
    def initial_covariance(self) -> Tensor:
        """(states, states): P."""
        return self.initial_factor @ self.initial_factor.mT

    @property
    def state_noise(self) -> Tensor:
        """(states, states): Q."""
        return self.state_factor @ self.state_factor.mT

    @property
    def observation_noise(self) -> Tensor:
        """(size, size): R."""
        return self.observation_factor @ self.observation_factor.mT

    def forward(self, x: Tensor) -> Tensor:
        """(batch,): log p(x)."""
        return self.filter(x).log_likelihood

    def filter(self, x: Tensor) -> Filtered:
        r"""The Kalman filter.

        .. math::
            K_t &= P_{t|t-1} C^T (C P_{t|t-1} C^T + R)^{-1} \\
            z_{t|t} &= z_{t|t-1} + K_t (x_t - C z_{t|t-1}) \\
            P_{t|t} &= (I - K_t C) P_{t|t-1} (I - K_t C)^T + K_t R K_t^T

        The last line is Joseph's form, which keeps the covariance symmetric and positive where rounding would not.

        Args:
            x: (time, batch, size) observations; NaN where there is none.

        Raises:
            DataError: the shape is another, or a value is infinite.
        """
        self._check(x)
        seen = ~x.isnan()
        mean = self.initial_mean.expand(x.shape[1], -1)
        covariance = self.initial_covariance.expand(x.shape[1], -1, -1)
        found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        total = x.new_zeros(x.shape[1])
        for t, (now, there) in enumerate(zip(torch.where(seen, x, torch.zeros_like(x)), seen, strict=True)):
            if t:
                mean = mean @ self.transition.mT
                covariance = self.transition @ covariance @ self.transition.mT + self.state_noise
            before = mean, covariance
            mean, covariance, gained = self._see(now, there, mean, covariance)
            total = total + gained
            found.append((mean, covariance, *before))
        means, covariances, before, before_covariances = (torch.stack(of) for of in zip(*found, strict=True))
        return Filtered(means, covariances, before, before_covariances, total)

    def smooth(self, x: Tensor) -> Smoothed:
        r"""The smoother of Rauch, Tung and Striebel, backward through what the filter found.

        .. math::
            G_t &= P_{t|t} A^T P_{t+1|t}^{-1} \\
            z_{t|T} &= z_{t|t} + G_t (z_{t+1|T} - z_{t+1|t}) \\
            P_{t|T} &= P_{t|t} + G_t (P_{t+1|T} - P_{t+1|t}) G_t^T

        Arguments and errors as in `filter`.
        """
        seen = self.filter(x)
        mean, covariance = seen.mean[-1], seen.covariance[-1]
        means, covariances, lags = [mean], [covariance], []
        for t in reversed(range(len(x) - 1)):
            ahead = self.transition @ seen.covariance[t]
            gain = (torch.linalg.pinv(seen.predicted_covariance[t + 1], hermitian=True) @ ahead).mT
            lags.append(covariance @ gain.mT)
            mean = seen.mean[t] + _times(gain, mean - seen.predicted_mean[t + 1])
            change = covariance - seen.predicted_covariance[t + 1]
            covariance = seen.covariance[t] + gain @ change @ gain.mT
            means.append(mean)
            covariances.append(covariance)
        lag = torch.stack(lags[::-1]) if lags else covariance.new_zeros(0, *covariance.shape)
        return Smoothed(torch.stack(means[::-1]), torch.stack(covariances[::-1]), lag, seen.log_likelihood)

    def forecast(self, x: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """What follows the observations.

        Args:
            x: as in `filter`.
            steps: how many to look ahead.

        Returns:
            (steps, batch, size) means of the observations to come, and (steps, batch, size, size) their covariances,
            the noise of observing included.
        """
        if steps < 1:
            raise UsageError(f"A forecast goes at least one step ahead; it was asked for {steps}.")
        seen = self.filter(x)
        mean, covariance = seen.mean[-1], seen.covariance[-1]
        found: list[tuple[Tensor, Tensor]] = []
        for _ in range(steps):
            mean = mean @ self.transition.mT
            covariance = self.transition @ covariance @ self.transition.mT + self.state_noise
            spread = self.observation @ covariance @ self.observation.mT + self.observation_noise
            found.append((mean @ self.observation.mT, spread))
        means, spreads = zip(*found, strict=True)
        return torch.stack(means), torch.stack(spreads)

    @torch.no_grad()
    def fit(self, x: Tensor, *, iterations: int = 100, tolerance: float = 1e-5) -> list[float]:
        """Expectation maximization from the present parameters; the log-likelihood never falls.

        Args:
            x: as in `filter`; an observation is there as a whole, or missing as a whole.
            iterations: at most.
            tolerance: stop when an iteration gains less, in nats per observation.

        Returns:
            The log-likelihood of all sequences before each iteration, and at the end.
        """
        missing = x.isnan()
        if bool((missing.any(-1) & ~missing.all(-1)).any()):
            raise DataError(
                "Some observations miss single elements. fit() takes whole observations, or none at a step; "
                "filter() and smooth() take any."
            )
        count, gained = float((~missing).all(-1).sum()), list[float]()
        for _ in range(iterations):
            smoothed = self.smooth(x)
            gained.append(float(smoothed.log_likelihood.sum()))
            if len(gained) > 1 and gained[-1] - gained[-2] < tolerance * count:
                return gained
            self._maximize(x, smoothed)
        return [*gained, float(self.filter(x).log_likelihood.sum())]

    @torch.no_grad()
    def sample(self, steps: int, batch: int = 1, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """(time, batch, size) observations, and the (time, batch, states) states behind them."""

        def noise(factor: Tensor) -> Tensor:
            return torch.randn(batch, len(factor), dtype=factor.dtype, generator=generator) @ factor.mT

        state = self.initial_mean + noise(self.initial_factor)
        states = [state]
        for _ in range(steps - 1):
            state = state @ self.transition.mT + noise(self.state_factor)
            states.append(state)
        seen = [z @ self.observation.mT + noise(self.observation_factor) for z in states]
        return torch.stack(seen), torch.stack(states)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _check(self, x: Tensor) -> None:
        if x.ndim != 3 or x.shape[-1] != self.size or not x.shape[0] or not x.shape[1]:
            raise DataError(f"Observations are (time, batch, {self.size}), none empty; they are {tuple(x.shape)}.")
        if bool(x.isinf().any()):
            raise DataError("Some observations are infinite; put NaN where a value is missing.")

    def _see(self, x: Tensor, there: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One observation; a missing element is one that tells nothing: a row of zeros, seen as 0 with noise 1."""
        matrix = self.observation * there.unsqueeze(-1)
        both = there.unsqueeze(-1) & there.unsqueeze(-2)
        noise = torch.where(both, self.observation_noise, torch.diag_embed((~there).to(x.dtype)))
        surprise = x - _times(matrix, mean)
        lower = torch.linalg.cholesky(matrix @ covariance @ matrix.mT + noise)
        gain = torch.cholesky_solve(matrix @ covariance, lower).mT
        white = torch.linalg.solve_triangular(lower, surprise.unsqueeze(-1), upper=False).squeeze(-1)
        volume = 2 * lower.diagonal(0, -2, -1).log().sum(-1) + there.sum(-1).to(x.dtype) * math.log(2 * math.pi)
        left = torch.eye(self.states, dtype=x.dtype, device=x.device) - gain @ matrix
        after = left @ covariance @ left.mT + gain @ noise @ gain.mT
        return mean + _times(gain, surprise), after, -0.5 * (white.square().sum(-1) + volume)

    def _maximize(self, x: Tensor, found: Smoothed) -> None:
        """The parameters of the largest expected log-likelihood."""
        mean, covariance, batch = found.mean, found.covariance, x.shape[1]
        square = covariance + _outer(mean, mean)
        there = (~x.isnan().any(-1)).unsqueeze(-1)
        seen = torch.where(there, x, torch.zeros_like(x))
        known = (square * there.unsqueeze(-1)).sum((0, 1))
        cross = (_outer(seen, mean) * there.unsqueeze(-1)).sum((0, 1))
        matrix = torch.linalg.solve(known, cross.mT).mT
        left = (seen - mean @ matrix.mT) * there
        spread = _outer(left, left).sum((0, 1)) + matrix @ (covariance * there.unsqueeze(-1)).sum((0, 1)) @ matrix.mT
        self.observation.copy_(matrix)
        self.observation_factor.copy_(_root(spread / there.sum()))
        if len(x) > 1:
            before, after = square[:-1].sum((0, 1)), square[1:].sum((0, 1))
            cross = (found.lag + _outer(mean[1:], mean[:-1])).sum((0, 1))
            moves = torch.linalg.solve(before, cross.mT).mT
            self.transition.copy_(moves)
            self.state_factor.copy_(_root((after - moves @ cross.mT) / ((len(x) - 1) * batch)))
        self.initial_mean.copy_(mean[0].mean(0))
        apart = mean[0] - mean[0].mean(0)
        self.initial_factor.copy_(_root((covariance[0] + _outer(apart, apart)).mean(0)))


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _outer(a: Tensor, b: Tensor) -> Tensor:
    return a.unsqueeze(-1) * b.unsqueeze(-2)


def _root(covariance: Tensor) -> Tensor:
    """A factor F with F Fᵀ = covariance, which rounding may have made slightly negative."""
    values, vectors = torch.linalg.eigh((covariance + covariance.mT) / 2)
    return vectors * values.clamp_min(0).sqrt()
