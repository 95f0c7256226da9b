r"""The minimal character network: vanilla recurrence, truncated backpropagation through time, Adagrad.

100 tanh units read a text character by character; every 25 characters one update by Adagrad (rate 0.1, every element
of the gradient clipped to ±5) of the loss summed over them; the state is carried on. From the same weights it is
trained with Carousel's parts (`carousel_rnn.py`) and in NumPy (`numpy_rnn.py`, which has the equations).

Source: Karpathy, "min-char-rnn.py", 2015, https://gist.github.com/karpathy/d4dee566867f8291f086.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from matplotlib.figure import Figure

import carousel

from .carousel_rnn import CarouselRNN
from .numpy_rnn import STEPS, Arrays, NumpyRNN, starting_weights

SAMPLES = (100, 1_000, 10_000, 100_000)
DERIVED = "the same equations; rounding in float64"
FROM_NUMPY, NUMPY = ((0, 1), (0, 2), (0, 3)), ((1, 2), (1, 3), (2, 3))


def one_update_apart(ids: np.ndarray, weights: Arrays, updates: int) -> tuple[float, float]:
    """Before every update NumPy takes over all of Carousel's numbers: the largest differences after it.

    Returns:
        Of the loss, relative; of any weight.
    """
    ours, theirs = CarouselRNN(weights), NumpyRNN(weights)
    of_loss = of_weights = 0.0
    for update in range(updates):
        theirs.restore(ours.arrays())
        of_loss = max(of_loss, abs(ours.step(ids, update) / theirs.step(ids, update) - 1))
        pairs = zip(ours.parameters.values(), (theirs.weights[name] for name in ours.parameters), strict=True)
        of_weights = max(of_weights, *(float(abs(p.detach().numpy() - w).max()) for p, w in pairs))
    return of_loss, of_weights


def best_of_order(ids: np.ndarray, order: int) -> float:
    """-Σ ln p(c | the `order` characters before) by counting, per 25 steps: no model that sees only these is better."""
    size = int(ids.max()) + 1
    keys = sum(ids[i : len(ids) - order + i] * size ** (order - i) for i in range(order + 1))
    joint, count = np.unique(keys, return_counts=True)
    _, context = np.unique(joint // size, return_inverse=True)
    return float(-STEPS * (count @ np.log(count / np.bincount(context, count)[context])) / count.sum())


def smoothed(losses: np.ndarray, start: float) -> np.ndarray:
    """Running mean, s ← 0.999 s + 0.001 L along the last axis, from `start`."""
    rows = [list(itertools.accumulate(row, lambda s, x: 0.999 * s + 0.001 * x, initial=start))[1:] for row in losses]
    return np.array(rows)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean relative difference of two curves."""
    return float(np.mean(2 * abs(a - b) / (a + b)))


