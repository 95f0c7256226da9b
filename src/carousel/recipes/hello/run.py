r"""The four characters of "hello": the smallest network that needs a memory.

.. math:: h_t = \tanh(W_{hh} h_{t-1} + W_{xh} x_t), \quad y_t = W_{hy} h_t, \quad
          L = -\frac14 \sum_{t=1}^4 \ln \mathrm{softmax}(y_t)[\text{target}_t]

with h_0 = 0, three units and no biases, by plain gradient descent on all four steps. Source: Karpathy, "The
unreasonable effectiveness of recurrent neural networks", 2015, the figure of the example "hello".
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

import carousel

VOCABULARY, INPUT, TARGET = "helo", "hell", "ello"
HIDDEN, STEPS, RATE = 3, 500, 1.0
BEST_WITHOUT_MEMORY = 2 * math.log(2) / 4  # of four steps the two l's can't be told apart: ln 2 each
FIGURE = "Karpathy 2015, the figure of this example: the target's score is to be the highest"
FOLLOWS = "follows from the line above"


def indices(text: str) -> Tensor:
    """The characters' places in the vocabulary."""
    return torch.tensor([VOCABULARY.index(c) for c in text])


def one_hot(text: str) -> Tensor:
    """(time, batch 1, 4)."""
    return F.one_hot(indices(text), len(VOCABULARY)).float().unsqueeze(1)


class CharRNN(torch.nn.Module):
    """The network; without memory, W_hh is held at zero, so that nothing passes from step to step."""

    def __init__(self, *, memory: bool = True):
        super().__init__()
        cell = carousel.cells.RNN(len(VOCABULARY), HIDDEN, bias=False)
        if not memory:
            cell.weight_hh.requires_grad_(False).zero_()
        self.hidden = carousel.nn.Recurrent([cell])
        self.scores = torch.nn.Linear(HIDDEN, len(VOCABULARY), bias=False)

    def forward(self, x: Tensor, state: carousel.nn.State = None) -> tuple[Tensor, Tensor, carousel.nn.State]:
        """Scores and hidden values of each step, (time, 4) and (time, 3), and the state."""
        h, state = self.hidden(x, state)
        return self.scores(h)[:, 0], h[:, 0], state


def train(seed: int, *, memory: bool = True) -> tuple[CharRNN, list[float]]:
    """A network after plain gradient descent, and its loss in nats per step before each update and after the last."""
    torch.manual_seed(seed)
    network, x, target = CharRNN(memory=memory), one_hot(INPUT), indices(TARGET)
    descent = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=RATE)
    losses = []
    for _ in range(STEPS):
        loss = F.cross_entropy(network(x)[0], target)
        descent.zero_grad()
        loss.backward()
        descent.step()
        losses.append(loss.item())
    return network, [*losses, F.cross_entropy(network(x)[0], target).item()]


@torch.no_grad()
def steps_right(network: CharRNN) -> int:
    """At how many of the four steps the target has the highest score."""
    return int((network(one_hot(INPUT))[0].argmax(1) == indices(TARGET)).sum())


@torch.no_grad()
def greedy(network: CharRNN, first: str = "h") -> str:
    """Begin with a character and go on with the likeliest, four times: each is the next step's input."""
    text, state = first, None
    for _ in TARGET:
        scores, _, state = network(one_hot(text[-1]), state)
        text += VOCABULARY[int(scores.argmax())]
    return text


@torch.no_grad()
def table(networks: dict[str, CharRNN]) -> str:
    """Input, hidden values and scores of the four steps, the networks side by side, the target's score marked."""
    labels = ["", "input", *(f"hidden {i + 1}" for i in range(HIDDEN)), *(f"score {c}" for c in VOCABULARY), "target"]
    lines = [f"{label:<9}" for label in labels]
    for name, network in networks.items():
        scores, hidden, _ = network(one_hot(INPUT))
        marks = [["*" if c == target else " " for target in TARGET] for c in VOCABULARY]
        block = [
            f"{name:<32}",
            "".join(f"{c:>7} " for c in INPUT),
            *("".join(f"{h:7.2f} " for h in row) for row in hidden.T),
            *("".join(f"{y:7.2f}{m}" for y, m in zip(*row, strict=True)) for row in zip(scores.T, marks, strict=True)),
            "".join(f"{c:>7} " for c in TARGET),
        ]
        lines = [f"{line}  {more}" for line, more in zip(lines, block, strict=True)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def draw(with_memory: list[list[float]], without: list[list[float]]) -> Figure:
    """The loss of all seeds, with and without memory."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", xlabel="updates", ylabel="loss, nats per step")
    for runs, color, label in ((with_memory, "C0", "with memory"), (without, "C1", "without")):
        for number, losses in enumerate(runs):
            axes.plot(range(1, len(losses) + 1), losses, color, lw=0.7, label=None if number else label)
    axes.axhline(BEST_WITHOUT_MEMORY, color="k", ls=":", label=f"ln(2)/2 = {BEST_WITHOUT_MEMORY:.4f}")
    axes.legend()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """Train with and without memory from many seeds."""
    seeds = range(2 if recipe.smoke else 20)
    torch.manual_seed(seeds[0])
    untrained = CharRNN()
    trained = [train(seed) for seed in recipe.steps(0, len(seeds), "with memory")]
    memoryless = [train(seed, memory=False) for seed in recipe.steps(0, len(seeds), "without memory")]

    networks = {"untrained": untrained, "trained": trained[0][0]}
    recipe.say(table(networks))
    recipe.say("\n".join(f"{name} network, greedily from h: {greedy(n)}" for name, n in networks.items()))
    recipe.text(table(networks), "table.txt")
    recipe.figure(draw([losses for _, losses in trained], [losses for _, losses in memoryless]), "loss.svg")

    def seeds_with(holds: Callable[[CharRNN], bool]) -> tuple[str, str, bool]:
        count = sum(holds(network) for network, _ in trained)
        return f"{len(seeds)} of {len(seeds)}", f"{count} of {len(seeds)}", count == len(seeds)

    worst = max(losses[-1] for _, losses in trained)
    lowest = min(min(losses) for _, losses in memoryless)
    most = max(steps_right(network) for network, _ in memoryless)
    bound, claim = BEST_WITHOUT_MEMORY, recipe.claim
    claim("seeds whose target has the highest score at all 4 steps", *seeds_with(lambda n: steps_right(n) == 4), FIGURE)
    claim('seeds that write "hello", greedily from "h"', *seeds_with(lambda n: greedy(n) == "hello"), FOLLOWS)
    claim("final loss of the worst seed, nats per step", "< 0.01", worst, worst < 0.01, "0 where targets are certain")
    what, met = "without memory: lowest loss of all seeds and updates", bound - 1e-6 <= lowest <= bound + 0.01
    claim(what, f"from {bound:.4f}, at most 0.01 more", lowest, met, "(2 ln 2)/4, derived on this page")
    claim("without memory: most steps right", "3 of 4 at most", f"{most} of 4", most <= 3, "one answer to the input l")
