r"""Names and nationalities, both ways: one network names the nationality of a name, another writes names of one.

Many to one: an LSTM reads the characters, :math:`P(n \mid x) = \mathrm{softmax}(V\,pool(h_1 \dots h_T) + b)`, trained
by `carousel.train`. One to many: `generate.py`. The data and the tasks are those of S. Robertson's PyTorch tutorials
("Classifying names with a character-level RNN", "Generating names with a character-level RNN"), 2017.
"""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure

import carousel

from .generate import TOLD, judged, write_names
from .rows import NATIONALITIES, Rows, best_possible, read, seen, split, write

SEEDS, EPOCHS, FEW = (0, 1, 2), 8, 3
BASE = {"batch": 64, "learning_rate": 6e-3, "hidden_size": 128, "pooling": "last"}
CHOICES = {
    "both directions, ends": {},
    "one direction, end": {"directions": 1},
    "both directions, mean": {"pooling": "mean"},
    "both directions, largest": {"pooling": "max"},
    "64 units": {"hidden_size": 64},
    "dropout 0.3": {"dropout": 0.3},
    "balanced classes": {"class_weights": "balanced"},
}
SMOKE = {"hidden_size": 4, "embedding_size": 4, "batch": 16, "evaluations": 1, "steps": 2, "pooling": "last"}


def choose(recipe: carousel.recipes.Recipe, rows: Rows) -> tuple[dict[str, Any], list[str]]:
    """The choice with the best dev accuracy after a few epochs, without the test part; and a line for each."""
    file = write(recipe.state("choices.csv"), [row for row in rows if row[2] != "test"])
    found, lines = {}, [f"{'a few epochs, dev part':28}{'accuracy':>10}{'balanced':>10}"]
    for number, (name, options) in enumerate(CHOICES.items()):
        wanted = SMOKE if recipe.smoke else {"epochs": FEW, "evaluations": FEW, **BASE, **options}
        status = recipe.train(f"choice-{number}", file, **wanted).status
        found[name] = status["best_dev_accuracy"]
        lines.append(f"{name:28}{found[name]:10.4f}{status['best_dev_balanced_accuracy']:10.4f}")
        recipe.say(lines[-1])
        if recipe.smoke:
            break
    best = max(found, key=found.__getitem__)
    return CHOICES[best], [*lines, f"chosen: {best}", ""]


def classify(
    recipe: carousel.recipes.Recipe, rows: dict[str, Rows], options: dict[str, Any]
) -> dict[str, list[carousel.Run]]:
    """The runs of all seeds for both splits."""
    wanted = SMOKE if recipe.smoke else {"epochs": EPOCHS, "evaluations": EPOCHS, **BASE, **options}
    runs: dict[str, list[carousel.Run]] = {}
    for name, its in rows.items():
        file = write(recipe.state(f"{name}.csv"), its)
        for seed in SEEDS[: 1 if recipe.smoke else None]:
            one = recipe.train(f"{name}-{seed}", file, **wanted, seed=seed)
            runs.setdefault(name, []).append(one)
            recipe.say(f"{name}, seed {seed}: test accuracy {one.status['test_accuracy']:.4f}")
    return runs


def draw(panel: dict[str, Any], found: dict[str, Any]) -> Figure:
    """Where the names of each nationality go; and the generators' losses."""
    figure = Figure((10, 4.6))
    left, right = figure.subplots(1, 2, width_ratios=[1.3, 1])
    counts, labels = torch.tensor(panel["counts"], dtype=torch.float64), panel["labels"]
    shares = counts / counts.sum(1, keepdim=True).clamp_min(1)
    image = left.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    left.set_xticks(range(len(labels)), labels, rotation=80, fontsize=7)
    left.set_yticks(
        range(len(labels)), [f"{n} ({int(c)})" for n, c in zip(labels, counts.sum(1), strict=True)], fontsize=7
    )
    left.set(xlabel="answer", title="names of the test part, equal names on one side")
    figure.colorbar(image, label="share of the row")
    for number, told in enumerate(TOLD):
        for name, one in found.items():
            if name.startswith(f"{told}, seed"):
                label, epochs = told if "seed 0" in name else None, range(1, len(one["curve"]) + 1)
                right.plot(epochs, one["curve"], f"C{number}.-", linewidth=1, label=label)
    right.set(xlabel="epoch", ylabel="nats per character, dev part", title="writing names, the nationality told …")
    right.legend()
    figure.tight_layout()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """Choose, classify under both splits, write names."""
    pairs = read(recipe.data(f"names/nationality/{name}.txt") for name in NATIONALITIES)
    pairs = pairs[:: max(1, len(pairs) // 300)] if recipe.smoke else pairs
    rows = {"strict": split(pairs, strict=True), "rows": split(pairs, strict=False)}
    generators = recipe.load("generators") or {}
    options, lines = choose(recipe, rows["strict"])
    runs = classify(recipe, rows, options)
    seeds = SEEDS[: 1 if recipe.smoke else None]
    found, texts = write_names(recipe, rows["strict"], seeds, EPOCHS, generators)
    recipe.text("\n".join([*texts, *judged(rows["strict"], found, runs["strict"][0])]) + "\n", "written.txt")
    (panel,) = (panel for panel in runs["strict"][0].evaluation["panels"] if panel["panel"] == "confusion")
    recipe.figure(draw(panel, found), "names.svg")
    lines.append(f"{'test part':28}{'accuracy':>10}{'balanced':>10}{'known':>10}{'possible':>10}")
    for name, its in runs.items():
        for seed, one in enumerate(its):
            numbers = one.status["test_accuracy"], one.status["test_balanced_accuracy"]
            numbers += seen(rows[name]), best_possible(rows[name])
            lines.append(f"{f'{name}, seed {seed}':28}" + "".join(f"{number:10.4f}" for number in numbers))
    recipe.text("\n".join(lines) + "\n", "table.txt")
    overlap = seen(rows["strict"])
    recipe.claim("strict split: share of the test part whose name is in the training part", 0, overlap, overlap == 0,
                 "equal names on one side")  # fmt: skip
    if recipe.smoke:
        return
    for name, what in (("strict", "equal names on one side, each pair once"), ("rows", "rows drawn one by one")):
        middle, low, high = carousel.recipes.interval([one.status["test_accuracy"] for one in runs[name]])
        balanced = carousel.recipes.interval([one.status["test_balanced_accuracy"] for one in runs[name]])[0]
        recipe.claim(f"{what}: test accuracy, mean of {len(seeds)} seeds, with its 95 % interval", ">= 0.80",
                     f"{middle:.4f} ({low:.4f} to {high:.4f}), balanced {balanced:.4f}", middle >= 0.8,
                     "the bar of this project" if name == "strict" else "what is usually published")  # fmt: skip
    for told in TOLD[:2]:
        gains = [found[f"{TOLD[2]}, seed {seed}"]["test"] - found[f"{told}, seed {seed}"]["test"] for seed in seeds]
        middle, low, high = carousel.recipes.interval(gains)
        recipe.claim(f"writing: nats per character saved by the nationality, told {told}, {len(seeds)} seeds",
                     "> 0, with its 95 % interval", f"{middle:.4f} ({low:.4f} to {high:.4f})", low > 0,
                     "names of a nationality are alike")  # fmt: skip
