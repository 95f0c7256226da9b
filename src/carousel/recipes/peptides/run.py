r"""Peptides on the surface of cells: seen there, or a decoy, given the sample; an LSTM in both directions over 9-mers.

A cell shows pieces of its proteins, bound to MHC molecules, which differ from person to person and so from sample to
sample. What binds is decided by the amino acids at a few places. A position weight matrix of each sample,
:math:`w_s(t, a) = \log p_s(a \mid t) - \log q(a \mid t)` summed up, takes each place alone; the network sees what goes
together, and what samples share; with or without w beside the amino acids. The models are in `models.py`. Data: T.
O'Donnell, A. Rubinsteyn & U. Laserson, "MHCflurry 2.0", Cell Systems 11, 2020.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

import carousel

from .models import Matrices, Part, Peptides, auc, batches, read, roc

SEEDS, EPOCHS, BATCH, RATE, DECAY, UNITS = (0, 1, 2), 5, 128, 5e-3, 0.05, 96
KINDS = {"LSTM, told the matrix": True, "LSTM": False}


@torch.no_grad()
def scores(model: Peptides, part: Part) -> Tensor:
    """(peptides,) of a part, without dropout."""
    model.eval()
    return model(part.x, part.sample, part.weights)


def train(parts: dict[str, Part], samples: int, told: bool, seed: int, smoke: bool) -> dict[str, Any]:
    """One seed: the AUC on the dev part after each epoch; the weights of the highest are kept for the test part."""
    torch.manual_seed(seed)
    data, draw = parts["train"], torch.Generator().manual_seed(seed)
    size, epochs = (32, 2) if smoke else (BATCH, EPOCHS)
    model, curve, best = Peptides(samples, 4 if smoke else UNITS, told=told), [], None
    updates = epochs * (len(data.hit) // size)
    rule = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(rule, RATE, total_steps=updates, pct_start=0.1)
    for _ in range(epochs):
        model.train()
        for chosen in batches(len(data.hit), size, draw):
            given = model(data.x[:, chosen], data.sample[chosen], data.weights[:, chosen])
            loss = F.binary_cross_entropy_with_logits(given, data.hit[chosen].float())
            rule.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            rule.step()
            schedule.step()
        curve.append(auc(scores(model, parts["dev"]), parts["dev"].hit))
        if curve[-1] == max(curve):
            best = copy.deepcopy(model.state_dict())
    assert best is not None
    model.load_state_dict(best)
    return {"curve": curve, "test": scores(model, parts["test"])}


def draw_figure(test: Part, dev: Part, runs: dict[str, list[dict[str, Any]]]) -> Figure:
    """ROC curves on the test part, and the AUC on the dev part epoch by epoch."""
    figure = Figure((9, 3.8))
    left, right = figure.subplots(1, 2)
    matrix = test.weights.sum(0)
    left.plot(*roc(matrix, test.hit), "k:", label=f"matrix of each sample, {auc(matrix, test.hit):.3f}")
    right.axhline(auc(dev.weights.sum(0), dev.hit), color="k", linestyle=":", label="matrix of each sample")
    for number, (name, its) in enumerate(runs.items()):
        area = auc(its[0]["test"], test.hit)
        left.plot(*roc(its[0]["test"], test.hit), f"C{number}", linewidth=1, label=f"{name}, seed 0, {area:.3f}")
        for seed, one in enumerate(its):
            label = None if seed else f"{name}, {len(its)} seed(s)"
            right.plot(range(1, len(one["curve"]) + 1), one["curve"], f"C{number}.-", linewidth=1, label=label)
    left.set(xlabel="share of the decoys let through", ylabel="share of the hits found", title="test part")
    right.set(xlabel="epoch", ylabel="area under the ROC curve", title="dev part")
    for axis in (left, right):
        axis.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    return figure


def of_samples(test: Part, samples: list[str], runs: dict[str, list[dict[str, Any]]]) -> str:
    """The AUC within each sample that has 40 peptides in the test part; of the networks the mean of their scores."""
    ways = {k: torch.stack([one["test"].sigmoid() for one in its]).sum(0) for k, its in runs.items()}
    ways = {"matrix": test.weights.sum(0), **ways}
    lines = [f"{'sample':24}{'peptides':>10}" + "".join(f"{way:>24}" for way in ways)]
    for number, name in enumerate(samples):
        mine = test.sample == number
        if mine.sum() >= 40 and 0 < test.hit[mine].sum() < mine.sum():
            areas = "".join(f"{auc(scored[mine], test.hit[mine]):24.3f}" for scored in ways.values())
            lines.append(f"{name:24}{int(mine.sum()):10d}{areas}")
    return "\n".join(lines) + "\n"


def run(recipe: carousel.recipes.Recipe) -> None:
    """The matrices, and the networks of every seed; a stopped run goes on with the next."""
    parts, samples = read(recipe.data("peptides/mhc_9mers.csv"), 1000 if recipe.smoke else None)
    test, saved = parts["test"], recipe.load("runs") or {}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in KINDS}
    for name, told in KINDS.items():
        for seed in SEEDS[: 1 if recipe.smoke else None]:
            if f"{name}, seed {seed}" not in saved:
                saved[f"{name}, seed {seed}"] = train(parts, len(samples), told, seed, recipe.smoke)
                recipe.save("runs", saved)
            runs[name].append(saved[f"{name}, seed {seed}"])
            recipe.say(f"{name}, seed {seed}: test AUC {auc(runs[name][-1]['test'], test.hit):.4f}")
    recipe.figure(draw_figure(test, parts["dev"], runs), "roc.svg")
    recipe.text(of_samples(test, samples, runs), "samples.txt")
    seen = {tuple(column) for column in parts["train"].x.T.tolist()}
    both = sum(tuple(column) in seen for column in test.x.T.tolist())
    recipe.claim("peptides of the test part that are in the training part too", 0, both, both == 0, "split by peptide")
    if recipe.smoke:
        return
    plain = Matrices(*parts["train"][:3], len(samples), plain=True).weights(test.x, test.sample).sum(0)
    simple, alone = auc(plain, test.hit), auc(test.weights.sum(0), test.hit)
    recipe.claim(f"plain position weight matrix of each sample: test AUC, {len(test.hit):,} peptides", "0.92 to 0.95",
                 simple, 0.92 < simple < 0.95, "0.933 on another split")  # fmt: skip
    recipe.claim("matrix against decoys, drawn to all samples: test AUC", f"> {simple:.3f}, the plain one", alone,
                 alone > simple, "decoys and other samples say something too")  # fmt: skip
    told, free = ([auc(one["test"], test.hit) for one in its] for its in runs.values())
    for what, areas in zip(KINDS, (told, free), strict=True):
        middle, low, high = carousel.recipes.interval(areas)
        recipe.claim(f"{what}: test AUC, mean of {len(areas)} seeds, with its 95 % interval", ">= 0.95",
                     f"{middle:.4f} ({low:.4f} to {high:.4f})", middle >= 0.95, "the bar of this project")  # fmt: skip
        middle, low, high = carousel.recipes.interval([area - alone for area in areas])
        recipe.claim(f"{what}, minus the better matrix: test AUC, {len(areas)} seeds", "> 0, with its 95 % interval",
                     f"{middle:.4f} ({low:.4f} to {high:.4f})", low > 0, "places depend on each other")  # fmt: skip
