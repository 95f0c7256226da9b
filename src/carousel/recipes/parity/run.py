r"""Parity: is the number of ones odd? One bit of memory, whatever the length.

:math:`h_t = \tanh(W x_t + U h_{t-1} + b)`, :math:`P(p_t = 1) = σ(v^T h_t + c)`; at each step it is asked for
:math:`p_t = p_{t-1} ⊕ x_t`. Source: the lecture "recurrent networks" of "Introduction to Deep Learning" (CMU 11-785),
slides on parity.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

import carousel

LONGEST, SEEDS, UNITS, BATCH = 16, 3, 32, 64
TESTED, LENGTH = 1_000, 1_000
LECTURE = "CMU 11-785: two recurrent units suffice for any N"


def bits(length: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(length, count, 1) random bits, and (length, count) the parity so far."""
    x = torch.randint(2, (length, count, 1), generator=generator)
    return x.float(), x.squeeze(-1).cumsum(0) % 2


class Parity(nn.Module):
    """A recurrent layer and one output unit."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = carousel.nn.RNN(1, UNITS)
        self.out = nn.Linear(UNITS, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(steps, batch): the score of an odd number."""
        return self.out(self.recurrent(x)[0]).squeeze(-1)


def train(recipe: carousel.recipes.Recipe, seed: int, updates: int) -> tuple[Parity, list[float]]:
    """On 1 to 16 bits, a new length for each update; on up to 2 first: what is longer tells nothing to begin with."""
    torch.manual_seed(seed)
    network, generator, losses = Parity(), torch.Generator().manual_seed(seed), []
    rule = torch.optim.Adam(network.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(rule, updates)
    for update in recipe.steps(0, updates, f"parity, seed {seed}"):
        longest = min(LONGEST, 2 + 2 * LONGEST * update // updates)
        x, target = bits(int(torch.randint(1, longest + 1, (), generator=generator)), BATCH, generator)
        loss = F.binary_cross_entropy_with_logits(network(x), target.float())
        rule.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        rule.step()
        schedule.step()
        losses.append(loss.item())
    return network, losses


def train_fixed(recipe: carousel.recipes.Recipe, length: int, updates: int) -> nn.Module:
    """An MLP on all strings of `length` bits, with an input for one bit more, which is always zero."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(length + 1, 128), nn.ReLU(), nn.Linear(128, 1))
    x, target = strings(length)
    x = F.pad(x, (0, 1))
    rule = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in recipe.steps(0, updates, f"MLP, {length} bits"):
        rule.zero_grad()
        F.binary_cross_entropy_with_logits(network(x).squeeze(-1), target).backward()
        rule.step()
    return network


def strings(length: int) -> tuple[Tensor, Tensor]:
    """All of them, and their parities."""
    x = torch.arange(2**length).unsqueeze(1) >> torch.arange(length) & 1
    return x.float(), (x.sum(1) % 2).float()


def run(recipe: carousel.recipes.Recipe) -> None:
    """Train both, and ask for more bits than they have seen."""
    updates, seeds = (60, 1) if recipe.smoke else (6_000, SEEDS)
    x, target = bits(LENGTH, 20 if recipe.smoke else TESTED, torch.Generator().manual_seed(99))
    curves, shares = [], []
    for seed in range(seeds):
        network, losses = train(recipe, seed, updates)
        curves.append(losses)
        with torch.no_grad():
            shares.append(float(((network(x) > 0) == target.bool()).all(0).double().mean()))
        recipe.say(f"seed {seed}: {shares[-1]:.1%} of {x.shape[1]:,} strings of {LENGTH:,} bits right at every step")
    figure = Figure((5, 3))
    axis = figure.add_subplot()
    for seed, losses in enumerate(curves):
        means = torch.tensor(losses).unflatten(0, (-1, 20)).mean(1)
        axis.semilogy(range(10, updates, 20), means, linewidth=1, label=f"seed {seed}")
    axis.set(xlabel="update", ylabel="nats per bit, means of 20", title=f"parity of up to {LONGEST} bits")
    axis.legend()
    figure.tight_layout()
    recipe.figure(figure, "loss.svg")
    known = [int("".join("01"[int(b)] for b in row), 2).bit_count() % 2 for row in x[:, :, 0].T]
    same = int((target[-1] == torch.tensor(known)).sum())
    recipe.claim("examples whose parity is that of Python's int.bit_count", len(known), same, same == len(known),
                 "definition")  # fmt: skip
    if recipe.smoke:
        return
    worst = min(shares)
    recipe.claim(f"trained on at most {LONGEST} bits: share of {TESTED:,} strings of {LENGTH:,} bits with the right "
                 f"parity at every step, worst of {seeds} seeds", 1, worst, worst == 1, LECTURE)  # fmt: skip
    length = 8
    fixed = train_fixed(recipe, length, 3_000)
    known, longer = (F.pad(strings(length)[0], (0, 1)), strings(length)[1]), strings(length + 1)
    with torch.no_grad():
        inside, beyond = (float(((fixed(x).squeeze(-1) > 0) == y.bool()).double().mean()) for x, y in (known, longer))
    what = f"MLP trained on all strings of {length} bits: share of right parities"
    recipe.claim(f"{what}, {length} bits", 1, inside, inside == 1, "enough hidden units, all strings seen")
    recipe.claim(f"{what}, {length + 1} bits", "< 0.9", beyond, beyond < 0.9,
                 "half ends with a one, which was never seen: 0.75 by chance, 0.5 if it is not looked at")  # fmt: skip
