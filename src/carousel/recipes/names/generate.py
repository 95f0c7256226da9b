"""Names written given their nationality: the network is told it at every step, in its first state, or never."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import carousel

from .rows import PARTS, Rows

TOLD = ("at each step", "in the first state", "never")
WRITTEN = 100
"""Names of each nationality."""

END = 0
"""Begins and ends every name; the other symbols are the characters."""


class Generator(nn.Module):
    r"""P(x_{t+1} | x_1 … x_t, n) = softmax(V h_t + b), h an LSTM over the characters.

    Args:
        symbols: characters, and the end.
        classes: nationalities.
        told: "at each step": the nationality's vector stands beside every character's; "in the first state": it is
            h_0 and c_0; "never".
        units: of the LSTM.
    """

    def __init__(self, symbols: int, classes: int, told: str, units: int):
        super().__init__()
        self.told, self.units = told, units
        self.characters = nn.Embedding(symbols, 32)
        self.nationalities = nn.Embedding(classes, 2 * units if told == "in the first state" else 16)
        self.recurrent = carousel.nn.LSTM(48 if told == "at each step" else 32, units)
        self.scores = nn.Linear(units, symbols)

    def begin(self, nationality: Tensor) -> tuple[Tensor, Tensor]:
        """The first state, (1, batch, units) twice."""
        if self.told == "in the first state":
            h, c = self.nationalities(nationality).chunk(2, 1)
            return h.unsqueeze(0).contiguous(), c.unsqueeze(0).contiguous()
        zeros = torch.zeros(1, len(nationality), self.units)
        return zeros, zeros

    def forward(self, x: Tensor, nationality: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Scores (time, batch, symbols) of what follows each of `x` (time, batch), and the state."""
        given = self.characters(x)
        if self.told == "at each step":
            given = torch.cat([given, self.nationalities(nationality).expand(len(x), -1, -1)], 2)
        y, state = self.recurrent(given, self.begin(nationality) if state is None else state)
        return self.scores(F.dropout(y, 0.3, self.training)), state

    @torch.no_grad()
    def write(self, nationality: Tensor, generator: torch.Generator, temperature: float = 1.0) -> list[list[int]]:
        """A name for each, as symbols; at most 30."""
        x, state, written = torch.full((1, len(nationality)), END), None, []
        for _ in range(30):
            scores, state = self(x, nationality, state)
            x = torch.multinomial((scores[0] / temperature).softmax(1), 1, generator=generator).T
            written.append(x[0])
        rows = torch.stack(written, 1).tolist()
        return [row[: row.index(END) if END in row else None] for row in rows]


def encoded(rows: list[tuple[str, int]], symbols: list[str]) -> tuple[Tensor, Tensor]:
    """(longest + 2, names) symbols, with the end before and behind and -100 beyond, and (names,) nationalities."""
    number = {symbol: place for place, symbol in enumerate(symbols)}
    x = torch.full((max(len(name) for name, _ in rows) + 2, len(rows)), -100)
    for place, (name, _) in enumerate(rows):
        ids = [END, *(number[c] for c in name if c in number), END]
        x[: len(ids), place] = torch.tensor(ids)
    return x, torch.tensor([nationality for _, nationality in rows])


def nats(model: Generator, x: Tensor, nationality: Tensor) -> Tensor:
    """Mean loss per symbol, the ends included."""
    scores, _ = model(x[:-1].clamp_min(0), nationality)
    return F.cross_entropy(scores.flatten(0, 1), x[1:].flatten(), ignore_index=-100)


def train(
    parts: dict[str, tuple[Tensor, Tensor]], model: Generator, seed: int, epochs: int, size: int = 128
) -> dict[str, Any]:
    """Train it; the weights of the lowest dev loss are kept. Returns the losses on the dev and the test part."""
    x, nationality = parts["train"]
    draw, best, curve = torch.Generator().manual_seed(seed), (math.inf, model.state_dict()), []
    updates = epochs * (len(nationality) // size)
    rule = torch.optim.AdamW(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(rule, updates)
    for _ in range(epochs):
        model.train()
        for chosen in torch.randperm(len(nationality), generator=draw)[: len(nationality) // size * size].view(
            -1, size
        ):
            some = x[:, chosen]
            loss = nats(model, some[: int((some >= 0).sum(0).max())], nationality[chosen])
            rule.zero_grad()
            loss.backward()
            rule.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            curve.append(float(nats(model, *parts["dev"])))
        if curve[-1] < best[0]:
            best = curve[-1], {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(best[1])
    with torch.no_grad():
        return {"dev": best[0], "test": float(nats(model, *parts["test"])), "curve": curve}


def write_names(
    recipe: carousel.recipes.Recipe, rows: Rows, seeds: Sequence[int], epochs: int, found: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Train all generators that are not found already; the first seed's write names. And a line for each."""
    nationalities = sorted({nationality for _, nationality, _ in rows})
    symbols = ["", *sorted({c for name, _, part in rows if part == "train" for c in name})]
    parts = {
        part: encoded([(name, nationalities.index(its)) for name, its, p in rows if p == part], symbols)
        for part in PARTS
    }
    lines = []
    for told in TOLD:
        for seed in seeds:
            if f"{told}, seed {seed}" not in found:
                torch.manual_seed(seed)
                model = Generator(len(symbols), len(nationalities), told, 8 if recipe.smoke else 128)
                one = train(parts, model, seed, 1 if recipe.smoke else epochs, 16 if recipe.smoke else 128)
                asked = torch.arange(len(nationalities)).repeat_interleave(2 if recipe.smoke else WRITTEN)
                written = model.write(asked, torch.Generator().manual_seed(seed))
                one["names"] = ["".join(symbols[symbol] for symbol in name) for name in written]
                found[f"{told}, seed {seed}"] = one
                recipe.save("generators", found)
            lines.append(
                f"told {told}, seed {seed}: {found[f'{told}, seed {seed}']['test']:.4f} nats per character, test"
            )
            recipe.say(lines[-1])
    return found, lines


def judged(rows: Rows, found: dict[str, Any], judge: carousel.Run) -> list[str]:
    """What the classifier takes the first seed's names for, and some of them."""
    nationalities = sorted({nationality for _, nationality, _ in rows})
    known, lines = {name for name, _, part in rows if part == "train"}, []
    for told in TOLD:
        names = found[f"{told}, seed 0"]["names"]
        count = len(names) // len(nationalities)
        answers = [answer["label"] for answer in judge.predict([name or "-" for name in names])]
        right = sum(answer == nationalities[k // count] for k, answer in enumerate(answers)) / len(names)
        old = sum(name in known for name in names) / len(names)
        lines.append(f"told {told}: the classifier agrees with {right:.3f}, in the training part are {old:.3f}")
        if told != "never":
            lines += [f"    {n:12}{', '.join(names[k * count : k * count + 6])}" for k, n in enumerate(nationalities)]
    return lines
