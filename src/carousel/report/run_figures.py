"""The curves of a training run: loss, learning rate, gradient norm, speed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from .figures import (
    COLORS,
    PHONE,
    SMALL,
    WIDE,
    Canvas,
    Chart,
    Series,
    Span,
    compact,
    draw_chart,
    draw_line,
    draw_noisy,
    even_ticks,
    journey,
    loss_limits,
    loss_text,
    mark_lost,
    ratio_ticks,
    series,
    set_axes,
    smoothed,
    thinned,
    tick_text,
)

__all__ = ["charts"]

METRICS = ("train_loss", "dev_loss", "lr", "grad_norm", "grad_norm_clipped", "tokens_per_second")


def charts(
    metrics: Sequence[Mapping[str, Any]],
    unit: str,
    vocabulary_size: int | None,
    measure: str = "bits",
    loss_in: str | None = None,
) -> list[Chart]:
    """The charts that these metrics allow, loss first; a metric without a finite value has none."""
    uniform = math.log(vocabulary_size) if vocabulary_size and vocabulary_size > 1 else None
    read = {key: series(metrics, key) for key in METRICS}
    steps = [step for data in read.values() for step in (*data.steps, *data.lost)]
    span = (min(steps, default=0.0), max(steps, default=0.0))
    found = [
        _loss_chart(span, read["train_loss"], read["dev_loss"], unit, measure, uniform, loss_in or f"nats per {unit}"),
        _rate_chart(span, read["lr"]),
        _gradient_chart(span, read["grad_norm"], read["grad_norm_clipped"]),
        _speed_chart(span, read["tokens_per_second"], unit),
    ]
    return [chart for chart in found if chart]


def _loss_chart(
    span: Span, train: Series, dev: Series, unit: str, measure: str, uniform: float | None, loss_in: str
) -> Chart | None:
    if not len(train) and not len(dev):
        return None
    smooth = smoothed(train)
    best = int(np.argmin(dev.values)) if len(dev) else 0
    low, high, log = loss_limits(train, smooth, dev)
    uniform = uniform if uniform is not None and low <= uniform <= high + 0.3 * (high - low) else None
    if uniform is not None:
        high = max(high, uniform + 0.03 * (high - low))

    def draw(ax: Axes, canvas: Canvas) -> None:
        set_axes(ax, canvas, span, low, high, log=log)
        ax.set_title(loss_in + (", log scale" if log else ""), loc="left")
        if uniform is not None:
            ax.axhline(uniform, color=COLORS["muted"], linewidth=1.1, dashes=(5, 3))
        draw_noisy(ax, train, smooth, canvas, COLORS["train"])
        mark_lost(ax, train)
        if len(dev):
            few = len(dev) <= canvas.bins // 4
            style = {"marker": "o", "markersize": 5 if canvas is WIDE else 3} if few else {}
            ax.plot(*thinned(dev, canvas.bins), color=COLORS["dev"], linewidth=1.5, **style)
            ring = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "markeredgewidth": 1.5}
            ax.plot(dev.steps[best], dev.values[best], color=COLORS["dev"], **ring)
        _second_axis(ax, unit, measure, low, high, log)

    alt = [f"In {loss_in} over the steps.", journey("Train loss", smooth or train), journey("Dev loss", dev)]
    keys = [("raw", "train, as logged"), ("train", "train, smoothed")] if smooth else [("train", "train")]
    keys = keys if len(train) else []
    if len(dev):
        at = f"{loss_text(dev.values[best])} at step {compact(dev.steps[best], 9)}"
        alt.append(f"Best dev loss: {at}.")
        keys += [("dev", "dev"), ("best", f"best dev: {at}")]
    if uniform is not None:
        keys.append(("uniform", f"guessing evenly: {loss_text(uniform)}"))
    if train.lost:
        keys.append(("lost", "NaN or infinite"))
    return draw_chart("loss", "Loss", " ".join(alt), keys, draw, WIDE, PHONE)


def _rate_chart(span: Span, rate: Series) -> Chart | None:
    if not len(rate):
        return None

    def draw(ax: Axes, canvas: Canvas) -> None:
        set_axes(ax, canvas, span, min(0.0, rate.values.min()), 1.06 * max(0.0, rate.values.max()) or 1.0)
        ax.set_title("size of an update", loc="left")
        draw_line(ax, thinned(rate, canvas.bins), COLORS["train"])

    keys = [("train", f"highest {compact(rate.values.max(), 3)}, last {compact(rate.values[-1], 3)}")]
    return draw_chart("lr", "Learning rate", f"Over the steps. {journey('Learning rate', rate)}", keys, draw, SMALL)


def _gradient_chart(span: Span, before: Series, after: Series) -> Chart | None:
    if not len(before) and not len(after):
        return None
    positive = np.concatenate([before.values, after.values])
    positive = positive[positive > 0]
    log = len(positive) > 0 and positive.max() >= 20 * positive.min()
    smooth, edge = smoothed(before), _upper_edge(after)
    if log:
        low, high = positive.min() / 1.2, positive.max() * 1.2
    else:
        low, high = 0.0, 1.06 * positive.max() if len(positive) else 1.0

    def draw(ax: Axes, canvas: Canvas) -> None:
        set_axes(ax, canvas, span, low, high, log=log)
        ax.set_title("Euclidean norm" + (", log scale" if log else ""), loc="left")
        draw_noisy(ax, before, smooth, canvas, COLORS["train"])
        mark_lost(ax, before)
        if len(after):
            draw_line(ax, (edge.steps, edge.values), COLORS["dev"], linewidth=1.6, dashes=(4, 2.2))

    keys = [("raw", "as logged"), ("train", "smoothed")] if smooth else [("train", "before clipping")]
    keys = keys if len(before) else []
    if len(after):
        keys.append(("after", "after clipping, upper edge" if smooth else "after clipping"))
    if before.lost:
        keys.append(("lost", "NaN or infinite"))
    alt = f"Over the steps. {journey('Gradient norm before clipping', smooth or before)}"
    if len(before):
        alt += f" Largest: {compact(before.values.max())}."
    return draw_chart("gradient", "Gradient norm", f"{alt} {journey('After clipping', after)}", keys, draw, SMALL)


def _speed_chart(span: Span, speed: Series, unit: str) -> Chart | None:
    if not len(speed):
        return None
    smooth = smoothed(speed)

    def draw(ax: Axes, canvas: Canvas) -> None:
        set_axes(ax, canvas, span, 0.0, 1.08 * speed.values.max() or 1.0)
        ax.set_title(f"{unit}s per second", loc="left")
        draw_noisy(ax, speed, smooth, canvas, COLORS["train"])

    keys = [("raw", "as logged"), ("train", "smoothed")] if smooth else []
    alt = f"{unit.capitalize()}s per second over the steps. {journey('Speed', smooth or speed)}"
    return draw_chart("speed", "Speed", alt, keys, draw, SMALL)


def _second_axis(ax: Axes, unit: str, measure: str, low: float, high: float, log: bool) -> None:
    """The same height in the other usual measure, at the right: perplexity for words, bits for other texts."""
    if measure == "nats" or (measure == "perplexity" and high > 200):
        return
    if measure == "perplexity":
        label, ticks = "perplexity", ratio_ticks(math.exp(low), math.exp(high))
        places = [math.log(tick) for tick in ticks]
    else:
        bottom, top = low / math.log(2), high / math.log(2)
        label, ticks = f"bits per {unit}", ratio_ticks(bottom, top) if log else even_ticks(bottom, top)
        places = [tick * math.log(2) for tick in ticks]
    right = ax.twinx()
    right.set_yscale(ax.get_yscale())
    right.yaxis.set_minor_locator(NullLocator())
    right.set_yticks(places, [tick_text(tick) for tick in ticks])
    right.set_ylim(low, high)
    right.set_title(label, loc="right")


def _upper_edge(data: Series, bins: int = 60) -> Series:
    """The largest value in each stretch of a long series: level where clipping acts."""
    if len(data) <= bins:
        return data
    parts = np.array_split(np.arange(len(data)), bins)
    middles = [part[len(part) // 2] for part in parts]
    return Series(data.steps[middles], np.array([data.values[part].max() for part in parts]))
