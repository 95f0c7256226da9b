r"""Digits: a dense network with dropout, and a shallow convolutional one, as `carousel train` makes them from a line.

.. math:: P(c \mid x) = \mathrm{softmax}(f(x))

The pair of numbers is the lectures': about 1.0 % of the test images wrong with dense layers, about 0.60 % with two
convolutions. Sources: LeCun, Bottou, Bengio & Haffner 1998; Srivastava et al., "Dropout", JMLR 2014.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

import carousel

FILES = [f"mnist/{part}-{what}-ubyte.gz" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
SEEDS, HELD_OUT = (0, 1, 2), 5_000 / 60_000
NETWORKS: dict[str, dict[str, Any]] = {
    "dense, dropout": {
        "network": "dropout 0.2, dense 1024, batchnorm, relu, dropout 0.5, dense 1024, batchnorm, relu, dropout 0.5, "
        "dense",
        "epochs": 80, "evaluations": 80, "learning_rate": 2e-3, "batch": 128, "weight_decay": 0.05,
        "schedule": "cosine",
    },
    "two convolutions": {
        "network": "conv 32 5 pad half, batchnorm, relu, pool 2, conv 64 5 pad half, batchnorm, relu, pool 2, "
        "dropout 0.25, dense 256, batchnorm, relu, dropout 0.5, dense",
        "epochs": 12, "evaluations": 12, "learning_rate": 2e-3, "batch": 128, "weight_decay": 0.01,
    },
}  # fmt: skip
BARS = {"dense, dropout": 0.012, "two convolutions": 0.006}
SMOKE = {"steps": 2, "epochs": None, "evaluations": 1, "network": "dense 4, relu, dense"}


def errors(run: carousel.Run) -> list[tuple[float, float]]:
    """(epoch, share of the held-out images that are wrong) after each epoch."""
    per_epoch = run.status["step"] / run.status["epoch"]
    return [(line["step"] / per_epoch, 1 - line["dev_accuracy"]) for line in run.metrics if "dev_accuracy" in line]


def counted(run: carousel.Run, images: str) -> float:
    """Share of the test images that are wrong, by asking for every answer."""
    given, truth = run.predictor.read(images, "utf-8")
    answers = run.predict(given)
    return sum(answer["label"] != label for answer, label in zip(answers, truth, strict=True)) / len(truth)


def draw(found: dict[str, list[dict[str, Any]]]) -> Figure:
    """Errors on the held-out images, epoch by epoch."""
    figure = Figure((6, 3.6))
    axis = figure.add_subplot()
    for number, (name, runs) in enumerate(found.items()):
        for seed, one in enumerate(runs):
            epochs, shares = zip(*one["curve"], strict=True)
            axis.plot(
                epochs, [100 * share for share in shares], f"C{number}", linewidth=1, label=None if seed else name
            )
    axis.set(xlabel="epoch", ylabel="wrong, % of 5,000 held-out images", title="MNIST", yscale="log")
    axis.legend()
    figure.tight_layout()
    return figure


def trained(recipe: carousel.recipes.Recipe, files: list[Path], name: str, seed: int) -> dict[str, Any]:
    """One network, in numbers: errors, by the epoch kept, of the test images and as counted anew."""
    options = {"dev": HELD_OUT, "seed": seed, **NETWORKS[name], **(SMOKE if recipe.smoke else {})}
    run = recipe.train(f"{name}, {seed}".replace(" ", "-").replace(",", ""), files, **options)
    status = run.status
    return {
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "seconds": status["seconds"],
        "epoch": status["best_step"] / status["step"] * status["epoch"],
        "dev": 1 - status["best_dev_accuracy"],
        "test": 1 - status["test_accuracy"],
        "counted": counted(run, str(files[2])),
        "curve": errors(run),
        "images": run.config["corpus"]["images"],
    }


def run(recipe: carousel.recipes.Recipe) -> None:
    """Both networks, seed by seed; a stopped run goes on where it was."""
    files = [recipe.data(path) for path in FILES]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in NETWORKS}
    lines = [f"{'':20}{'seed':>6}{'parameters':>12}{'minutes':>9}{'epoch':>7}{'dev error':>11}{'test error':>12}"]
    for seed in SEEDS[: 1 if recipe.smoke else None]:
        for name, runs in found.items():
            one = recipe.part(f"{name}, seed {seed}", partial(trained, recipe, files, name, seed))
            runs.append(one)
            lines.append(f"{name:20}{seed:6}{one['parameters']:12,}{one['seconds'] / 60:9.1f}{one['epoch']:7.0f}"
                         f"{one['dev']:11.2%}{one['test']:12.2%}")  # fmt: skip
            recipe.say(lines[-1])
    every = [one for runs in found.values() for one in runs]
    away = max(abs(one["counted"] - one["test"]) for one in every)
    recipe.text("\n".join(lines) + "\n", "table.txt")
    recipe.figure(draw(found), "errors.svg")
    parts = {"train": 55_000, "dev": 5_000, "test": 10_000}
    recipe.claim("test error of each run, and counted again answer by answer: difference", "< 1e-6", away, away < 1e-6,
                 "the same images")  # fmt: skip
    if recipe.smoke:
        return
    measured = [one["images"] for one in every if one["images"] != parts] or [parts]
    recipe.claim("images for training, choosing the epoch, and testing", str(parts), str(measured[0]),
                 measured[0] == parts, "LeCun et al. 1998; 5,000 held out by class")  # fmt: skip
    for name, runs in found.items():
        middle, low, high = carousel.recipes.interval([one["test"] for one in runs])
        recipe.claim(f"{name}: test error, mean of {len(runs)} seeds, with its 95 % interval", f"<= {BARS[name]:.2%}",
                     f"{middle:.2%} ({low:.2%} to {high:.2%})", middle <= BARS[name],
                     "the lectures' pair is about 1.0 % and 0.60 %")  # fmt: skip
        longest = max(one["seconds"] for one in runs) / 60
        recipe.claim(f"{name}: minutes of a training, {torch.get_num_threads()} thread", "<= 30", longest,
                     longest <= 30, "the bar of this project, there on two cores")  # fmt: skip
