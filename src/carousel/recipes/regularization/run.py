r"""Regularization: a ConvNet on 1,000 digits, alone and with each of six things that shall keep it from overfitting.

.. math:: \text{gap} = L_{\mathrm{dev}} - L_{\mathrm{train}}, \qquad L = -\tfrac{1}{n} \sum \log p_{y}

Sources: Srivastava et al., "Dropout", JMLR 2014; Krogh & Hertz, "A simple weight decay can improve generalization",
1992; Prechelt, "Early stopping - but when?", 1998; Simard et al. 2003 (moved digits); Zhang et al., "mixup", 2018;
Ioffe & Szegedy, "Batch normalization", 2015.
"""

from __future__ import annotations

from functools import partial
from statistics import fmean

import torch
from matplotlib.figure import Figure

import carousel

from .training import Digits, read, trained

FILES = [f"mnist/{part}-{what}-ubyte.gz" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
STRENGTHS: dict[str, tuple[float, ...]] = {
    "none": (0.0,),
    "dropout": (0.25, 0.5, 0.7),
    "L2": (0.003, 0.01, 0.03, 0.1),
    "early stopping": (5, 10, 20),
    "augmentation": (0.5, 1.0, 2.0),
    "mixup": (0.1, 0.4, 1.0),
    "batch norm": (1.0,),
}
"""Probability; factor of the weights in the gradient; epochs without a lower dev loss; times 10 degrees, 10 % and two
pixels; the parameter of the Beta distribution."""
SEEDS, TRAIN, DEV, EPOCHS = (0, 1, 2, 3, 4), 1_000, 2_000, 80
Runs = list[dict[str, float]]


def parts(digits: Digits, test: Digits, seed: int, sizes: tuple[int, int]) -> dict[str, Digits]:
    """Each seed draws digits for training and as dev part of its own."""
    drawn = torch.randperm(len(digits.x), generator=torch.Generator().manual_seed(seed))[: sum(sizes)].split(sizes)
    train, dev = (Digits(digits.x[rows], digits.y[rows]) for rows in drawn)
    return {"train": train, "dev": dev, "test": test}


def trainings(recipe: carousel.recipes.Recipe, digits: Digits, test: Digits) -> dict[str, dict[float, Runs]]:
    """Every strength of every regularizer, on every seed; a stopped run goes on training by training."""
    done: dict[str, dict[str, float]] = {}
    sizes, epochs, seeds = ((20, 20), 1, SEEDS[:2]) if recipe.smoke else ((TRAIN, DEV), EPOCHS, SEEDS)
    for seed in recipe.steps(0, len(seeds)):
        of_seed = parts(digits, test, seed, sizes)
        for kind, strengths in STRENGTHS.items():
            for strength in strengths:
                key = f"{kind} {strength}, seed {seed}"
                done[key] = recipe.part(key, partial(trained, kind, strength, seed, epochs, **of_seed))
                recipe.say(f"{key}: dev error {done[key]['dev_error']:.2%}, {recipe.seconds:.0f} s")
    return {
        kind: {strength: [done[f"{kind} {strength}, seed {seed}"] for seed in seeds] for strength in strengths}
        for kind, strengths in STRENGTHS.items()
    }


def chosen(tried: dict[float, Runs]) -> float:
    """The strength with the least mean error on the dev parts."""
    return min(tried, key=lambda strength: fmean(one["dev_error"] for one in tried[strength]))


def draw(best: dict[str, Runs]) -> Figure:
    """Seed by seed, how much more the dev part costs than the training part, and the test error."""
    figure = Figure((9, 3.6))
    axes = figure.subplots(1, 2, sharey=True)
    for place, runs in enumerate(best.values()):
        values = [one["dev_loss"] - one["train_loss"] for one in runs], [100 * one["test_error"] for one in runs]
        for axis, some in zip(axes, values, strict=True):
            axis.plot(some, [place] * len(some), "C0.", alpha=0.6)
            axis.plot(fmean(some), place, "k|", markersize=14)
    axes[0].set(xlabel="gap: dev loss less training loss, nats")
    axes[1].set(xlabel="test images wrong, %", xlim=(0, None))
    axes[0].set_yticks(range(len(best)), list(best))
    axes[0].invert_yaxis()
    figure.tight_layout()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """Train all, choose strengths on the dev parts, then compare on the test part."""
    files = [recipe.data(path) for path in FILES]
    digits, test = read(files[0], files[1]), read(files[2], files[3])
    if recipe.smoke:
        test = Digits(test.x[:20], test.y[:20])
    found = trainings(recipe, digits, test)
    best = {kind: tried[chosen(tried)] for kind, tried in found.items()}
    head = f"{'':16}{'strength':>9}{'train':>9}{'dev':>9}{'test':>9}{'gap, nats':>11}   test error less that of none"
    lines = [f"means of {len(best['none'])} seeds, and the 95 % interval of the difference", head]
    verdicts: dict[str, tuple[str, bool]] = {}
    gaps = {kind: fmean(one["dev_loss"] - one["train_loss"] for one in runs) for kind, runs in best.items()}
    for kind, runs in best.items():
        apart = [100 * (a["test_error"] - b["test_error"]) for a, b in zip(runs, best["none"], strict=True)]
        middle, low, high = carousel.recipes.interval(apart)
        verdict = "helps" if high < 0 else "hurts" if low > 0 else "no difference seen"
        verdicts[kind] = f"{middle:.2f} points ({low:.2f} to {high:.2f}): {verdict}", high < 0
        errors = "".join(f"{fmean(one[f'{part}_error'] for one in runs):9.2%}" for part in ("train", "dev", "test"))
        said = "" if kind == "none" else verdicts[kind][0]
        lines.append(f"{kind:16}{chosen(found[kind]):9g}{errors}{gaps[kind]:11.3f}   {said}".rstrip())
    lines.append("dev error of each strength")
    for kind, tried in found.items():
        means = (f"{strength:g}: {fmean(one['dev_error'] for one in runs):.2%}" for strength, runs in tried.items())
        lines.append(f"{kind:16}{', '.join(means)}")
    stopped = fmean(one["epochs"] for one in best["early stopping"])
    lines.append(f"early stopping keeps the weights after {stopped:.1f} epochs of {EPOCHS}")
    recipe.text("\n".join(lines) + "\n", "table.txt")
    recipe.say("\n".join(lines))
    recipe.figure(draw(best), "gap.svg")
    wrong = max(one["train_error"] for one in best["none"])
    recipe.claim("without regularization: training error, largest of the seeds", "0" if not recipe.smoke else "<= 1",
                 wrong, wrong <= float(recipe.smoke), "the network can learn its 1,000 digits by heart")  # fmt: skip
    for kind, (verdict, helps) in verdicts.items():
        if kind != "none" and not recipe.smoke:
            gap = f"gap {gaps[kind]:.3f} nats ({gaps['none']:.3f} without)"
            recipe.claim(f"{kind}: test error less that without it, with its 95 % interval", "< 0",
                         f"{verdict}; {gap}", helps, "each helps, or this line says no; paired over seeds")  # fmt: skip
