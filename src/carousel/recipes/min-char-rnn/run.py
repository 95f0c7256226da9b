r"""The minimal character network: vanilla recurrence, truncated backpropagation through time, Adagrad.

100 tanh units read a text character by character; every 25 characters one update by Adagrad (rate 0.1, every element
of the gradient clipped to ±5) of the loss summed over them; the state is carried on. From the same weights it is
trained with Carousel's parts (`carousel_rnn.py`) and in NumPy (`numpy_rnn.py`, which has the equations), and in NumPy
from other weights, which shows by how much such runs differ.

Source: Karpathy, "min-char-rnn.py", 2015, https://gist.github.com/karpathy/d4dee566867f8291f086.
"""

from __future__ import annotations

import math

import numpy as np
import torch

import carousel

from .carousel_rnn import CarouselRNN
from .curves import SMOOTHED, best_of_order, draw, smoothed
from .numpy_rnn import STEPS, Array, Arrays, NumpyRNN, starting_weights

SAMPLES = (100, 1_000, 10_000, 100_000)
SEEDS = (0, 1, 2, 3)  # of the NumPy runs; Carousel begins with the weights of the first
ROUNDING = "the same equations, rounding in float64"
COUNTED = "entropy of a character given the one before, counted in the text"


def train(
    recipe: carousel.recipes.Recipe, text: str, ids: np.ndarray, weights: list[Arrays], iterations: int
) -> tuple[Array, Array]:
    """Carousel and NumPy from `weights[0]`, NumPy from the others, one update of each in turn; a stop is made good.

    Returns:
        The losses, (runs, iterations); the largest differences between Carousel and a NumPy network that takes over
        all its numbers now and then and makes the same update: of the loss, relative, and of any weight.
    """
    save_every, check_every = iterations // 20, iterations // 1000 or 1
    models, follower = [CarouselRNN(weights[0]), *map(NumpyRNN, weights)], NumpyRNN(weights[0])
    losses, apart, samples, done = np.zeros((len(models), iterations)), np.zeros(2), "", 0
    if saved := recipe.load("training"):
        losses, apart, samples, done = saved["losses"].numpy(), saved["apart"].numpy(), saved["samples"], saved["done"]
        for model, arrays in zip(models, saved["models"], strict=True):
            model.restore({name: tensor.numpy() for name, tensor in arrays.items()})
        recipe.say(f"Going on from update {done:,}.")

    for i, update in zip(recipe.steps(done, iterations), in_turn(ids, done, iterations), strict=True):
        checked = i % check_every == 0
        if checked:
            follower.restore(models[0].arrays())
        losses[:, i] = [model.step(ids, update) for model in models]
        if checked:
            of_loss = abs(losses[0, i] / follower.step(ids, update) - 1)
            of_weights = max(abs(models[0].arrays()[name] - w).max() for name, w in follower.weights.items())
            apart = np.maximum(apart, (of_loss, of_weights))
        if i + 1 in SAMPLES:
            characters = sorted(set(text))
            sample = "".join(characters[k] for k in models[0].sample(300, characters.index("\n")))
            samples += f"---- after {i + 1:,} updates ----\n{sample}\n\n"
            recipe.say(sample)
        if (i + 1) % save_every == 0:
            numbers = [{name: torch.from_numpy(a) for name, a in model.arrays().items()} for model in models]
            arrays = {"losses": torch.from_numpy(losses), "apart": torch.from_numpy(apart), "models": numbers}
            recipe.save("training", {**arrays, "samples": samples, "done": i + 1})
            recipe.say(f"update {i + 1:,}: loss {losses[0, i + 1 - save_every : i + 1].mean():.2f}")
    recipe.text(samples, "samples.txt")
    return losses, apart


def in_turn(ids: np.ndarray, begin: int, end: int) -> list[int]:
    """The updates of the text one after another, from its beginning again after the last."""
    updates = carousel.TruncatedBPTT(STEPS).updates(len(ids) - 1)
    return [i % updates for i in range(begin, end)]


def left_alone(
    kind: type[NumpyRNN] | type[CarouselRNN], runs: int, weights: Arrays, ids: np.ndarray, updates: list[int]
) -> Array:
    """The losses of runs that begin a rounding apart: every weight at a neighbor in float64."""
    losses = []
    for seed in range(runs):
        side = np.random.default_rng(seed).choice
        model = kind({name: np.nextafter(w, side([-np.inf, np.inf], w.shape)) for name, w in weights.items()})
        losses.append([model.step(ids, update) for update in updates])
    return np.array(losses)


def run(recipe: carousel.recipes.Recipe) -> None:
    """Train side by side, and compare."""
    iterations, runs = (200, 2) if recipe.smoke else (100_000, 8)
    text = recipe.data("text/tinyshakespeare.txt").read_text(encoding="utf-8")
    index = {c: i for i, c in enumerate(sorted(set(text)))}
    ids = np.array([index[c] for c in text])
    weights = [starting_weights(len(index), seed=seed) for seed in SEEDS]
    losses, apart = train(recipe, text, ids, weights, iterations)
    first = float(abs(losses[0] / losses[1] - 1)[:10].max())
    claim, one = recipe.claim, f"one update from the same numbers, {min(iterations, 1000):,} times in the run"
    claim(f"{one}: relative difference of the loss, at most", "< 1e-12", apart[0], apart[0] < 1e-12, ROUNDING)
    amplified = f"{ROUNDING}, which Adagrad can make η/√1e-8 = 1000 times larger"
    claim(f"{one}: difference of any weight, at most", "< 1e-9", apart[1], apart[1] < 1e-9, amplified)
    claim("left alone for 10 updates: relative difference of the loss", "< 1e-6", first, first < 1e-6, ROUNDING)

    start = STEPS * math.log(len(index))
    smooth = smoothed(losses, start)
    early = in_turn(ids, 0, min(iterations, 1000))
    theirs, ours = (smoothed(left_alone(kind, runs, weights[0], ids, early), start) for kind in (NumpyRNN, CarouselRNN))
    memoryless, pairs = (best_of_order(ids, n) for n in (1, 2))
    levels = {"best from the last character": memoryless, "best from the last two": pairs}
    recipe.figure(draw(smooth, theirs, levels), "loss.svg")
    if recipe.smoke:
        return
    a, b = theirs[:, 500:].mean(1), ours[:, 500:].mean(1)
    bound = 3 * math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / runs)
    what = f"left alone from a rounding apart, mean of {runs} runs: {SMOOTHED}, updates 500 to 1,000, nats"
    source = f"{runs} such runs of NumPy; 3 standard errors of the difference"
    claim(what, f"{a.mean():.2f} ± {bound:.2f}", b.mean(), abs(b.mean() - a.mean()) < bound, source)
    final, mean, bound = smooth[0, -1], smooth[1:, -1].mean(), 3 * smooth[1:, -1].std(ddof=1)
    after = f"{SMOOTHED} after {iterations:,} updates, nats"
    source = f"NumPy from {len(SEEDS)} starting weights; 3 standard deviations"
    claim(after, f"{mean:.1f} ± {bound:.1f}", final, abs(final - mean) < bound, source)
    claim(f"{after}, against the best without memory", f"< {memoryless:.2f}", final, final < memoryless, COUNTED)