def draw(smooth: np.ndarray, levels: dict[str, float]) -> Figure:
    """The smoothed loss of Carousel and NumPy, and how two runs part that begin a rounding apart."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    shown = np.unique(np.linspace(0, smooth.shape[1] - 1, 500).astype(int))
    left.plot(shown + 1, smooth[0, shown], "C0", label="Carousel")
    left.plot(shown + 1, smooth[1, shown], "C1--", label="NumPy")
    for style, (label, level) in zip((":", "-."), levels.items(), strict=True):
        left.axhline(level, color="0.4", ls=style, lw=1, label=label)
    left.set(xlabel="updates", ylabel=f"loss of {STEPS} characters, smoothed, nats")
    left.legend()
    for other, color, label in (
        (0, "C0", "Carousel from NumPy"),
        (2, "C1", "NumPy from NumPy, begun a rounding apart"),
    ):
        apart = abs(smooth[other] / smooth[1] - 1)[:1000]
        right.semilogy(apart, color, lw=1, label=label, nonpositive="mask")
    right.set(xlabel="updates", ylabel="relative difference of the smoothed loss")
    right.legend()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """Train four times from the same weights: Carousel, NumPy, and NumPy one rounding above and below."""
    iterations, save_every = (200, 100) if recipe.smoke else (100_000, 5_000)
    text = recipe.data("text/tinyshakespeare.txt").read_text(encoding="utf-8")
    index = {c: i for i, c in enumerate(sorted(set(text)))}
    ids = np.array([index[c] for c in text])
    weights = starting_weights(len(index))
    moved = [{name: np.nextafter(w, side) for name, w in weights.items()} for side in (np.inf, -np.inf)]
    models = [CarouselRNN(weights), NumpyRNN(weights), *map(NumpyRNN, moved)]
    losses, samples, done = torch.zeros(len(models), iterations, dtype=torch.float64), {}, 0
    if saved := recipe.load("training"):
        losses, samples, done = saved["losses"], saved["samples"], saved["done"]
        for model, tensors in zip(models, saved["models"], strict=True):
            model.restore({name: t.numpy() for name, t in tensors.items()})
        recipe.say(f"Going on from update {done:,}.")

    updates = carousel.TruncatedBPTT(STEPS).updates(len(ids) - 1)
    for i in recipe.steps(done, iterations):
        losses[:, i] = torch.tensor([model.step(ids, i % updates) for model in models], dtype=torch.float64)
        if i + 1 in SAMPLES:
            samples[i + 1] = "".join(sorted(index)[k] for k in models[0].sample(300, index["\n"]))
            recipe.say(f"---- after {i + 1:,} updates ----\n{samples[i + 1]}")
        if (i + 1) % save_every == 0:
            kept = [{name: torch.from_numpy(a) for name, a in model.arrays().items()} for model in models]
            recipe.save("training", {"losses": losses, "samples": samples, "done": i + 1, "models": kept})
            recipe.say(f"update {i + 1:,}: loss {float(losses[0, i + 1 - save_every : i + 1].mean()):.2f}")

    start = STEPS * math.log(len(index))
    smooth = smoothed(losses.numpy(), start)
    best = {f"best of order {n}": best_of_order(ids, n) for n in (1, 2)}
    recipe.figure(draw(smooth, best), "loss.svg")
    recipe.text("\n\n".join(f"---- after {n:,} updates ----\n{s}" for n, s in samples.items()) + "\n", "samples.txt")

    checked = 50 if recipe.smoke else 1000
    of_loss, of_weights = one_update_apart(ids, weights, checked)
    limit = start if recipe.smoke else 50.0
    recipe.claim(
        f"one update from the same weights, of {checked}: largest relative difference of the loss", "< 1e-12", of_loss,
        of_loss < 1e-12, DERIVED,
    )  # fmt: skip
    recipe.claim(
        f"one update from the same weights, of {checked}: largest difference of any weight", "< 1e-9", of_weights,
        of_weights < 1e-9, f"{DERIVED}, times at most η/√1e-8 = 1000 by Adagrad",
    )  # fmt: skip
    apart = float(abs(smooth[0] / smooth[1] - 1)[:10].max())
    recipe.claim(
        "left alone: relative difference of the smoothed loss in the first 10 updates", "< 1e-6", apart, apart < 1e-6,
        f"{DERIVED}, which then grows: see the page",
    )  # fmt: skip
    recipe.claim(
        f"smoothed loss of {STEPS} characters after {iterations:,} updates, nats", f"< {limit:.4g}", smooth[0, -1],
        smooth[0, -1] < limit, "chosen after a run from other weights, which reached 47",
    )  # fmt: skip
    if recipe.smoke:
        return
    ours, theirs = (np.mean([distance(smooth[i], smooth[j]) for i, j in pairs]) for pairs in (FROM_NUMPY, NUMPY))
    recipe.claim(
        "mean distance of Carousel's smoothed loss from three NumPy runs that begin a rounding apart",
        f"< 2 x theirs from each other, {theirs:.2g}", ours, ours < 2 * theirs, "one more run of the same kind",
    )  # fmt: skip
    recipe.claim(
        "the same loss, against the best possible without memory, nats", f"< {best['best of order 1']:.2f}",
        smooth[0, -1], smooth[0, -1] < best["best of order 1"], "entropy of a character given the one before, counted",
    )  # fmt: skip
