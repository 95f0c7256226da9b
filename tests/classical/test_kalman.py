"""The Kalman filter and smoother against the normal distribution of everything at once, and by what must hold."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from carousel.classical import LinearGaussian
from carousel.errors import DataError, UsageError


def random_(states: int, size: int, seed: int = 0) -> LinearGaussian:
    torch.manual_seed(seed)
    model = LinearGaussian(states, size).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
        model.transition.mul_(0.9 / torch.linalg.eigvals(model.transition).abs().max())
    return model


def joint(model: LinearGaussian, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and covariance of (z_1 … z_T, x_1 … x_T), by the definition, and how x comes from z."""
    n, eye = model.states, torch.eye(model.states, dtype=torch.float64)
    powers = [torch.linalg.matrix_power(model.transition, k) for k in range(steps)]
    noises = [model.initial_covariance, *[model.state_noise] * (steps - 1)]
    rows = [[powers[t - s] if s <= t else 0 * eye for s in range(steps)] for t in range(steps)]
    flow = torch.cat([torch.cat(row, 1) for row in rows])
    z_covariance = flow @ torch.block_diag(*noises) @ flow.T
    see = torch.block_diag(*[model.observation] * steps)
    z_mean = flow[:, :n] @ model.initial_mean
    noise = torch.block_diag(*[model.observation_noise] * steps)
    covariance = torch.cat(
        [torch.cat([z_covariance, z_covariance @ see.T], 1),
         torch.cat([see @ z_covariance, see @ z_covariance @ see.T + noise], 1)]
    )  # fmt: skip
    return torch.cat([z_mean, see @ z_mean]), covariance, see


def given(mean: Tensor, covariance: Tensor, count: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and covariance of the first `count` elements given the others where they are there, and log p of these."""
    there = torch.cat([torch.zeros(count, dtype=torch.bool), ~x.isnan()])
    aa, ab, bb = covariance[:count, :count], covariance[:count, there], covariance[there][:, there]
    apart = x[~x.isnan()] - mean[there]
    gain = ab @ torch.linalg.inv(bb)
    log_p = -0.5 * (apart @ torch.linalg.inv(bb) @ apart + torch.logdet(2 * math.pi * bb))
    return mean[:count] + gain @ apart, aa - gain @ ab.T, log_p


@pytest.mark.parametrize(("states", "size", "steps"), [(1, 1, 1), (2, 1, 4), (3, 2, 5), (1, 3, 3)])
@pytest.mark.parametrize("missing", [False, True])
@torch.no_grad()
def test_equal_to_the_joint_distribution(states: int, size: int, steps: int, missing: bool) -> None:
    model = random_(states, size)
    x = torch.randn(steps, 2, size, dtype=torch.float64)
    if missing:
        x[torch.rand_like(x) < 0.4] = math.nan
    filtered, smoothed = model.filter(x), model.smooth(x)
    mean, covariance, _ = joint(model, steps)
    for b in range(2):
        every, spread, log_p = given(mean, covariance, states * steps, x[:, b].flatten())
        torch.testing.assert_close(filtered.log_likelihood[b], log_p, rtol=1e-12, atol=1e-11)
        torch.testing.assert_close(smoothed.mean[:, b].flatten(), every)
        for t in range(steps):
            part = slice(states * t, states * (t + 1))
            torch.testing.assert_close(smoothed.covariance[t, b], spread[part, part])
            if t + 1 < steps:
                following = slice(states * (t + 1), states * (t + 2))
                torch.testing.assert_close(smoothed.lag[t, b], spread[following, part])
            until = torch.where((torch.arange(steps) <= t).unsqueeze(-1), x[:, b], math.nan).flatten()
            then, width, _ = given(mean, covariance, states * steps, until)
            torch.testing.assert_close(filtered.mean[t, b], then[part])
            torch.testing.assert_close(filtered.covariance[t, b], width[part, part])


def test_forecast_is_what_missing_observations_are_filled_with() -> None:
    model = random_(2, 2)
    x = torch.randn(6, 3, 2, dtype=torch.float64)
    mean, spread = model.forecast(x, 4)
    longer = model.filter(torch.cat([x, torch.full((4, 3, 2), math.nan, dtype=torch.float64)]))
    torch.testing.assert_close(mean, longer.mean[6:] @ model.observation.mT)
    expected = model.observation @ longer.covariance[6:] @ model.observation.mT + model.observation_noise
    torch.testing.assert_close(spread, expected)


def test_gradient() -> None:
    model = random_(2, 2)
    x = torch.randn(4, 2, 2, dtype=torch.float64)
    x[1, 0, 1] = math.nan
    names = list(dict(model.named_parameters()))

    def likelihood(*values: Tensor) -> Tensor:
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(likelihood, tuple(model.parameters()))


@torch.no_grad()
def test_a_state_without_noise() -> None:
    """A constant seen n times: its variance is 1 / (1 + n)."""
    model = LinearGaussian(1, 1).double()
    with torch.no_grad():
        model.state_factor.zero_()
    x = torch.full((9, 1, 1), 2.0, dtype=torch.float64)
    smoothed = model.smooth(x)
    torch.testing.assert_close(smoothed.covariance.flatten(), torch.full((9,), 0.1, dtype=torch.float64))
    torch.testing.assert_close(smoothed.mean.flatten(), torch.full((9,), 1.8, dtype=torch.float64))


@pytest.mark.parametrize("missing", [False, True])
@torch.no_grad()
def test_expectation_maximization_never_falls(missing: bool) -> None:
    true = random_(2, 3, seed=3)
    x, _ = true.sample(120, 4, torch.Generator().manual_seed(0))
    if missing:
        x[torch.rand(120, 4) < 0.2] = math.nan
    model = random_(2, 3, seed=4)
    course = model.fit(x, iterations=30, tolerance=-math.inf)
    assert len(course) == 31
    assert all(b >= a - 1e-9 * abs(a) for a, b in itertools.pairwise(course))
    assert course[-1] > float(true.filter(x).log_likelihood.sum())


@torch.no_grad()
def test_single_precision_stays_positive() -> None:
    model = LinearGaussian(4, 1)
    with torch.no_grad():
        model.transition.copy_(torch.eye(4) + torch.diag(torch.ones(3), 1))  # position, speed, acceleration, jerk
        model.state_factor.mul_(1e-3)
        model.observation_factor.mul_(1e-2)
    seen = model.filter(torch.arange(400.0).reshape(-1, 1, 1).sin())
    assert bool((torch.linalg.eigvalsh(seen.covariance) > 0).all())
    assert bool(seen.log_likelihood.isfinite().all())


def test_bad_input() -> None:
    model = LinearGaussian(2, 2)
    for wrong in (torch.zeros(3, 2), torch.zeros(3, 1, 1), torch.zeros(0, 1, 2)):
        with pytest.raises(DataError, match=r"\(time, batch, 2\), none empty"):
            model.filter(wrong)
    with pytest.raises(DataError, match="infinite"):
        model.filter(torch.full((1, 1, 2), math.inf))
    half = torch.zeros(3, 1, 2)
    half[1, 0, 0] = math.nan
    with pytest.raises(DataError, match="whole observations"):
        model.fit(half)
    with pytest.raises(UsageError, match="at least one step"):
        model.forecast(torch.zeros(3, 1, 2), 0)
    with pytest.raises(UsageError, match="at least one element"):
        LinearGaussian(0, 1)
