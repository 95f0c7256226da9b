r"""Peptides on the surface of cells: seen there, or a decoy, given the sample; an LSTM in both directions over 9-mers.

A cell shows pieces of its proteins, bound to MHC molecules, which differ from person to person and so from sample to
sample. What binds is decided by the amino acids at a few places. A position weight matrix of each sample,
:math:`\log p_s(a \mid place) - \log q(a)` summed up, takes each place alone; the network sees what goes together, and
what samples share.
The models are in `models.py`. Data: T. O'Donnell, A. Rubinsteyn & U. Laserson, "MHCflurry 2.0", Cell Systems 11, 2020.
"""

from __future__ import annotations

import copy
import csv
import random
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

import carousel

from .models import ACIDS, Peptides, auc, batches, by_matrix, roc, weight_matrices

SEEDS, EPOCHS, BATCH, RATE, UNITS, SHARE, DRAW = (0, 1, 2), 12, 128, 4e-3, 96, 0.1, 2026
MATRIX = 0.933


class Part(NamedTuple):
    """Peptides (9, peptides), sample of each, and whether it is a hit."""

    x: Tensor
    sample: Tensor
    hit: Tensor


def read(file: Path) -> tuple[dict[str, Part], list[str]]:
    """The parts, equal peptides in the same one whatever their samples are; and the samples."""
    with file.open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    samples, draw = sorted({row["sample_id"] for row in rows}), random.Random(DRAW)
    place = {name: number for number, name in enumerate(samples)}
    where = {peptide: draw.random() for peptide in sorted({row["peptide"] for row in rows})}
    parts = {}
    for part, low, high in (("test", 0.0, SHARE), ("dev", SHARE, 2 * SHARE), ("train", 2 * SHARE, 1.0)):
        its = [row for row in rows if low <= where[row["peptide"]] < high]
        x = torch.tensor([[ACIDS.index(acid) for acid in row["peptide"]] for row in its]).T.contiguous()
        hit = torch.tensor([row["hit"] == "1" for row in its])
        parts[part] = Part(x, torch.tensor([place[row["sample_id"]] for row in its]), hit)
    return parts, samples


@torch.no_grad()
def scores(model: Peptides, part: Part) -> Tensor:
    """(peptides,) of a part, without dropout."""
    model.eval()
    return model(part.x, part.sample)


def train(parts: dict[str, Part], samples: int, seed: int, smoke: bool) -> dict[str, Any]:
    """One seed: the AUC on the dev part after each epoch; the weights of the highest are kept for the test part."""
    torch.manual_seed(seed)
    data, draw = parts["train"], torch.Generator().manual_seed(seed)
    size, epochs = (32, 2) if smoke else (BATCH, EPOCHS)
    model, curve, best = Peptides(samples, 4 if smoke else UNITS), [], None
    updates = epochs * (len(data.hit) // size)
    rule = torch.optim.AdamW(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(rule, RATE, total_steps=updates, pct_start=0.1)
    for _ in range(epochs):
        model.train()
        for chosen in batches(len(data.hit), size, draw):
            loss = F.binary_cross_entropy_with_logits(
                model(data.x[:, chosen], data.sample[chosen]), data.hit[chosen].float()
            )
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


def draw_figure(test: Part, matrix: Tensor, runs: list[dict[str, Any]], dev: float) -> Figure:
    """ROC curves on the test part, and the AUC on the dev part epoch by epoch."""
    figure = Figure((9, 3.8))
    left, right = figure.subplots(1, 2)
    left.plot(*roc(matrix, test.hit), "k:", label=f"matrix of each sample, {auc(matrix, test.hit):.3f}")
    for seed, one in enumerate(runs):
        left.plot(
            *roc(one["test"], test.hit), linewidth=1, label=f"LSTM, seed {seed}, {auc(one['test'], test.hit):.3f}"
        )
        right.plot(range(1, len(one["curve"]) + 1), one["curve"], ".-", linewidth=1, label=f"LSTM, seed {seed}")
    right.axhline(dev, color="k", linestyle=":", label="matrix of each sample")
    left.set(xlabel="share of the decoys let through", ylabel="share of the hits found", title="test part")
    right.set(xlabel="epoch", ylabel="area under the ROC curve", title="dev part")
    for axis in (left, right):
        axis.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """The matrices, and the network of every seed; a stopped run goes on with the next seed."""
    parts, samples = read(recipe.data("peptides/mhc_9mers.csv"))
    test, dev = parts["test"], parts["dev"]
    matrices = weight_matrices(*parts["train"], len(samples))
    matrix = by_matrix(matrices, test.x, test.sample)
    alone, runs = auc(matrix, test.hit), recipe.load("runs") or {}
    recipe.say(f"weight matrices: {alone:.4f}")
    for seed in SEEDS[: 1 if recipe.smoke else None]:
        if f"seed {seed}" not in runs:
            runs[f"seed {seed}"] = train(parts, len(samples), seed, recipe.smoke)
            recipe.save("runs", runs)
        recipe.say(f"seed {seed}: AUC {auc(runs[f'seed {seed}']['test'], test.hit):.4f}")
    found = list(runs.values())
    recipe.figure(draw_figure(test, matrix, found, auc(by_matrix(matrices, dev.x, dev.sample), dev.hit)), "roc.svg")
    seen = {tuple(column) for column in parts["train"].x.T.tolist()}
    both = sum(tuple(column) in seen for column in test.x.T.tolist())
    recipe.claim("peptides of the test part that are in the training part too", 0, both, both == 0, "split by peptide")
    if recipe.smoke:
        return
    areas = [auc(one["test"], test.hit) for one in found]
    recipe.claim(f"position weight matrix of each sample: test AUC, {len(test.hit):,} peptides", "0.92 to 0.95", alone,
                 0.92 < alone < 0.95, f"about {MATRIX} on another split")  # fmt: skip
    middle, low, high = carousel.recipes.interval(areas)
    recipe.claim(f"LSTM in both directions: test AUC, mean of {len(areas)} seeds, with its 95 % interval", ">= 0.95",
                 f"{middle:.4f} ({low:.4f} to {high:.4f})", middle >= 0.95, "the bar of this project")  # fmt: skip
    middle, low, high = carousel.recipes.interval([area - alone for area in areas])
    recipe.claim(f"LSTM minus weight matrices: test AUC, {len(areas)} seeds", "> 0, with its 95 % interval",
                 f"{middle:.4f} ({low:.4f} to {high:.4f})", low > 0, "places depend on each other")  # fmt: skip
    means = sum(one["test"].sigmoid() for one in found) / len(found)
    lines = [
        f"{'sample':24}{'peptides':>10}{'matrix':>10}{'LSTM':>10}   test part, AUC; LSTM: mean of {len(found)} seeds"
    ]
    for number, name in enumerate(samples):
        mine = test.sample == number
        if mine.sum() >= 40 and 0 < test.hit[mine].sum() < mine.sum():
            pair = auc(matrix[mine], test.hit[mine]), auc(means[mine], test.hit[mine])
            lines.append(f"{name:24}{int(mine.sum()):10d}{pair[0]:10.3f}{pair[1]:10.3f}")
    recipe.text("\n".join(lines) + "\n", "samples.txt")
