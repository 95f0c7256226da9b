"""Reading the text, feeding it, training a model so that a stopped run goes on, and measuring perplexity."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import carousel

SAVE_EVERY = 300


class Text:
    """The parts of the text as ids, frequent words first; every part begins with <eos>, which is not predicted."""

    def __init__(self, files: dict[str, Path], most: int | None):
        lines = {part: file.read_text(encoding="utf-8").splitlines()[:most] for part, file in files.items()}
        self.sentences = [line.split() for line in lines["train"]]
        words = {part: ["<eos>", *" ".join(f"{line} <eos>" for line in text).split()] for part, text in lines.items()}
        counts = Counter(words["train"][1:])
        counts["<unk>"] += 0
        self.words = [word for word, _ in counts.most_common()]
        self.index = {word: place for place, word in enumerate(self.words)}
        unknown = self.index["<unk>"]
        self.ids = {part: torch.tensor([self.index.get(w, unknown) for w in text]) for part, text in words.items()}


class Positions:
    """For a model of the last n - 1 words: places of the train part in a new order in every epoch."""

    def __init__(self, text: Text, past: int, batch: int):
        self.ids = {part: torch.cat([ids[:1].expand(past - 1), ids]) for part, ids in text.ids.items()}
        self.past, self.batch, self.state, self.epoch = past, batch, None, -1
        self.updates = max(1, (len(self.ids["train"]) - past) // batch)

    def loss(self, model: Any, epoch: int, number: int) -> Tensor:
        """Of one batch, nats per word."""
        if epoch != self.epoch:
            draw = torch.Generator().manual_seed(epoch)
            self.order = torch.randperm(len(self.ids["train"]) - self.past, generator=draw) + self.past
            self.epoch = epoch
        return model.nats(self.ids["train"], self.order[number * self.batch : (number + 1) * self.batch]) / self.batch

    def nats(self, model: Any, part: str) -> float:
        """Mean over a part."""
        ids = self.ids[part]
        places = torch.arange(self.past, len(ids))
        return sum(float(model.nats(ids, some)) for some in places.split(4096)) / len(places)


class Streams:
    """For a recurrent model: streams side by side, a window at a time, the state carried within an epoch."""

    def __init__(self, text: Text, batch: int, window: int):
        self.ids, self.batch, self.window, self.state = text.ids, batch, window, None
        self.length = (len(self.ids["train"]) - 1) // batch
        self.updates = self.length // window

    def loss(self, model: Any, epoch: int, number: int) -> Tensor:
        """Of one window, nats per word."""
        places = torch.arange(self.window)[:, None] + number * self.window + torch.arange(self.batch) * self.length
        ids = self.ids["train"]
        total, state = model.nats(ids[places], ids[places + 1], self.state if number else None)
        self.state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        return total / places.numel()

    def nats(self, model: Any, part: str) -> float:
        """Mean over a part, read as one text."""
        ids, state, total = self.ids[part], None, 0.0
        for inputs, targets in zip(ids[:-1].split(1024), ids[1:].split(1024), strict=True):
            nats, state = model.nats(inputs[:, None], targets[:, None], state)
            total += float(nats)
        return total / (len(ids) - 1)


def perplexity(model: Any, feed: Any, part: str) -> float:
    """Exp of the mean loss over a whole part."""
    model.eval()
    with torch.no_grad():
        nats = feed.nats(model, part)
    model.train()
    return math.exp(nats)


def fit(
    recipe: carousel.recipes.Recipe, name: str, make: Callable[[], nn.Module], feed: Any, epochs: int, rate: float
) -> tuple[Any, list[float], float]:
    """The trained model, its perplexity on the dev part after every epoch, and the seconds that it took.

    AdamW; the rate rises over 100 updates and then falls to zero; gradients clipped to norm 1.
    """
    torch.manual_seed(0)
    model: Any = make()
    begun = recipe.seconds
    rule = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0, fused=True)
    total, curve, first, before = epochs * feed.updates, [], 0, 0.0
    saved = recipe.load(name)
    if saved:
        model.load_state_dict(saved["model"])
        rule.load_state_dict(saved["rule"])
        torch.set_rng_state(saved["random"])
        first, curve, before, feed.state = (saved[key] for key in ("done", "curve", "before", "state"))
        begun = recipe.seconds
    for done in recipe.steps(first, total, name):
        rule.param_groups[0]["lr"] = rate * min(1, (done + 1) / 100) * (1 - done / total)
        loss = feed.loss(model, *divmod(done, feed.updates))
        rule.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rule.step()
        last = (done + 1) % feed.updates == 0
        if last:
            curve.append(perplexity(model, feed, "valid"))
            recipe.say(f"{name}, epoch {len(curve)} of {epochs}: dev perplexity {curve[-1]:.2f}")
        if last or (done + 1) % SAVE_EVERY == 0:
            kept = {"model": model.state_dict(), "rule": rule.state_dict(), "random": torch.get_rng_state(),
                    "done": done + 1, "curve": curve, "state": feed.state,
                    "before": before + recipe.seconds - begun}  # fmt: skip
            recipe.save(name, kept)
    return model, curve, before + recipe.seconds - begun
