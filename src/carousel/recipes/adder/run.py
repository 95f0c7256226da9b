r"""Binary addition: a recurrent network that carries, and a feed-forward one that can't count beyond its inputs.

The network reads one bit of both numbers a step, the lowest first, and says a bit of the sum at each:
:math:`h_t = \tanh(W x_t + U h_{t-1} + b)`, :math:`P(s_t = 1) = σ(v^T h_t + c)`. All it has to keep is the carry.
Source: the lecture "recurrent networks" of "Introduction to Deep Learning" (CMU 11-785), slides on the N-bit adder.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

import carousel

LONGEST, SEEDS, UNITS, BATCH = 16, 3, 8, 64
TESTED, LENGTH = 1_000, 1_000
LECTURE = "CMU 11-785: the recurrent adder works for any N"


def numbers(bits: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pairs of numbers as (bits + 1, count, 2), the lowest bit first, and their sums (bits + 1, count)."""
    x = torch.randint(2, (bits + 1, count, 2), generator=generator)
    x[-1] = 0  # room for the last carry
    carry, total = torch.zeros(count, dtype=torch.int64), []
    for pair in x.sum(-1):
        total.append((pair + carry) % 2)
        carry = (pair + carry) // 2
    return x.float(), torch.stack(total)


class Adder(nn.Module):
    """A recurrent layer and one output unit."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = carousel.nn.RNN(2, UNITS)
        self.out = nn.Linear(UNITS, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(steps, batch): the score of a one."""
        return self.out(self.recurrent(x)[0]).squeeze(-1)


class Fixed(nn.Module):
    """One hidden layer over all bits at once, of pairs of up to `bits` bits."""

    def __init__(self, bits: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2 * bits + 2, 256), nn.ReLU(), nn.Linear(256, bits + 1))

    def forward(self, x: Tensor) -> Tensor:
        """(steps, batch)."""
        return self.net(x.transpose(0, 1).flatten(1)).T


def right(network: nn.Module, x: Tensor, target: Tensor) -> float:
    """Share of the sums all of whose bits are right."""
    with torch.no_grad():
        return float(((network(x) > 0) == target.bool()).all(0).double().mean())


def train_recurrent(recipe: carousel.recipes.Recipe, seed: int, updates: int) -> tuple[Adder, list[float]]:
    """On pairs of 1 to 16 bits, a new length for each update."""
    torch.manual_seed(seed)
    network, generator, losses = Adder(), torch.Generator().manual_seed(seed), []
    rule = torch.optim.Adam(network.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(rule, updates)
    for _ in recipe.steps(0, updates, f"adder, seed {seed}"):
        bits = int(torch.randint(1, LONGEST + 1, (), generator=generator))
        x, target = numbers(bits, BATCH, generator)
        loss = F.binary_cross_entropy_with_logits(network(x), target.float())
        rule.zero_grad()
        loss.backward()
        rule.step()
        schedule.step()
        losses.append(loss.item())
    return network, losses


def train_fixed(recipe: carousel.recipes.Recipe, bits: int, updates: int) -> Fixed:
    """On pairs of up to `bits` bits, in a network with inputs for one bit more, which is always zero."""
    torch.manual_seed(0)
    network, generator = Fixed(bits + 1), torch.Generator().manual_seed(0)
    rule = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(rule, updates)
    for _ in recipe.steps(0, updates, f"MLP, {bits} bits"):
        x, target = padded(bits, 256, generator)
        loss = F.binary_cross_entropy_with_logits(network(x), target.float())
        rule.zero_grad()
        loss.backward()
        rule.step()
        schedule.step()
    return network


def padded(bits: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Numbers of `bits` bits as if they had one more."""
    x, target = numbers(bits, count, generator)
    return F.pad(x, (0, 0, 0, 0, 0, 1)), F.pad(target, (0, 0, 0, 1))


def run(recipe: carousel.recipes.Recipe) -> None:
    """Train both, and ask for more bits than they have seen."""
    updates, seeds = (60, 1) if recipe.smoke else (4_000, SEEDS)
    generator, curves, shares = torch.Generator().manual_seed(99), [], []
    x, target = numbers(LENGTH, 20 if recipe.smoke else TESTED, generator)
    for seed in range(seeds):
        network, losses = train_recurrent(recipe, seed, updates)
        curves.append(losses)
        shares.append(right(network, x, target))
        recipe.say(f"seed {seed}: {shares[-1]:.1%} of {x.shape[1]:,} sums of {LENGTH:,} bits right")
    figure = Figure((5, 3))
    axis = figure.add_subplot()
    for seed, losses in enumerate(curves):
        means = torch.tensor(losses).unflatten(0, (-1, 20)).mean(1)
        axis.semilogy(range(10, updates, 20), means, linewidth=1, label=f"seed {seed}")
    axis.set(xlabel="update", ylabel="nats per bit, means of 20", title=f"adding up to {LONGEST} bits")
    axis.legend()
    figure.tight_layout()
    recipe.figure(figure, "loss.svg")
    first, second, sums = (sum(int(bit) << k for k, bit in enumerate(row)) for row in (*x[:, 0].T, target[:, 0]))
    apart = abs(first + second - sums)
    recipe.claim("an example against Python's sum: difference", 0, apart, apart == 0, "definition")
    if recipe.smoke:
        return
    worst = min(shares)
    recipe.claim(f"trained on at most {LONGEST} bits: share of {TESTED:,} pairs of {LENGTH:,} bits added without a "
                 f"mistake, worst of {seeds} seeds", 1, worst, worst == 1, LECTURE)  # fmt: skip
    bits = 8
    fixed = train_fixed(recipe, bits, 8_000)
    inside = right(fixed, *padded(bits, TESTED, generator))
    beyond = right(fixed, *numbers(bits + 1, TESTED, generator))
    what = f"MLP trained on {bits}-bit numbers: share of {TESTED:,} pairs added without a mistake"
    recipe.claim(f"{what}, {bits} bits", "> 0.95", inside, inside > 0.95, "enough hidden units and training pairs")
    recipe.claim(f"{what}, {bits + 1} bits", "< 0.3", beyond, beyond < 0.3,
                 "a quarter of the pairs has no ninth bit and looks as in training: 0.25")  # fmt: skip
