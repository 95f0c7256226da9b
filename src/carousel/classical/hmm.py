r"""Hidden Markov models, in log space, batched and differentiable.

Rabiner, "A tutorial on hidden Markov models and selected applications in speech recognition", Proc. IEEE 77 (1989):
forward-backward (problem 1), Viterbi (2), Baum-Welch (3). Log space replaces his scaling by one factor a step.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import DataError, UsageError

__all__ = ["HMM", "CategoricalHMM", "GaussianHMM", "Posterior"]


class Posterior(NamedTuple):
    """What is known of the states when a whole sequence has been seen."""

    states: Tensor
    """(time, batch, states): P(z_t = i | x); zero behind the end of a sequence."""
    transitions: Tensor
    """(batch, states, states): the expected number of times that j follows i."""
    log_likelihood: Tensor
    """(batch,): log p(x)."""


class HMM(nn.Module):
    r"""A chain of hidden states, each of which emits an observation.

    .. math::
        p(x, z) = π_{z_1} b_{z_1}(x_1) \prod_{t=2}^{T} a_{z_{t-1} z_t} b_{z_t}(x_t)

    The parameters are unnormalized logarithms, so that the model can be trained by its gradient as well as by `fit`.
    Subclasses say what a state emits: `log_emission`, `start` and `maximize`.

    Args:
        states: how many hidden states.
    """

    def __init__(self, states: int):
        super().__init__()
        if states < 1:
            raise UsageError(f"An HMM needs at least one state; it was given {states}.")
        self.states = states
        self.initial = nn.Parameter(torch.zeros(states))
        self.transition = nn.Parameter(torch.zeros(states, states))

    @property
    def log_initial(self) -> Tensor:
        """(states,): log π."""
        return self.initial.log_softmax(0)

    @property
    def log_transition(self) -> Tensor:
        """(states, states): log a, from row to column."""
        return self.transition.log_softmax(1)

    @abstractmethod
    def log_emission(self, x: Tensor) -> Tensor:
        """(time, batch, states): log b_i(x_t)."""

    @abstractmethod
    def start(self, x: Tensor, lengths: Tensor | None = None, generator: torch.Generator | None = None) -> None:
        """Put the parameters where the observations are, and break the symmetry of the states."""

    @abstractmethod
    def maximize(self, x: Tensor, weights: Tensor) -> None:
        """The emissions of the largest expected likelihood, given (time, batch, states) weights of the observations."""

    # -- what is known of the states ----------------------------------------------------------------------------------

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """`log_likelihood`."""
        return self.log_likelihood(x, lengths)

    def log_likelihood(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        r"""Log p(x) of each sequence, by the forward recursion, in time · states².

        .. math:: α_1(j) = π_j b_j(x_1), \quad α_t(j) = b_j(x_t) \sum_i α_{t-1}(i) a_{ij}, \quad p(x) = \sum_j α_T(j)

        Args:
            x: observations, time first: (time, batch, …).
            lengths: (batch,) steps of each sequence, all if not given; what is behind them counts not.

        Returns:
            (batch,), in nats; differentiable.

        Raises:
            DataError: a sequence is empty, or x and lengths don't fit.

        Example:
            >>> model = CategoricalHMM(2, 3)
            >>> round(float(model.log_likelihood(torch.tensor([[0], [2]])).detach()), 4)   # two symbols, 1/3 each
            -2.1972
        """
        emission, valid = self._observed(x, lengths)
        return self._forward(emission, valid)[-1].logsumexp(-1)

    def filtered(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(time, batch, states): P(z_t = i | x_1 … x_t), what is known while the sequence is being seen."""
        emission, valid = self._observed(x, lengths)
        return self._forward(emission, valid).softmax(-1) * valid.unsqueeze(-1)

    def posterior(self, x: Tensor, lengths: Tensor | None = None) -> Posterior:
        r"""States and transitions given whole sequences, by forward-backward.

        .. math::
            γ_t(i) ∝ α_t(i) β_t(i), \quad β_T = 1, \quad β_t(i) = \sum_j a_{ij} b_j(x_{t+1}) β_{t+1}(j)

        Arguments and errors as in `log_likelihood`.
        """
        emission, valid = self._observed(x, lengths)
        alpha = self._forward(emission, valid)
        total = alpha[-1].logsumexp(-1)
        steps, log_transition = len(emission), self.log_transition
        beta, betas = torch.zeros_like(alpha[0]), []
        expected = torch.zeros(*alpha.shape[1:], self.states, dtype=alpha.dtype, device=alpha.device)
        for t in reversed(range(steps)):
            betas.append(beta)
            if t == 0:
                break
            ahead = emission[t] + beta  # (batch, states)
            pair = alpha[t - 1].unsqueeze(-1) + log_transition + ahead.unsqueeze(-2) - total[:, None, None]
            expected = expected + pair.exp() * valid[t, :, None, None]
            beta = torch.where(valid[t, :, None], (log_transition + ahead.unsqueeze(-2)).logsumexp(-1), beta)
        states = (alpha + torch.stack(betas[::-1]) - total[:, None]).exp() * valid.unsqueeze(-1)
        return Posterior(states, expected, total)

    @torch.no_grad()
    def viterbi(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""The likeliest sequence of states, by dynamic programming.

        .. math:: δ_t(j) = b_j(x_t) \max_i δ_{t-1}(i) a_{ij}

        Arguments and errors as in `log_likelihood`.

        Returns:
            (time, batch) states, -1 behind the end of a sequence; and (batch,) log p(x, z) of each.
        """
        emission, valid = self._observed(x, lengths)
        log_transition, delta = self.log_transition, self.log_initial + emission[0]
        same = torch.arange(self.states, device=delta.device).expand_as(delta)
        came_from = []
        for step, is_valid in zip(emission[1:], valid[1:, :, None], strict=True):
            best, origin = (delta.unsqueeze(-1) + log_transition).max(-2)
            delta = torch.where(is_valid, best + step, delta)
            came_from.append(torch.where(is_valid, origin, same))
        score, state = delta.max(-1)
        path = [state]
        for origin in reversed(came_from):
            path.append(origin.gather(-1, path[-1].unsqueeze(-1)).squeeze(-1))
        return torch.stack(path[::-1]).masked_fill(~valid, -1), score

    # -- learning and drawing -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def fit(
        self, x: Tensor, lengths: Tensor | None = None, *, iterations: int = 100, tolerance: float = 1e-4
    ) -> list[float]:
        """Baum-Welch: expectation maximization from the present parameters, to a local maximum.

        The log-likelihood never falls. Call `start` first, or set the parameters: equal states stay equal.

        Args:
            x, lengths: as in `log_likelihood`.
            iterations: at most.
            tolerance: stop when an iteration gains less, in nats per observation.

        Returns:
            The log-likelihood of all sequences before each iteration, and at the end.
        """
        count = float(self._observed(x, lengths)[1].sum())
        losses: list[float] = []
        for _ in range(iterations):
            found = self.posterior(x, lengths)
            losses.append(float(found.log_likelihood.sum()))
            if len(losses) > 1 and losses[-1] - losses[-2] < tolerance * count:
                return losses
            self.initial.copy_(_log(found.states[0].sum(0)))
            self.transition.copy_(_log(found.transitions.sum(0)))
            self.maximize(x, found.states)
        return [*losses, float(self.log_likelihood(x, lengths).sum())]

    @torch.no_grad()
    def sample_states(self, steps: int, batch: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """(time, batch): draws of the hidden chain."""
        state = torch.multinomial(self.log_initial.exp(), batch, replacement=True, generator=generator)
        drawn = [state]
        for _ in range(steps - 1):
            drawn.append(torch.multinomial(self.log_transition.exp()[drawn[-1]], 1, generator=generator).squeeze(-1))
        return torch.stack(drawn)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _observed(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Log emissions, zero behind the ends, and which steps there are."""
        if x.ndim < 2 or not x.shape[0] or not x.shape[1]:
            raise DataError(f"The observations have the shape {tuple(x.shape)}; they are (time, batch, …), none empty.")
        steps, batch = x.shape[:2]
        if lengths is None:
            lengths = torch.full((batch,), steps)
        lengths = torch.as_tensor(lengths, device=x.device)
        if lengths.shape != (batch,) or int(lengths.min()) < 1 or int(lengths.max()) > steps:
            raise DataError(
                f"The lengths must be {batch} whole numbers from 1 to {steps}, one per sequence; they are "
                f"{lengths.tolist()}."
            )
        valid = torch.arange(steps, device=x.device).unsqueeze(1) < lengths
        emission = self.log_emission(x)
        return torch.where(valid.unsqueeze(-1), emission, torch.zeros_like(emission)), valid

    def _forward(self, emission: Tensor, valid: Tensor) -> Tensor:
        """(time, batch, states): log α, standing still behind the end of a sequence."""
        alpha, log_transition = self.log_initial + emission[0], self.log_transition
        alphas = [alpha]
        for step, is_valid in zip(emission[1:], valid[1:, :, None], strict=True):
            following = (alpha.unsqueeze(-1) + log_transition).logsumexp(-2) + step
            alpha = torch.where(is_valid, following, alpha)
            alphas.append(alpha)
        return torch.stack(alphas)

    def _mix(self, generator: torch.Generator | None) -> None:
        """Transitions drawn at random, with some weight on staying."""
        drawn = torch.rand(self.states, self.states, generator=generator) + torch.eye(self.states)
        self.transition.copy_(_log(drawn))
        self.initial.zero_()


class CategoricalHMM(HMM):
    """Each state emits one of a few symbols.

    Args:
        states: how many hidden states.
        symbols: how many; observations are (time, batch) whole numbers below it.

    Example:
        >>> model = CategoricalHMM(2, 2)
        >>> x = torch.tensor([[0], [0], [1], [1], [1], [0], [0], [1], [1]])
        >>> model.start(x, generator=torch.Generator().manual_seed(0))
        >>> before, *_, after = model.fit(x)
        >>> after > before
        True
    """

    def __init__(self, states: int, symbols: int):
        super().__init__(states)
        self.symbols = symbols
        self.emission = nn.Parameter(torch.zeros(states, symbols))

    def log_emission(self, x: Tensor) -> Tensor:
        """(time, batch, states)."""
        if x.is_floating_point() or x.ndim != 2:
            raise DataError(
                f"Symbols are a (time, batch) tensor of whole numbers; they are {x.dtype} {tuple(x.shape)}."
            )
        if int(x.min()) < 0 or int(x.max()) >= self.symbols:
            raise DataError(f"Symbols go from 0 to {self.symbols - 1}; there are {int(x.min())} to {int(x.max())}.")
        return self.emission.log_softmax(1).T[x]

    @torch.no_grad()
    def start(self, x: Tensor, lengths: Tensor | None = None, generator: torch.Generator | None = None) -> None:
        """The frequencies of the symbols, each state's times random numbers from 0.5 to 1.5."""
        valid = self._observed(x, lengths)[1]
        counts = torch.bincount(x[valid], minlength=self.symbols)
        self.emission.copy_(_log((counts + 1) * (0.5 + torch.rand(self.states, self.symbols, generator=generator))))
        self._mix(generator)

    def maximize(self, x: Tensor, weights: Tensor) -> None:
        """Weighted frequencies."""
        counts = weights.new_zeros(self.symbols, self.states).index_add_(0, x.flatten(), weights.flatten(0, 1))
        self.emission.copy_(_log(counts.T))

    @torch.no_grad()
    def sample(self, steps: int, batch: int = 1, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """(time, batch) symbols, and the states that emitted them."""
        states = self.sample_states(steps, batch, generator)
        probability = self.emission.softmax(1)[states.flatten()]
        return torch.multinomial(probability, 1, generator=generator).reshape(states.shape), states


class GaussianHMM(HMM):
    r"""Each state emits a vector with a normal distribution of its own.

    .. math:: b_i(x) = N(x;\, μ_i, Σ_i), \quad Σ_i = L_i L_i^T + ε I

    Args:
        states: how many hidden states.
        size: elements of an observation; observations are (time, batch, size).
        covariance: "full", or "diagonal": the elements are independent given the state.
        floor: ε, the least variance: a state that explains a single point would have none, and an infinite likelihood.
    """

    def __init__(self, states: int, size: int, *, covariance: str = "full", floor: float = 1e-6):
        super().__init__(states)
        if covariance not in ("full", "diagonal"):
            raise UsageError(f"The covariance is 'full' or 'diagonal'; it was given as {covariance!r}.")
        self.size, self.covariance, self.floor = size, covariance, floor
        self.mean = nn.Parameter(torch.zeros(states, size))
        self.factor = nn.Parameter(torch.eye(size).repeat(states, 1, 1))

    @property
    def covariances(self) -> Tensor:
        """(states, size, size): Σ."""
        factor = self.factor.tril() if self.covariance == "full" else self.factor.diagonal(0, 1, 2).diag_embed()
        return factor @ factor.mT + self.floor * torch.eye(self.size, dtype=factor.dtype, device=factor.device)

    def log_emission(self, x: Tensor) -> Tensor:
        """(time, batch, states)."""
        if x.ndim != 3 or x.shape[-1] != self.size:
            raise DataError(f"Observations are (time, batch, {self.size}); they are {tuple(x.shape)}.")
        if not bool(x.isfinite().all()):
            raise DataError("Some observations are NaN or infinite; leave them out, or fill them in.")
        lower = torch.linalg.cholesky(self.covariances)
        apart = (x.unsqueeze(-2) - self.mean).movedim(-2, 0)  # (states, time, batch, size)
        white = torch.linalg.solve_triangular(lower.unsqueeze(1), apart.mT, upper=False)
        spread = lower.diagonal(0, 1, 2).log().sum(-1)
        return -0.5 * (white.square().sum(-2) + self.size * math.log(2 * math.pi)).movedim(0, -1) - spread

    @torch.no_grad()
    def start(self, x: Tensor, lengths: Tensor | None = None, generator: torch.Generator | None = None) -> None:
        """Means at observations, each drawn far from those before (k-means++); the covariance of all for each state."""
        rows = x[self._observed(x, lengths)[1]]
        chosen = rows[torch.randint(len(rows), (1,), generator=generator)]
        while len(chosen) < self.states:
            far = torch.cdist(rows, chosen).amin(1).square() + 1e-12
            chosen = torch.cat([chosen, rows[torch.multinomial(far, 1, generator=generator)]])
        self.mean.copy_(chosen)
        apart = rows - rows.mean(0)
        self._set_covariances((apart.T @ apart / len(rows)).expand(self.states, -1, -1))
        self._mix(generator)

    def maximize(self, x: Tensor, weights: Tensor) -> None:
        """Weighted means and covariances."""
        rows, weights = x.flatten(0, 1), weights.flatten(0, 1)
        share = weights / weights.sum(0).clamp_min(torch.finfo(weights.dtype).tiny)
        mean = share.T @ rows
        apart = rows - mean.unsqueeze(1)  # (states, rows, size)
        self.mean.copy_(mean)
        self._set_covariances((share.T.unsqueeze(-1) * apart).mT @ apart)

    def _set_covariances(self, covariances: Tensor) -> None:
        """As their factors; the floor comes on top."""
        if self.covariance == "diagonal":
            self.factor.copy_((covariances.diagonal(0, 1, 2) - self.floor).clamp_min(0).sqrt().diag_embed())
            return
        values, vectors = torch.linalg.eigh(covariances)
        root = vectors * (values - self.floor).clamp_min(0).sqrt().unsqueeze(-2)
        self.factor.copy_(torch.linalg.qr(root.mT).R.mT)  # root rootᵀ = (R)ᵀ R, a lower triangle times its transpose

    @torch.no_grad()
    def sample(self, steps: int, batch: int = 1, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """(time, batch, size) observations, and the states that emitted them."""
        states = self.sample_states(steps, batch, generator)
        noise = torch.randn(*states.shape, self.size, 1, dtype=self.mean.dtype, generator=generator)
        return self.mean[states] + (torch.linalg.cholesky(self.covariances)[states] @ noise).squeeze(-1), states


def _log(numbers: Tensor) -> Tensor:
    """The logarithm, of zero that of the smallest number: finite, so that gradients are too."""
    return numbers.clamp_min(torch.finfo(numbers.dtype).tiny).log()
