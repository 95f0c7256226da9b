r"""Sentiment of a sentence: an LSTM that reads all of it, then answers; beside it logistic regression on the words.

.. math:: P(good \mid x) = \mathrm{softmax}(V \max_t [\overrightarrow{h}_t; \overleftarrow{h}_t] + b)

trained by `carousel.train`. Two data sets of sentences from film reviews: rt-polarity, 10-fold (Pang & Lee, "Seeing
stars", ACL 2005), and SST-2 with its own parts, whole sentences only (Socher et al., "Recursive deep models for
semantic compositionality over a sentiment treebank", EMNLP 2013).
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import carousel

FOLDS, SEEDS, DRAW = 10, (0, 1, 2), 2026
PARTS = ("train", "dev", "test")
OPTIONS = {
    "words": "spaces", "level": "word", "epochs": 5, "evaluations": 5, "batch": 64, "learning_rate": 0.01,
    "hidden_size": 64, "dropout": 0.5,
}  # fmt: skip
SMOKE = {**OPTIONS, "epochs": None, "steps": 2, "evaluations": 1, "batch": 8, "hidden_size": 4, "embedding_size": 4}
STRENGTHS = (0.03, 0.1, 0.3, 1.0)
Rows = dict[str, list[tuple[str, str]]]
"""Sentences and labels of each part."""


def rt_polarity(files: list[Path]) -> list[tuple[str, str]]:
    """Sentences with 1 for good and 0 for bad, in an order drawn once."""
    rows = [
        (line.strip(), label)
        for file, label in zip(files, "10", strict=True)
        for line in file.read_text(encoding="latin-1").split("\n")
        if line.strip()
    ]
    return [rows[place] for place in np.random.default_rng(DRAW).permutation(len(rows))]


def fold(rows: list[tuple[str, str]], number: int) -> Rows:
    """Every tenth sentence is tested; of the others every tenth serves as dev part."""
    rest = [row for place, row in enumerate(rows) if place % FOLDS != number]
    found = {"test": rows[number::FOLDS], "dev": rest[::10]}
    return {"train": [row for place, row in enumerate(rest) if place % 10], **found}


def sst(files: dict[str, Path]) -> Rows:
    """As the files have them: a label, a blank, a sentence."""
    lines = {part: file.read_text(encoding="utf-8").splitlines() for part, file in files.items()}
    return {part: [(line[2:].strip(), line[0]) for line in its if line.strip()] for part, its in lines.items()}


def bag_of_words(rows: Rows) -> tuple[float, float]:
    """Dev and test accuracy of logistic regression on which words are there; its strength is chosen on the dev part."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    words = CountVectorizer(token_pattern=r"\S+", binary=True)
    words.fit(text for text, _ in rows["train"])
    x = {part: words.transform(text for text, _ in its) for part, its in rows.items()}
    y = {part: [label for _, label in its] for part, its in rows.items()}
    models = [LogisticRegression(C=strength, max_iter=1000).fit(x["train"], y["train"]) for strength in STRENGTHS]
    best = max(models, key=lambda model: model.score(x["dev"], y["dev"]))
    return float(best.score(x["dev"], y["dev"])), float(best.score(x["test"], y["test"]))


def lstm(recipe: carousel.recipes.Recipe, name: str, rows: Rows, seed: int) -> tuple[float, float]:
    """Dev and test accuracy of the network."""
    file = recipe.state(f"{name}.csv")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as table:
        out = csv.writer(table)
        out.writerows([("text", "label", "split"), *((*row, part) for part, its in rows.items() for row in its)])
    status = recipe.train(f"{name}-{seed}", file, **(SMOKE if recipe.smoke else OPTIONS), seed=seed).status
    recipe.say(f"{name}, seed {seed}: LSTM, test accuracy {status['test_accuracy']:.4f}")
    return status["best_dev_accuracy"], status["test_accuracy"]


