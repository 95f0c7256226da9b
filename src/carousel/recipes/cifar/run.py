r"""CIFAR-10 as a first program: a simple ConvNet, what it learns and confuses, and an ensemble of five that beats it.

.. math:: \bar p(c \mid x) = \frac{1}{5} \sum_{m=1}^{5} p_m(c \mid x)

The five are the same line of layers from five seeds, trained and chosen on the same images. Sources: Krizhevsky,
"Learning multiple layers of features from tiny images", 2009; Hansen & Salamon, "Neural network ensembles", 1990.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import carousel

FILES = ("cifar10/data_batch_1.bin", "cifar10/data_batch_2.bin", "cifar10/test_batch_first1000.bin")
RECORD, ASIDE, HELD_OUT = 3_073, 0.4, 1 / 16
SEEDS = (0, 1, 2, 3, 4)
OPTIONS: dict[str, Any] = {
    "network": "conv 32 5 pad half, batchnorm, relu, pool 2, conv 64 3 pad half, batchnorm, relu, pool 2, "
    "conv 128 3 pad half, batchnorm, relu, pool 2, dropout 0.5, dense",
    "epochs": 12, "evaluations": 12, "learning_rate": 2e-3, "batch": 64, "weight_decay": 0.05, "flip": True, "crop": 3,
    "dev": HELD_OUT, "split_seed": 0,
}  # fmt: skip
SMOKE = {"steps": 2, "epochs": None, "evaluations": 2, "network": "conv 2 5, relu, pool 4, dense"}


def parts(recipe: carousel.recipes.Recipe) -> tuple[list[Path], list[Path]]:
    """Files for training and for testing; the last images of the second batch are tested on too."""
    first, second, test = map(recipe.data, FILES)
    home = recipe.state("images")
    home.mkdir(parents=True, exist_ok=True)
    records = second.read_bytes()
    cut = round(len(records) // RECORD * (1 - ASIDE)) * RECORD
    (home / "train_rest.bin").write_bytes(records[:cut])
    (home / "test_aside.bin").write_bytes(records[cut:])
    return [first, home / "train_rest.bin"], [home / "test_aside.bin", test]


def answered(runs: list[carousel.Run], files: list[Path]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(members, images, classes) probabilities of the test images, (images,) their classes, the names of these."""
    names = list(runs[0].predictor.classes)
    given, truth = [], []
    for file in files:
        images, labels = runs[0].predictor.read(str(file), "utf-8")
        given += images
        truth += [names.index(label) for label in labels]
    shares = [[[answer["probabilities"][name] for name in names] for answer in run.predict(given)] for run in runs]
    return np.array(shares), np.array(truth), names


def learning(runs: list[carousel.Run]) -> Figure:
    """Loss of the training batches, and accuracy on the held-out images, epoch by epoch."""
    figure = Figure((9, 3.4))
    axes = figure.subplots(1, 2)
    for number, run in enumerate(runs):
        per_epoch = run.status["step"] / run.status["epoch"]
        for axis, name, scale in ((axes[0], "train_loss", 1), (axes[1], "dev_accuracy", 100)):
            points = [(line["step"] / per_epoch, scale * line[name]) for line in run.metrics if name in line]
            axis.plot(*zip(*points, strict=True), f"C{number}", linewidth=1, label=f"seed {SEEDS[number]}")
    axes[0].set(xlabel="epoch", ylabel="training loss, nats", title="while learning (augmented images, dropout)")
    axes[1].set(xlabel="epoch", ylabel="right, %", title="on images that are not trained on")
    axes[1].legend(fontsize=8)
    figure.tight_layout()
    return figure


