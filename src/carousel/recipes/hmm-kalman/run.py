r"""Hidden Markov models and linear dynamical systems: right, and how little the former remember.

The recursions are compared with their definitions, by enumeration of all paths and by conditioning one large normal
distribution, and with hmmlearn (`definitions.py`). Then k random bits are shown and have to be told again. A state of N
values carries at most :math:`\log_2 N` bits from the first half to the second, so that an HMM loses at least
:math:`k - \log_2 N` of them; a recurrent network of n units has a state of :math:`2^n` corners. Sources: Rabiner 1989;
Kalman 1960; Hinton, "Neural Networks for Machine Learning", lecture 7a (the limit of HMMs).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

import carousel

from .definitions import against_hmmlearn, small_hmm, small_kalman, temperatures

BITS, STATES, STARTS = 4, (2, 4, 8, 16, 32, 64), 20
UNITS, SEEDS = (2, 4, 8), 3
MORE_BITS, MORE_UNITS = 8, 16
LIMIT = "k - log2 N, derived on this page"


def strings(bits: int) -> Tensor:
    """(2 bits, 2^bits): all strings of bits, each followed by itself."""
    half = torch.arange(2**bits) >> torch.arange(bits).unsqueeze(1) & 1
    return torch.cat([half, half])


def fitted(states: int, start: int, iterations: int) -> float:
    """Bits of the second half that an HMM loses after Baum-Welch on all strings, from one random start."""
    model, x = carousel.classical.CategoricalHMM(states, 2).double(), strings(BITS)
    generator = torch.Generator().manual_seed(1000 * states + start)
    for p in model.parameters():  # logarithms of unnormalized probabilities: all states differ
        p.copy_(torch.randn(p.shape, generator=generator))
    model.fit(x, iterations=iterations, tolerance=1e-7)
    return -float((model.log_likelihood(x) - model.log_likelihood(x[:BITS])).mean()) / math.log(2)


class Network(nn.Module):
    """The next bit, from the bits before."""

    def __init__(self, units: int):
        super().__init__()
        self.recurrent = carousel.nn.GRU(3, units)
        self.out = nn.Linear(units, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(steps, batch) scores of a one; the input of the first step is empty."""
        before = F.pad(F.one_hot(x[:-1] + 1, 3).float(), (0, 0, 0, 0, 1, 0))
        return self.out(self.recurrent(before)[0]).squeeze(-1)


@torch.enable_grad()
def trained(bits: int, units: int, seed: int, updates: int) -> float:
    """Bits of the second half that a GRU loses, over all strings."""
    torch.manual_seed(seed)
    network, x = Network(units), strings(bits)
    rule = torch.optim.Adam(network.parameters(), lr=0.02 if bits == BITS else 0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(rule, updates)
    for _ in range(updates):
        rows = x if bits == BITS else x[:, torch.randint(x.shape[1], (128,))]
        rule.zero_grad()
        F.binary_cross_entropy_with_logits(network(rows), rows.float()).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        rule.step()
        schedule.step()
    with torch.no_grad():
        scores = network(x)[bits:]
        loss = F.binary_cross_entropy_with_logits(scores, x[bits:].float(), reduction="sum")
    return float(loss) / x.shape[1] / math.log(2)


def lost_bits(recipe: carousel.recipes.Recipe) -> dict[str, list[float]]:
    """What each model loses, from every start; a stopped run goes on with the next model."""
    jobs: dict[str, list[Any]] = {
        f"HMM {n}": [(fitted, n, s, 2 if recipe.smoke else 1000) for s in range(STARTS)] for n in STATES
    }
    jobs |= {f"GRU {n}": [(trained, BITS, n, s, 10 if recipe.smoke else 3000) for s in range(SEEDS)] for n in UNITS}
    jobs["more"] = [(trained, MORE_BITS, MORE_UNITS, s, 10 if recipe.smoke else 6000) for s in range(SEEDS)]
    lost: dict[str, list[float]] = recipe.load("memory") or {}
    for name, calls in jobs.items():
        if name not in lost:
            lost[name] = [job(*args) for job, *args in (calls[:1] if recipe.smoke else calls)]
            recipe.save("memory", lost)
            recipe.say(f"{name}: bits lost from {min(lost[name]):.3f} to {max(lost[name]):.3f}")
    return lost


def draw(lost: dict[str, list[float]]) -> Figure:
    """Bits lost over the size of the state."""
    figure = Figure((6, 3.8))
    axis = figure.add_subplot()
    for kind, sizes, color in (("HMM", STATES, "tab:blue"), ("GRU", UNITS, "tab:orange")):
        best = [min(lost[f"{kind} {n}"]) for n in sizes]
        what = f"HMM, best of {STARTS} fits" if kind == "HMM" else f"GRU, best of {SEEDS}"
        axis.plot(sizes, best, "o-", color=color, label=what)
        for n in sizes:
            axis.plot([n] * len(lost[f"{kind} {n}"]), lost[f"{kind} {n}"], ".", color=color, alpha=0.4, markersize=4)
    axis.plot([1, 2**BITS, 64], [BITS, 0, 0], "k:", label="N states lose at least k - log2 N")
    axis.set_xscale("log", base=2)
    axis.set(xlabel="states of the HMM, units of the GRU", ylabel=f"bits lost of {BITS}", ylim=(-0.15, BITS + 0.3))
    axis.set(title=f"{BITS} random bits, told again")
    axis.legend(fontsize=8)
    figure.tight_layout()
    return figure


@torch.no_grad()
def run(recipe: carousel.recipes.Recipe) -> None:
    """All of it."""
    x = temperatures(recipe.data("series/daily-min-temperatures.csv"))
    small_hmm(recipe)
    small_kalman(recipe)
    against_hmmlearn(recipe, x[:400] if recipe.smoke else x)
    lost = lost_bits(recipe)
    recipe.figure(draw(lost), "memory.svg")
    for n in (n for n in STATES if n < 2**BITS):
        bound, bits = BITS - math.log2(n), min(lost[f"HMM {n}"])
        what = f"HMM of {n} states: bits lost of {BITS}, best of {STARTS} fits"
        recipe.claim(what, f">= {bound:g}", bits, bits >= bound, LIMIT)
    if recipe.smoke:
        return
    enough, worst, more = min(lost["HMM 64"]), max(lost["GRU 4"]), max(lost["more"])
    recipe.claim(f"HMM of 64 states: bits lost of {BITS}, best of {STARTS} fits", "< 0.1", enough, enough < 0.1,
                 "60 states suffice: the bits still to be told, shown or told")  # fmt: skip
    recipe.claim(f"GRU of 4 units: bits lost of {BITS}, worst of {SEEDS} seeds", "< 2, the bound of 4 states", worst,
                 worst < 2, "its state has 2^4 corners")  # fmt: skip
    recipe.claim(f"GRU of {MORE_UNITS} units: bits lost of {MORE_BITS}, worst of {SEEDS} seeds", "< 0.1", more,
                 more < 0.1, "16 states of an HMM lose at least 4, and none only from 256 on")  # fmt: skip
