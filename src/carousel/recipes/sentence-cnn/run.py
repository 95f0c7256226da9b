r"""Sentiment of a sentence by windows of words: the network of Kim 2014, and where its word vectors come from.

.. math:: z_k = \max_t \mathrm{ReLU}(w_k · x_{t:t+h} + b_k), \qquad P(good \mid x) = \mathrm{softmax}(V z + b)

Four variants by `carousel train --network sentence-cnn`: random vectors, learned with the rest; vectors by skip-gram,
kept as they are (static) or learned further (non-static); both side by side (multichannel). Data: rt-polarity in ten
folds (Pang & Lee, "Seeing stars", ACL 2005). Kim, "Convolutional neural networks for sentence classification", 2014.
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

import carousel

VARIANTS = ("random", "static", "non-static", "multichannel")
FOLDS, DRAW, SIZE = 10, 2026, 128
OPTIONS: dict[str, Any] = {
    "words": "spaces", "level": "word", "network": "sentence-cnn", "epochs": 5, "evaluations": 5, "batch": 50,
    "learning_rate": 1e-3,
}  # fmt: skip
SKIP_GRAM: dict[str, Any] = {"size": SIZE, "window": 5, "epochs": 10, "min_count": 2, "words": "spaces"}
SHOWN = ("bad", "good", "boring", "funny", "doesn't", "!", ",")


def rt_polarity(files: list[Path]) -> list[tuple[str, str]]:
    """Sentences with 1 for good and 0 for bad, in an order drawn once: as in the recipe `sentiment`."""
    rows = [
        (line.strip(), label)
        for file, label in zip(files, "10", strict=True)
        for line in file.read_text(encoding="latin-1").split("\n")
        if line.strip()
    ]
    return [rows[place] for place in np.random.default_rng(DRAW).permutation(len(rows))]


def fold(rows: list[tuple[str, str]], number: int) -> dict[str, list[tuple[str, str]]]:
    """Every tenth sentence is tested; of the others every tenth serves as dev part, which chooses the epoch."""
    rest = [row for place, row in enumerate(rows) if place % FOLDS != number]
    found = {"test": rows[number::FOLDS], "dev": rest[::10]}
    return {"train": [row for place, row in enumerate(rest) if place % 10], **found}


def skip_gram(recipe: carousel.recipes.Recipe, number: int, texts: list[Path]) -> Path:
    """The file of vectors of the words of these texts."""
    path = recipe.state(f"vectors-{number}.txt")
    if recipe.load(f"vectors-{number}") is None or not path.exists():
        options = {**SKIP_GRAM, **({"size": 4, "epochs": 1} if recipe.smoke else {})}
        torch.set_num_threads(1)
        carousel.word_vectors(texts, **options).save(path)
        recipe.save(f"vectors-{number}", {"made": True})
    return path


def one_fold(recipe: carousel.recipes.Recipe, rows: list[tuple[str, str]], number: int, news: Path) -> dict[str, Any]:
    """Test accuracy and minutes of each variant, and neighbors in both channels of the last."""
    parts, place = fold(rows, number), recipe.state(f"fold-{number}")
    place.mkdir(parents=True, exist_ok=True)
    with (place / "fold.csv").open("w", encoding="utf-8", newline="") as table:
        out = csv.writer(table)
        out.writerows([("text", "label", "split"), *((*row, part) for part, its in parts.items() for row in its)])
    (place / "train.txt").write_text("".join(f"{text}\n" for text, _ in parts["train"]), encoding="utf-8")
    texts = [place / "train.txt"] if recipe.smoke else [place / "train.txt", news]
    vectors, found = skip_gram(recipe, number, texts), {}
    smoke = {"epochs": None, "steps": 2, "evaluations": 1, "batch": 8} if recipe.smoke else {}
    for variant in VARIANTS:
        own = {"embedding_size": 4 if recipe.smoke else SIZE} if variant == "random" else {"vectors": vectors}
        maps = {"maps": 4} if recipe.smoke else {}
        run = recipe.train(f"{variant}-{number}", place / "fold.csv", network_options={"variant": variant, **maps},
                           **OPTIONS | own | smoke)  # fmt: skip
        found[variant] = run.status["test_accuracy"]
        recipe.say(f"fold {number + 1}, {variant}: {found[variant]:.4f}")
    lines, apart = neighbors(run)
    return {"accuracy": found, "neighbors": lines, "apart": apart}


def neighbors(run: carousel.Run) -> tuple[list[str], float]:
    """The nearest words in the channel that was kept and in the trained one; by how much good and bad moved apart."""
    symbols = run.predictor.vocabulary.symbols
    shown, lines = [word for word in SHOWN if word in symbols], [f"{'':8}{'kept':44}trained"]
    units = [F.normalize(run.model.get_parameter(f"embeddings.{channel}.weight").detach()) for channel in range(2)]
    for word in shown:
        at = symbols.index(word)
        near = [", ".join(symbols[n] for n in (unit @ unit[at]).topk(5).indices.tolist() if n != at) for unit in units]
        lines.append(f"{word:8}{near[0]:44}{near[1]}")
    good, bad = (symbols.index(word) if word in symbols else 0 for word in ("good", "bad"))
    kept, trained = (float(unit[good] @ unit[bad]) for unit in units)
    return lines, kept - trained


def draw(found: dict[str, list[float]]) -> Figure:
    """Fold by fold, a line for each."""
    figure = Figure((6, 3.6))
    axis = figure.add_subplot()
    for values in zip(*found.values(), strict=True):
        axis.plot(range(len(found)), values, ".-", color="0.75", linewidth=0.8)
    for number, values in enumerate(found.values()):
        middle, low, high = carousel.recipes.interval(values)
        axis.errorbar(number, middle, [[middle - low], [high - middle]], fmt="o", color="C0", capsize=4)
    axis.axhline(0.761, color="C1", linestyle=":", label="Kim 2014, random, 0.761")
    axis.set(ylabel="test accuracy", title="rt-polarity: ten folds, their mean and its 95 % interval")
    axis.set_xticks(range(len(found)), list(found))
    axis.legend()
    figure.tight_layout()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """Fold by fold; a stopped run goes on where it was."""
    rows = rt_polarity([recipe.data(f"sentiment/rt-polarity.{kind}") for kind in ("pos", "neg")])
    news = recipe.data("ptb/ptb.train.txt")
    rows = rows[:300] if recipe.smoke else rows
    count = 2 if recipe.smoke else FOLDS
    folds = [recipe.part(f"fold {n + 1}", partial(one_fold, recipe, rows, n, news)) for n in range(count)]
    found = {variant: [one["accuracy"][variant] for one in folds] for variant in VARIANTS}
    recipe.figure(draw(found), "folds.svg")
    means = {variant: carousel.recipes.interval(values) for variant, values in found.items()}
    lines = [f"rt-polarity, {len(folds)} folds: mean test accuracy with its 95 % interval, and less that of random"]
    for variant, values in found.items():
        middle, low, high = means[variant]
        lines.append(f"    {variant:14}{middle:.4f} ({low:.4f} to {high:.4f})")
        if variant != "random":
            apart = carousel.recipes.interval([a - b for a, b in zip(values, found["random"], strict=True)])
            lines[-1] += "   {:+.4f} ({:+.4f} to {:+.4f})".format(*apart)
    lines += ["", "nearest words in the two channels of multichannel, first fold", *folds[0]["neighbors"]]
    recipe.text("\n".join(lines) + "\n", "table.txt")
    recipe.say("\n".join(lines))
    tested = sum(len(fold(rows, number)["test"]) for number in range(FOLDS))
    recipe.claim("sentences tested in all folds together", len(rows), tested, tested == len(rows), "each once")
    if recipe.smoke:
        return
    middle, low, high = means["random"]
    recipe.claim("random vectors: accuracy, mean of ten folds, with its 95 % interval", ">= 0.750",
                 f"{middle:.4f} ({low:.4f} to {high:.4f})", middle >= 0.75, "Kim 2014, table 2: 0.761")  # fmt: skip
    apart = [a - b for a, b in zip(found["multichannel"], found["random"], strict=True)]
    middle, low, high = carousel.recipes.interval(apart)
    recipe.claim("multichannel, own skip-gram vectors: so much better than random", "> 0",
                 f"{middle:.4f} ({low:.4f} to {high:.4f})", low > 0,
                 "Kim 2014, table 2: 0.050, with vectors of 100 billion words")  # fmt: skip
    middle, low, high = carousel.recipes.interval([one["apart"] for one in folds])
    recipe.claim("by how much the cosine of good and bad is smaller in the trained channel than in the kept one", "> 0",
                 f"{middle:.4f} ({low:.4f} to {high:.4f})", low > 0, "Kim 2014, table 3")  # fmt: skip
