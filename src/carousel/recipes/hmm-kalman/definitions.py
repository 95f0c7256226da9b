"""The recursions against their definitions on small cases, and against hmmlearn on data."""

from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path

import torch
from torch import Tensor

import carousel


def by_enumeration(model: carousel.classical.CategoricalHMM, x: Tensor) -> tuple[float, Tensor, tuple[int, ...]]:
    """The log-likelihood, P(z_t = i | x) and the likeliest path of one sequence, from the probability of each path."""
    emission, moves, start = model.log_emission(x)[:, 0], model.log_transition, model.log_initial
    paths = list(itertools.product(range(model.states), repeat=len(x)))
    scores = torch.stack(
        [
            start[z[0]]
            + sum(moves[i, j] for i, j in itertools.pairwise(z))
            + sum(emission[t, i] for t, i in enumerate(z))
            for z in paths
        ]
    )
    share = scores.softmax(0)
    marginal = torch.zeros(len(x), model.states, dtype=share.dtype)
    for z, p in zip(paths, share, strict=True):
        for t, i in enumerate(z):
            marginal[t, i] += p
    return float(scores.logsumexp(0)), marginal, paths[int(scores.argmax())]


def small_hmm(recipe: carousel.recipes.Recipe) -> None:
    """Three states, four symbols, six steps: all 729 paths."""
    torch.manual_seed(0)
    model, worst, same, count = carousel.classical.CategoricalHMM(3, 4).double(), 0.0, 0, 2 if recipe.smoke else 20
    for _ in range(count):
        for p in model.parameters():
            p.copy_(torch.randn_like(p))
        x = torch.randint(4, (6, 1))
        total, marginal, best = by_enumeration(model, x)
        found = model.posterior(x)
        worst = max(worst, abs(float(found.log_likelihood) - total), float((found.states[:, 0] - marginal).abs().max()))
        same += tuple(model.viterbi(x)[0].flatten().tolist()) == best
    recipe.claim(f"forward-backward against all 729 paths, {count} random models: largest difference", "< 1e-10", worst,
                 worst < 1e-10, "definition")  # fmt: skip
    recipe.claim(
        "Viterbi: likeliest of all 729 paths", f"{count} of {count}", f"{same} of {count}", same == count, "definition"
    )


def small_kalman(recipe: carousel.recipes.Recipe) -> None:
    """Two states, two observed numbers, five steps: one normal distribution of 20 dimensions."""
    torch.manual_seed(0)
    worst = 0.0
    for _ in range(20):
        model = carousel.classical.LinearGaussian(2, 2).double()
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
        power = [torch.linalg.matrix_power(model.transition, k) for k in range(5)]
        flow = torch.cat([torch.cat([power[t - s] * (s <= t) for s in range(5)], 1) for t in range(5)])
        see = torch.block_diag(*[model.observation] * 5)
        hidden = flow @ torch.block_diag(model.initial_covariance, *[model.state_noise] * 4) @ flow.T
        seen = see @ hidden @ see.T + torch.block_diag(*[model.observation_noise] * 5)
        mean, gain = flow[:, :2] @ model.initial_mean, hidden @ see.T @ torch.linalg.inv(seen)
        x = torch.randn(5, 1, 2, dtype=torch.float64)
        expected = mean + gain @ (x.flatten() - see @ mean)
        total = torch.distributions.MultivariateNormal(see @ mean, seen).log_prob(x.flatten())
        found = model.smooth(x)
        apart = (found.mean.flatten() - expected).norm() / expected.norm(), found.log_likelihood / total - 1
        worst = max(worst, *(float(abs(v)) for v in apart))
    recipe.claim("Kalman smoother against the joint normal distribution, 20 random systems: relative difference",
                 "< 1e-9", worst, worst < 1e-9, "definition")  # fmt: skip


def temperatures(file: Path) -> Tensor:
    """(days, 1, 1), standardized."""
    with file.open(newline="", encoding="utf-8") as lines:
        values = torch.tensor([float(row["Temp"]) for row in csv.DictReader(lines)], dtype=torch.float64)
    return ((values - values.mean()) / values.std()).reshape(-1, 1, 1)


def against_hmmlearn(recipe: carousel.recipes.Recipe, x: Tensor) -> None:
    """Ten years of daily temperatures, three states: the same likelihood, the same path, the same fit."""
    from hmmlearn import hmm

    plain = {"init_params": "", "min_covar": 0, "covars_prior": 0, "means_weight": 0}
    model = carousel.classical.GaussianHMM(3, 1, floor=0.0).double()
    peer = hmm.GaussianHMM(3, "full", n_iter=20, tol=-math.inf, **plain)
    peer.n_features = 1
    model.start(x, generator=torch.Generator().manual_seed(0))
    peer.startprob_, peer.transmat_ = model.log_initial.exp().numpy(), model.log_transition.exp().numpy()
    peer.means_, peer.covars_ = model.mean.numpy().copy(), model.covariances.numpy().copy()
    peer.fit(x[:, 0].numpy())
    model.fit(x, iterations=20, tolerance=-math.inf)
    ours, theirs = float(model.log_likelihood(x)), float(peer.score(x[:, 0].numpy()))
    path = model.viterbi(x)[0][:, 0]
    agree = float((path == torch.from_numpy(peer.predict(x[:, 0].numpy()))).double().mean())
    recipe.claim(f"{len(x):,} daily temperatures, three states, 20 iterations of Baum-Welch: log-likelihood in nats",
                 round(theirs, 4), ours, abs(ours / theirs - 1) < 1e-8, "hmmlearn from the same start")  # fmt: skip
    recipe.claim("the same: days with hmmlearn's state on the likeliest path", 1, agree, agree == 1, "hmmlearn")
