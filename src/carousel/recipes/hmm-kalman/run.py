r"""Hidden Markov models and linear dynamical systems: right, and how little they remember.

The recursions are compared with their definitions, by enumeration of all paths and by conditioning one large normal
distribution, and with hmmlearn. Then k random bits are shown and have to be told again. A state of N values carries at
most :math:`\log_2 N` bits from the first half to the second, so that an HMM loses at least :math:`k - \log_2 N` bits of
them; a recurrent network of n units has a state of :math:`2^n` corners. Sources: Rabiner 1989; Kalman 1960; Hinton,
"Neural Networks for Machine Learning", lecture 7a (the limit of HMMs).
"""

from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

import carousel
from carousel.classical import CategoricalHMM, GaussianHMM, LinearGaussian

BITS, STATES = 8, (2, 4, 8, 16, 32)
LIMIT = "log2 N bits go through a state of N values"


def by_enumeration(model: CategoricalHMM, x: Tensor) -> tuple[float, Tensor, tuple[int, ...]]:
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
    model, worst, same = CategoricalHMM(3, 4).double(), 0.0, 0
    for _ in range(20):
        for p in model.parameters():
            p.copy_(torch.randn_like(p))
        x = torch.randint(4, (6, 1))
        total, marginal, best = by_enumeration(model, x)
        found = model.posterior(x)
        worst = max(worst, abs(float(found.log_likelihood) - total), float((found.states[:, 0] - marginal).abs().max()))
        same += tuple(model.viterbi(x)[0].flatten().tolist()) == best
    recipe.claim("forward-backward against all 729 paths, 20 random models: largest difference", "< 1e-10", worst,
                 worst < 1e-10, "definition")  # fmt: skip
    recipe.claim("Viterbi: likeliest of all 729 paths", "20 of 20", f"{same} of 20", same == 20, "definition")


def small_kalman(recipe: carousel.recipes.Recipe) -> None:
    """Two states, two observed numbers, five steps: one normal distribution of 20 dimensions."""
    torch.manual_seed(0)
    worst = 0.0
    for _ in range(20):
        model = LinearGaussian(2, 2).double()
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
    model = GaussianHMM(3, 1, floor=0.0).double()
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


def strings(count: int, seed: int) -> Tensor:
    """(2 BITS, count): random bits, and the same again."""
    half = torch.randint(2, (BITS, count), generator=torch.Generator().manual_seed(seed))
    return torch.cat([half, half])


class Network(nn.Module):
    """The next bit, from the bits before."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = carousel.nn.GRU(3, 64)
        self.out = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(2 BITS, batch) scores of a one; the input of the first step is empty."""
        before = F.pad(F.one_hot(x[:-1] + 1, 3).float(), (0, 0, 0, 0, 1, 0))
        return self.out(self.recurrent(before)[0]).squeeze(-1)


def train(recipe: carousel.recipes.Recipe, updates: int) -> float:
    """Bits that the network loses of the second half, on strings of another seed."""
    torch.manual_seed(0)
    network = Network()
    rule = torch.optim.Adam(network.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(rule, updates)
    with torch.enable_grad():
        for update in recipe.steps(0, updates, "GRU"):
            x = strings(128, update)
            rule.zero_grad()
            F.binary_cross_entropy_with_logits(network(x), x.float()).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            rule.step()
            schedule.step()
    x = strings(1000, 10**6)
    loss = F.binary_cross_entropy_with_logits(network(x)[BITS:], x[BITS:].float(), reduction="sum")
    return float(loss) / 1000 / math.log(2)


def memory(recipe: carousel.recipes.Recipe) -> None:
    """What is lost of the second half: HMMs of 2 to 32 states, and a GRU of 64 units."""
    known, new, figure = strings(2000, 0), strings(1000, 10**6), Figure((5, 3.4))
    lost: dict[int, float] = {}
    for states in (2, 4) if recipe.smoke else STATES:
        model = CategoricalHMM(states, 2).double()
        model.start(known, generator=torch.Generator().manual_seed(states))
        model.fit(known, iterations=5 if recipe.smoke else 300, tolerance=1e-7)
        second = model.log_likelihood(new) - model.log_likelihood(new[:BITS])
        lost[states] = -float(second.mean()) / math.log(2)
        recipe.say(f"{states} states: {lost[states]:.2f} of {BITS} bits lost")
    network = train(recipe, 5 if recipe.smoke else 3_000)
    recipe.say(f"GRU: {network:.3f} bits lost")
    if not recipe.smoke:
        for states, bits in lost.items():
            bound = BITS - math.log2(states)
            recipe.claim(f"HMM of {states} states: bits lost of {BITS} that are told again", f">= {bound:g}", bits,
                         bits >= bound - 0.05, LIMIT)  # fmt: skip
        recipe.claim(
            f"GRU of 64 units: bits lost of {BITS}", "< 0.1", network, network < 0.1, "2^64 corners of its state"
        )
    axis = figure.add_subplot()
    axis.plot([math.log2(s) for s in lost], list(lost.values()), "o", label="HMM, fitted")
    axis.plot([0, BITS], [BITS, 0], ":", label="least for N states: k - log2 N")
    axis.axhline(network, label="GRU of 64 units")
    axis.set(xlabel="log2 of the states", ylabel=f"bits lost of {BITS}", title="telling bits again")
    axis.legend()
    figure.tight_layout()
    recipe.figure(figure, "memory.svg")


@torch.no_grad()
def run(recipe: carousel.recipes.Recipe) -> None:
    """All of it."""
    x = temperatures(recipe.data("series/daily-min-temperatures.csv"))
    small_hmm(recipe)
    small_kalman(recipe)
    against_hmmlearn(recipe, x[:400] if recipe.smoke else x)
    memory(recipe)