def filters(run: carousel.Run) -> Figure:
    """The kernels of the first layer as color pictures, each from its smallest to its largest weight."""
    kernels = next(p for p in run.model.parameters() if p.ndim == 4).detach().numpy().transpose(0, 2, 3, 1)
    columns = min(8, len(kernels))
    rows = -(-len(kernels) // columns)
    figure = Figure((columns, rows))
    for axis, kernel in itertools.zip_longest(figure.subplots(rows, columns, squeeze=False).flat, kernels):
        axis.set_axis_off()
        if kernel is not None:
            axis.imshow((kernel - kernel.min()) / max(np.ptp(kernel), 1e-9), interpolation="nearest")
    figure.tight_layout()
    return figure


def confusion(table: np.ndarray, names: list[str]) -> Figure:
    """Rows are the truth, columns the answers, in % of the row."""
    figure = Figure((5.6, 5))
    axis = figure.add_subplot()
    shares = 100 * table / np.maximum(table.sum(1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(*table.shape):
        color = "white" if shares[row, column] > 50 else "black"
        axis.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", fontsize=8, color=color)
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="answer", ylabel="truth", title="The ensemble's answers, % of each class")
    figure.tight_layout()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """Five networks one after the other, then their mean; a stopped run goes on where it was."""
    train, test = parts(recipe)
    seeds, options = (SEEDS[:2], {**OPTIONS, **SMOKE}) if recipe.smoke else (SEEDS, OPTIONS)
    runs = []
    for seed in seeds:
        runs.append(recipe.train(f"seed-{seed}", [*train, *test], seed=seed, **options))
        recipe.say(
            f"seed {seed}: {runs[-1].status['test_accuracy']:.2%}, {runs[-1].status['seconds'] / 60:.1f} minutes"
        )
    scores = carousel.ensemble(runs).scores("test")["test"]
    shares, truth, names = answered(runs, test)
    mean = shares.mean(0).argmax(1)
    table = np.zeros((len(names), len(names)), int)
    np.add.at(table, (truth, mean), 1)
    wrong = sorted((table[a, b] + table[b, a], names[a], names[b]) for a in range(len(names)) for b in range(a))[-3:]
    lines = [str(scores), ""]
    for size in range(1, len(runs) + 1):
        some = [shares[list(chosen)].mean(0).argmax(1) for chosen in itertools.combinations(range(len(runs)), size)]
        lines.append(f"mean over all ensembles of {size}: {np.mean([(found == truth).mean() for found in some]):.4f}")
    lines += ["", *(f"taken for each other {count} times: {one}, {other}" for count, one, other in reversed(wrong))]
    recipe.text("\n".join(lines) + "\n", "table.txt")
    recipe.say("\n".join(lines))
    recipe.figure(learning(runs), "learning.svg")
    recipe.figure(filters(runs[0]), "filters.svg")
    recipe.figure(confusion(table, names), "confusion.svg")
    accuracy, loss = (scores.ensemble[name] for name in ("accuracy", "loss"))
    away = abs((mean == truth).mean() - accuracy)
    recipe.claim("accuracy of the ensemble, and counted again answer by answer: difference", "< 1e-6", away,
                 away < 1e-6, "the same images")  # fmt: skip
    recipe.claim("ensemble: loss on the test images in nats, beside the mean of its members",
                 f"<= {scores.mean['loss']:.4f}", loss, loss <= scores.mean["loss"], "Jensen's inequality")  # fmt: skip
    if recipe.smoke:
        return
    asked = {"train": 15_000, "dev": 1_000, "test": 5_000}
    measured = runs[0].config["corpus"]["images"]
    recipe.claim("images for training, choosing the epoch, and testing", str(asked), str(measured), measured == asked,
                 "Krizhevsky 2009: two batches of five, 4,000 of them put aside; 1,000 of the test batch")  # fmt: skip
    best = max(found["accuracy"] for found in scores.members.values())
    for gain, name, alone in zip(scores.gains, ("mean", "best"), (scores.mean["accuracy"], best), strict=True):
        recipe.claim(f"test accuracy of the ensemble, beside the {name} of its five members; gain in points with the "
                     "95 % interval of the paired bootstrap over images", f"> {alone:.2%}, the interval above 0",
                     f"{accuracy:.2%}: {100 * gain.value:.2f} ({100 * gain.low:.2f} to {100 * gain.high:.2f})",
                     gain.low > 0, "Hansen & Salamon 1990")  # fmt: skip