def draw(folds: dict[str, list[float]], tests: dict[str, list[float]]) -> Figure:
    """Fold by fold, and the test part of SST-2."""
    figure = Figure((8.5, 3.4))
    left, right = figure.subplots(1, 2, width_ratios=[2, 1], sharey=True)
    for number, (name, values) in enumerate(folds.items()):
        mean = sum(values) / len(values)
        left.plot(
            range(1, len(values) + 1), values, f"C{number}o-", markersize=4, linewidth=1, label=f"{name}, {mean:.3f}"
        )
        left.axhline(mean, color=f"C{number}", linestyle=":")
        right.plot([number] * len(tests[name]), tests[name], f"C{number}o", markersize=4)
    left.set(xlabel="fold", ylabel="accuracy", title="rt-polarity, mean of the folds")
    right.set(title="SST-2, test part", xlim=(-0.5, 1.5))
    right.set_xticks([0, 1], list(folds))
    left.legend()
    figure.tight_layout()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """All folds, then SST-2; a stopped run goes on with the fold where it was."""
    reviews = rt_polarity([recipe.data(f"sentiment/rt-polarity.{kind}") for kind in ("pos", "neg")])
    treebank = sst({part: recipe.data(f"sentiment/stsa.binary.{part}") for part in PARTS})
    if recipe.smoke:
        reviews, treebank = reviews[:300], {part: its[:100] for part, its in treebank.items()}
    folds: dict[str, list[float]] = {"LSTM": [], "bag of words": []}
    for number in range(2 if recipe.smoke else FOLDS):
        rows = fold(reviews, number)
        folds["LSTM"].append(lstm(recipe, f"fold-{number}", rows, 0)[1])
        folds["bag of words"].append(bag_of_words(rows)[1])
    seeds = SEEDS[: 1 if recipe.smoke else None]
    runs, words = [lstm(recipe, "sst-2", treebank, seed) for seed in seeds], bag_of_words(treebank)
    recipe.figure(draw(folds, {"LSTM": [test for _, test in runs], "bag of words": [words[1]]}), "accuracy.svg")
    means = {name: carousel.recipes.interval(values) for name, values in folds.items()}
    apart = [a - b for a, b in zip(*folds.values(), strict=True)]
    lines = [f"rt-polarity, {len(apart)} folds: mean accuracy, with its 95 % interval"]
    for name, (middle, low, high) in [*means.items(), ("difference", carousel.recipes.interval(apart))]:
        lines.append(f"    {name:16}{middle:8.4f} ({low:.4f} to {high:.4f})")
    lines.append("SST-2: accuracy on the dev and on the test part")
    lines += [f"    {f'LSTM, seed {seed}':16}{one[0]:8.4f}{one[1]:8.4f}" for seed, one in zip(seeds, runs, strict=True)]
    lines.append(f"    {'bag of words':16}{words[0]:8.4f}{words[1]:8.4f}")
    recipe.text("\n".join(lines) + "\n", "table.txt")
    recipe.say("\n".join(lines))
    sizes = {part: len(its) for part, its in treebank.items()}
    alike = sum(len(fold(reviews, number)["test"]) for number in range(FOLDS))
    recipe.claim("rt-polarity: sentences tested in all folds together", len(reviews), alike, alike == len(reviews),
                 "each once")  # fmt: skip
    if recipe.smoke:
        return
    recipe.claim("SST-2: sentences of train, dev, test", "6920, 872, 1821", ", ".join(map(str, sizes.values())),
                 [*sizes.values()] == [6920, 872, 1821], "Socher et al. 2013")  # fmt: skip
    middle, low, high = means["bag of words"]
    recipe.claim("rt-polarity: logistic regression on words, 10-fold accuracy", "0.75 to 0.79",
                 f"{middle:.4f} ({low:.4f} to {high:.4f})", 0.75 <= middle <= 0.79,
                 "Wang & Manning 2012, table 2: SVM on words 0.762, naive Bayes 0.779")  # fmt: skip
    middle, low, high = means["LSTM"]
    recipe.claim("rt-polarity: LSTM, no pre-trained vectors, 10-fold accuracy", "0.74 to 0.79",
                 f"{middle:.4f} ({low:.4f} to {high:.4f})", 0.74 <= middle <= 0.79,
                 "Kim 2014, table 2: a CNN on vectors learned from scratch 0.761")  # fmt: skip
    middle, low, high = carousel.recipes.interval([test for _, test in runs])
    recipe.claim("SST-2: LSTM, whole sentences, no pre-trained vectors, test accuracy, 3 seeds", "0.76 to 0.83",
                 f"{middle:.4f} ({low:.4f} to {high:.4f})", 0.76 <= middle <= 0.83,
                 "below Kim's CNN from scratch, 0.827, which learns from labelled phrases too")  # fmt: skip
