"""What min-char-rnn does with its losses: the running mean, the levels to compare with, the figure."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .numpy_rnn import STEPS, Array

__all__ = ["SMOOTHED", "best_of_order", "draw", "smoothed"]

SMOOTHED = f"smoothed loss of {STEPS} characters"


def smoothed(losses: Array, start: float) -> Array:
    """Running mean, s ← 0.999 s + 0.001 L along the last axis, from `start`."""
    rows = [list(accumulate(row, lambda s, x: 0.999 * s + 0.001 * x, initial=start))[1:] for row in losses]
    return np.array(rows)


def best_of_order(ids: NDArray[np.intp], order: int) -> float:
    """-Σ ln p(c | the `order` characters before) by counting, per 25 steps: no model that sees only these is better."""
    size = int(ids.max()) + 1
    keys = sum(ids[i : len(ids) - order + i] * size ** (order - i) for i in range(order + 1))
    joint, count = np.unique(keys, return_counts=True)
    _, context = np.unique(joint // size, return_inverse=True)
    return float(-STEPS * (count @ np.log(count / np.bincount(context, count)[context])) / count.sum())


def draw(smooth: Array, apart: Array, levels: dict[str, float]) -> Figure:
    """The smoothed losses, and how runs part that begin a rounding apart.

    Args:
        smooth: (runs, updates), of Carousel, of NumPy from the same weights, of NumPy from others.
        apart: (runs, early updates), of NumPy begun a rounding apart.
        levels: losses to compare with, by name.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    shown = np.unique(np.linspace(0, smooth.shape[1] - 1, 300).astype(int))
    left.plot(shown + 1, smooth[2:, shown].T, "0.75", lw=1, label=_once("NumPy from other weights", len(smooth) - 2))
    left.plot(shown + 1, smooth[1, shown], "C1", label="NumPy")
    left.plot(shown + 1, smooth[0, shown], "C0", label="Carousel")
    for style, (label, level) in zip((":", "-."), levels.items(), strict=True):
        left.axhline(level, color="k", ls=style, lw=1, label=label)
    left.set(xlabel="updates", ylabel=f"{SMOOTHED}, nats")
    left.legend()

    shown = np.arange(0, apart.shape[1], 3)
    ours, theirs = abs(smooth[0, shown] / smooth[1, shown] - 1), abs(apart[:, shown] / smooth[1, shown] - 1)
    again = _once("NumPy, begun a rounding apart", len(apart))
    right.semilogy(shown + 1, theirs.T, "0.75", lw=1, label=again, nonpositive="mask")
    right.semilogy(shown + 1, ours, "C0", label="Carousel", nonpositive="mask")
    right.set(xlabel="updates", ylabel="the same, relative difference from NumPy")
    right.legend()
    return figure


def _once(label: str, lines: int) -> list[str | None]:
    return [label, *[None] * (lines - 1)]
