r"""The minimal character network: vanilla recurrence, truncated backpropagation through time, Adagrad.

100 tanh units read a text character by character; every 25 characters one update by Adagrad (rate 0.1, every element
of the gradient clipped to ±5) of the loss summed over them; the state is carried on. From the same weights it is
trained with Carousel's parts (`carousel_rnn.py`) and in NumPy (`numpy_rnn.py`, which has the equations), and in NumPy
from other weights, which shows by how much such runs differ.

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
from .numpy_rnn import STEPS, NumpyRNN, starting_weights

SAMPLES = (100, 1_000, 10_000, 100_000)
SEEDS = (0, 1, 2, 3)  # of the NumPy runs; Carousel begins with the weights of the first
SMOOTHED = f"smoothed loss of {STEPS} characters"
ROUNDING = "the same equations, rounding in float64"
COUNTED = "entropy of a character given the one before, counted in the text"


def differences(ours: CarouselRNN, theirs: NumpyRNN, losses: tuple[float, float]) -> np.ndarray:
    """How far two networks are apart after one update from the same numbers: the loss, relative, and any weight."""
    pairs = zip(ours.parameters.values(), (theirs.weights[name] for name in ours.parameters), strict=True)
    weights = max(float(abs(parameter.detach().numpy() - w).max()) for parameter, w in pairs)
    return np.array([abs(losses[0] / losses[1] - 1), weights])


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


def draw(smooth: np.ndarray, control: np.ndarray, levels: dict[str, float]) -> Figure:
    """The smoothed loss of all runs, and how two runs part that begin a rounding apart."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    shown = np.unique(np.linspace(0, smooth.shape[1] - 1, 500).astype(int))
    left.plot(
        shown + 1, smooth[2:, shown].T, "0.75", lw=1, label=["NumPy from other weights", *[None] * (len(SEEDS) - 2)]
    )
    left.plot(shown + 1, smooth[1, shown], "C1", label="NumPy")
    left.plot(shown + 1, smooth[0, shown], "C0", label="Carousel")
    for style, (label, level) in zip((":", "-."), levels.items(), strict=True):
        left.axhline(level, color="k", ls=style, lw=1, label=label)
    left.set(xlabel="updates", ylabel=f"{SMOOTHED}, nats")
    left.legend()
    for other, color, label in ((smooth[0], "C0", "Carousel"), (control, "C1", "NumPy, begun a rounding apart")):
        apart = abs(other[: len(control)] / smooth[1, : len(control)] - 1)
        right.semilogy(apart, color, lw=1, label=label, nonpositive="mask")
    right.set(xlabel="updates", ylabel=f"{SMOOTHED}, relative difference from NumPy")
    right.legend()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """Train side by side; at every 100th update, compare one update of NumPy from all of Carousel's numbers."""
    iterations, save_every, check_every = (200, 100, 5) if recipe.smoke else (100_000, 5_000, 100)
    text = recipe.data("text/tinyshakespeare.txt").read_text(encoding="utf-8")
    index = {c: i for i, c in enumerate(sorted(set(text)))}
    ids = np.array([index[c] for c in text])
    weights = [starting_weights(len(index), seed=seed) for seed in SEEDS]
    models, follower = [CarouselRNN(weights[0]), *map(NumpyRNN, weights)], NumpyRNN(weights[0])
    losses, apart = torch.zeros(len(models), iterations, dtype=torch.float64), np.zeros(2)
    samples, done = {}, 0
    if saved := recipe.load("training"):
        losses, samples, done, apart = saved["losses"], saved["samples"], saved["done"], saved["apart"].numpy()
        for model, tensors in zip(models, saved["models"], strict=True):
            model.restore({name: t.numpy() for name, t in tensors.items()})
        recipe.say(f"Going on from update {done:,}.")

    updates = carousel.TruncatedBPTT(STEPS).updates(len(ids) - 1)
    for i in recipe.steps(done, iterations):
        if i % check_every == 0:
            follower.restore(models[0].arrays())
        losses[:, i] = torch.tensor([model.step(ids, i % updates) for model in models], dtype=torch.float64)
        if i % check_every == 0:
            both = float(losses[0, i]), follower.step(ids, i % updates)
            apart = np.maximum(apart, differences(models[0], follower, both))
        if i + 1 in SAMPLES:
            samples[i + 1] = "".join(sorted(index)[k] for k in models[0].sample(300, index["\n"]))
            recipe.say(f"---- after {i + 1:,} updates ----\n{samples[i + 1]}")
        if (i + 1) % save_every == 0:
            kept = [{name: torch.from_numpy(a) for name, a in model.arrays().items()} for model in models]
            state = {"losses": losses, "samples": samples, "apart": torch.from_numpy(apart), "models": kept}
            recipe.save("training", {**state, "done": i + 1})
            recipe.say(f"update {i + 1:,}: loss {float(losses[0, i + 1 - save_every : i + 1].mean()):.2f}")

    start, early = STEPS * math.log(len(index)), min(1000, iterations)
    moved = NumpyRNN({name: np.nextafter(w, np.inf) for name, w in weights[0].items()})
    smooth = smoothed(losses.numpy(), start)
    control = smoothed(np.array([[moved.step(ids, i % updates) for i in range(early)]]), start)[0]
    best = {f"best of order {n}": best_of_order(ids, n) for n in (1, 2)}
    recipe.figure(draw(smooth, control, best), "loss.svg")
    recipe.text("\n\n".join(f"---- after {n:,} updates ----\n{s}" for n, s in samples.items()) + "\n", "samples.txt")

    one, claim = f"one update from the same numbers, {iterations // check_every:,} times in the run", recipe.claim
    claim(f"{one}: relative difference of the loss, at most", "< 1e-12", apart[0], apart[0] < 1e-12, ROUNDING)
    amplified = f"{ROUNDING}, which Adagrad can make η/√1e-8 = 1000 times larger"
    claim(f"{one}: difference of any weight, at most", "< 1e-9", apart[1], apart[1] < 1e-9, amplified)
    first = float(abs(smooth[0] / smooth[1] - 1)[:10].max())
    claim(f"left alone for 10 updates: {SMOOTHED}, relative difference", "< 1e-6", first, first < 1e-6, ROUNDING)
    if recipe.smoke:
        return
    ours, theirs = (float(abs(x / smooth[1, :early] - 1)[early // 2 :].mean()) for x in (smooth[0, :early], control))
    what, expected = (
        f"left alone for {early:,} updates: the same, mean of the last half",
        f"{theirs:.2g}, within a factor 10",
    )
    claim(what, expected, ours, 0.1 < ours / theirs < 10, "NumPy from NumPy, begun a rounding apart")
    final, mean, spread = smooth[0, -1], smooth[1:, -1].mean(), smooth[1:, -1].std(ddof=1)
    after = f"{SMOOTHED} after {iterations:,} updates, nats"
    met, source = (
        abs(final - mean) < 3 * spread,
        f"NumPy from {len(SEEDS)} starting weights, mean and 3 standard deviations",
    )
    claim(after, f"{mean:.1f} ± {3 * spread:.1f}", final, met, source)
    memoryless = best["best of order 1"]
    claim(f"{after}, against the best without memory", f"< {memoryless:.2f}", final, final < memoryless, COUNTED)
