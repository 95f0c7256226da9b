r"""Parts of speech: an LSTM in both directions over words and their spelling, trained by `carousel.train`.

.. math:: P(tag_t \mid x_1 \dots x_T) = \mathrm{softmax}(V [\overrightarrow{h}_t; \overleftarrow{h}_t] + b)

with :math:`x_t` a learned vector of the word and the last states of a small LSTM that reads its characters in both
directions. Beside it the same with one direction, and each word's most frequent tag. Sources: Graves & Schmidhuber,
"Framewise phoneme classification with bidirectional LSTM", Neural Networks 2005; Plank, Søgaard & Goldberg,
"Multilingual part-of-speech tagging with bidirectional LSTM models", ACL 2016.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

import carousel

SEEDS = (0, 1, 2)
FILES = {part: f"pos/en_ewt-ud-{part}.conllu" for part in ("train.rebuilt", "dev", "test")}
OPTIONS = {"epochs": 6, "batch": 32, "evaluations": 6}
SMOKE = {"steps": 2, "batch": 4, "evaluations": 1, "hidden_size": 4, "embedding_size": 4, "spelling_size": 2}
KINDS = {"both directions": 2, "one direction": 1}


def words(file: Path) -> list[tuple[str, str]]:
    """All words of a CoNLL-U file with their tags, UPOS; ranges of words and empty words are left out."""
    rows = (line.split("\t") for line in file.read_text(encoding="utf-8").splitlines() if line[:1].isdigit())
    return [(row[1], row[3]) for row in rows if row[0].isdigit()]


def most_frequent(train: list[tuple[str, str]], test: list[tuple[str, str]]) -> float:
    """Accuracy of giving each word the tag it has most often in training, and an unknown word the most frequent tag."""
    tags: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for word, tag in train:
        tags[word][tag] += 1
    usual = Counter(tag for _, tag in train).most_common(1)[0][0]
    best = {word: counts.most_common(1)[0][0] for word, counts in tags.items()}
    return sum(best.get(word, usual) == tag for word, tag in test) / len(test)


def unknown(run: carousel.Run, known: set[str], file: Path) -> float:
    """Accuracy on the words of a file that were not in training."""
    sentences, truth = run.predictor.read(str(file), "utf-8")
    pairs = [
        (tag, right)
        for answer, tags in zip(run.predict(sentences), truth, strict=True)
        for word, tag, right in zip(answer["words"], answer["tags"], tags, strict=True)
        if word not in known
    ]
    return sum(tag == right for tag, right in pairs) / max(1, len(pairs))


def scores(run: carousel.Run) -> dict[str, float]:
    """F1 of each tag on the test part, most frequent first."""
    (panel,) = (panel for panel in run.evaluation["panels"] if panel["title"] == "Tags")
    return {row[0]: row[-1] for row in panel["rows"]}


def draw(found: dict[str, list[dict[str, Any]]], baseline: float) -> Figure:
    """Accuracy on the dev part over the updates, and the F1 of each tag at the end."""
    figure = Figure((9.5, 3.8))
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.4])
    for number, (name, runs) in enumerate(found.items()):
        for one in runs:
            left.plot(*zip(*one["curve"], strict=True), f"C{number}.-", linewidth=1, label=name)
        shown = list(runs[0]["f1"])
        means = [sum(one["f1"].get(tag, 0) for one in runs) / len(runs) for tag in shown]
        right.bar([place + 0.4 * number for place in range(len(shown))], means, 0.4, color=f"C{number}", label=name)
        right.set_xticks([place + 0.2 for place in range(len(shown))], shown, rotation=70, fontsize=7)
    left.axhline(baseline, color="k", linestyle=":", label="most frequent tag (test part)")
    left.set(xlabel="update", ylabel="share of the words", title="right tags on the dev part")
    handles = dict(zip(*left.get_legend_handles_labels()[::-1], strict=True))
    left.legend(handles.values(), handles.keys(), fontsize=8)
    right.set(ylabel="F1, mean of the seeds", title="test part, by tag", ylim=(0, 1))
    right.legend(fontsize=8, loc="lower left")
    figure.tight_layout()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """Train all networks, seed by seed, and compare."""
    files = [recipe.data(path) for path in FILES.values()]
    train, test = words(files[0]), words(files[2])
    known, baseline = {word for word, _ in train}, most_frequent(train, test)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in KINDS}
    for seed in SEEDS[: 1 if recipe.smoke else None]:
        for name, directions in KINDS.items():
            options = {**(SMOKE if recipe.smoke else OPTIONS), "seed": seed, "directions": directions}
            trained = recipe.train(f"{name.replace(' ', '-')}-{seed}", files, kind="tagged", **options)
            status = trained.status
            curve = [(line["step"], line["dev_accuracy"]) for line in trained.metrics if "dev_accuracy" in line]
            one = {"test": status["test_accuracy"], "dev": status["best_dev_accuracy"], "curve": curve}
            found[name].append(one | {"f1": scores(trained), "unknown": unknown(trained, known, files[2])})
            recipe.say(f"seed {seed}, {name}: test accuracy {one['test']:.4f}, {status['seconds']:,.0f} s")
    lines = [f"{'test part':28}{'all words':>24}{'words not in training':>24}"]
    lines.append(f"{'most frequent tag':28}{baseline:24.4f}")
    for name, runs in found.items():
        for seed, one in enumerate(runs):
            lines.append(f"{f'LSTM, {name}, seed {seed}':28}{one['test']:24.4f}{one['unknown']:24.4f}")
    recipe.text("\n".join(lines) + "\n", "table.txt")
    recipe.figure(draw(found, baseline), "accuracy.svg")
    right = sum(tag == guess for (_, tag), guess in zip(test, ["NOUN"] * len(test), strict=True)) / len(test)
    recipe.claim("most frequent tag of each word, over answering NOUN: test accuracy", f"> {right:.3f}", baseline,
                 baseline > right, "a word has few tags")  # fmt: skip
    if recipe.smoke:
        return
    both, single = ([one["test"] for one in runs] for runs in found.values())
    middle, low, high = carousel.recipes.interval(both)
    recipe.claim(f"both directions: test accuracy, mean of {len(both)} seeds, with its 95 % interval", ">= 0.930",
                 f"{middle:.4f} ({low:.4f} to {high:.4f})", middle >= 0.93, "the bar of this project")  # fmt: skip
    for what, other, why in (
        ("the same in one direction", single, "what follows a word says what it is"),
        ("the most frequent tag", [baseline] * len(both), "context decides between a word's tags"),
    ):
        middle, low, high = carousel.recipes.interval([a - b for a, b in zip(both, other, strict=True)])
        recipe.claim(f"both directions, minus {what}: test accuracy, {len(both)} seeds", "> 0, with its 95 % interval",
                     f"{middle:.4f} ({low:.4f} to {high:.4f})", low > 0, why)  # fmt: skip
