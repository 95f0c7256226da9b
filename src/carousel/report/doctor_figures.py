"""The pictures of a doctor's report: curves through matplotlib, histograms and bars as plain SVG that stretches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from statistics import median
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .figures import (
    COLORS,
    PHONE,
    WIDE,
    Canvas,
    Chart,
    Series,
    compact,
    draw_chart,
    draw_line,
    draw_noisy,
    journey,
    loss_limits,
    mark_lost,
    paired,
    set_axes,
    smoothed,
    thinned,
)
from .words import first_finite

__all__ = [
    "chosen",
    "curve",
    "ends",
    "gradient_chart",
    "histogram",
    "idle_bar",
    "loss_chart",
    "time_chart",
    "updates_chart",
]

HALF = Canvas(470, 300, 13, 200, 6)
TINY = 1e-60
"""Below it a size counts as zero: no axis shows it."""

MOST_LINES = 40
LOOKS = 5
"""At either end of a run whose median stands for it."""

BAND = (1e-3, 1e-2)
"""Of an update relative to its weight: what training that goes well usually has."""

IDLE = ((0.99, "always"), (0.9, "mostly"), (0.5, "half"), (-math.inf, "working"))
"""Least share of samples at which a unit is idle, and the class of its color."""


def curve(points: Any) -> Series:
    """[step, value] pairs; what is no pair of numbers is left out."""
    return paired(point for point in points or () if isinstance(point, list | tuple) and len(point) == 2)


def chosen(items: Sequence[Any], most: int) -> list[tuple[int, Any]]:
    """At most so many, evenly chosen with the first and the last, and their numbers from 1."""
    count = min(len(items), most)
    places = [round(place * (len(items) - 1) / max(count - 1, 1)) for place in range(count)]
    return [(place + 1, items[place]) for place in places]


def ends(data: Series) -> tuple[float | None, float | None]:
    """The median of the first looks, and of the last."""
    looks = min(LOOKS, max(1, len(data) // 2))
    values = data.values.tolist()
    return (median(values[:looks]), median(values[-looks:])) if values else (None, None)


def loss_chart(
    loss: Series, evaluations: Sequence[tuple[str, Series]], marks: Iterable[tuple[float, int]]
) -> Chart | None:
    """The training loss, losses without gradients beside it, and the step and number of each finding."""
    every = [data for data in (loss, *(data for _, data in evaluations)) if len(data)]
    if not every:
        return None
    smooth = smoothed(loss)
    steps_beside = np.concatenate([data.steps for _, data in evaluations] or [np.empty(0)])
    beside = Series(steps_beside, np.concatenate([data.values for _, data in evaluations] or [np.empty(0)]))
    low, high, log = loss_limits(loss if len(loss) else beside, smooth, beside)
    top = high * (high / low) ** 0.1 if log else high + 0.1 * (high - low)  # the marks' numbers stand there
    known = sorted((step, number) for step, number in marks)
    steps = [step for data in every for step in (data.steps[0], data.steps[-1])] + [step for step, _ in known]
    span = (float(min(steps)), float(max(steps)))
    colors = (COLORS["dev"], COLORS["ink"], COLORS["good"])

    def draw(ax: Axes, canvas: Canvas) -> None:
        set_axes(ax, canvas, span, low, top, log=log)
        ax.set_title("loss" + (", log scale" if log else ""), loc="left")
        for at, label in _grouped(known, 45 * (span[1] - span[0]) / canvas.width):
            ax.axvline(at, color=COLORS["bad"], linewidth=1.2, dashes=(2, 2))
            right = at > span[0] + 0.85 * (span[1] - span[0]) and span[1] > span[0]
            ax.annotate(
                label,
                (at, 1),
                xycoords=ax.get_xaxis_transform(),
                xytext=(-4 if right else 4, -1),
                textcoords="offset points",
                ha="right" if right else "left",
                va="top",
                color=COLORS["bad"],
                fontweight="bold",
            )
        if len(loss):
            draw_noisy(ax, loss, smooth, canvas, COLORS["train"])
        mark_lost(ax, loss)
        for (_, data), color in zip(evaluations, colors, strict=False):
            few = {"marker": "o", "markersize": 4} if len(data) <= canvas.bins // 6 else {}
            ax.plot(*thinned(data, canvas.bins), color=color, linewidth=1.5, **few)

    keys = [("raw", "train, as seen"), ("train", "train, smoothed")] if smooth else [("train", "train")]
    keys = keys if len(loss) else []
    keys += [(kind, name) for (name, _), kind in zip(evaluations, ("dev", "ink", "good"), strict=False)]
    keys += [("mark", "a finding, by its number")] if known else []
    keys += [("lost", "NaN or infinite")] if loss.lost else []
    alt = [journey("Train loss", smooth or loss), *(journey(name, data) for name, data in evaluations)]
    alt += [f"Finding {number} at step {compact(step, 9)}." for step, number in known[:20]]
    return draw_chart("loss", "Loss over the steps", " ".join(alt), keys, draw, WIDE, PHONE)


def _grouped(marks: Sequence[tuple[float, int]], near: float) -> list[tuple[float, str]]:
    """Marks that would stand on each other as one, labeled with all numbers."""
    groups: list[list[tuple[float, int]]] = []
    for mark in marks:
        if groups and mark[0] - groups[-1][0][0] <= near:
            groups[-1].append(mark)
        else:
            groups.append([mark])
    labels = []
    for group in groups:
        numbers = sorted(number for _, number in group)
        few = ", ".join(map(str, numbers)) if len(numbers) < 5 else f"{numbers[0]} … {numbers[-1]}"
        labels.append((group[0][0], few))
    return labels


def gradient_chart(layers: Sequence[Series]) -> Chart | None:
    """Gradient relative to weight, a point per layer, at the start and at the end."""
    both = [ends(layer) for layer in layers]
    found = {"start": [start for start, _ in both], "end": [end for _, end in both]}
    return _two("gradient", "Gradient relative to the weights, by layer", "gradient ÷ weight", "layer", found)


def time_chart(start: Any, end: Any, *, of_loss: bool) -> Chart | None:
    """A norm for each step of a recurrent network, at the start of the run and at its end."""
    found = {name: [first_finite(v) for v in of or ()] for name, of in (("start", start), ("end", end))}
    if of_loss:
        return _two("time-loss", "Gradient of the loss, by time step", "norm", "time step", found)
    title = "Gradient of the last state, by time step"
    return _two("time-last", title, "share of that at the last step", "time step", found)


def _two(name: str, title: str, what: str, across: str, found: Mapping[str, Sequence[float | None]]) -> Chart | None:
    """Sizes at the start of the run and at its end, on a logarithmic scale; zeros at the lower edge."""
    sizes = {when: _numbered(values) for when, values in found.items()}
    positive = np.concatenate([data.values[data.values > TINY] for data in sizes.values()])
    last = max((data.steps[-1] for data in sizes.values() if len(data)), default=0.0)
    if last < 2 or not len(positive):
        return None
    low, high = positive.min() / 1.6, positive.max() * 1.6
    nothing = {when: data.steps[data.values <= TINY] for when, data in sizes.items()}
    looks = {"start": {"color": COLORS["muted"], "linewidth": 1.5}, "end": {"color": COLORS["train"]}}

    def draw(ax: Axes, canvas: Canvas) -> None:
        set_axes(ax, canvas, (1.0, last), low, high, log=True)
        ax.set_xlabel(across, loc="right")
        ax.set_title(f"{what}, log scale", loc="left")
        for when, data in sizes.items():
            real = data.values > TINY
            dots = {"marker": "o", "markersize": 4.5 if last <= 24 else 3} if last <= 60 else {}
            gaps = np.where(real, data.values, np.nan)
            if real.any():
                points = (data.steps, gaps) if len(gaps) <= 800 else thinned(Series(data.steps[real], gaps[real]), 300)
                draw_line(ax, points, **{**looks[when], **dots})
            style = {"marker": "v", "markersize": 7, "linestyle": "none", "clip_on": False}
            ax.plot(nothing[when], np.full(len(nothing[when]), low), color=looks[when]["color"], **style)

    keys = [(when, f"{when} of the run") for when, data in sizes.items() if len(data)]
    if any(map(len, nothing.values())):
        keys.append(("zero", "exactly 0"))
    alt = [_range(f"At the {when}, from {across} 1 on", data) for when, data in sizes.items()]
    return draw_chart(name, title, " ".join(alt), keys, draw, HALF, PHONE)


def _numbered(values: Sequence[float | None]) -> Series:
    pairs = [(float(at), value) for at, value in enumerate(values, 1) if value is not None and abs(value) < 1e60]
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return Series(table[:, 0], table[:, 1])


def _range(what: str, data: Series) -> str:
    return f"{what}: {compact(data.values[0], 3)} to {compact(data.values[-1], 3)}." if len(data) else ""


def updates_chart(layers: Sequence[Series]) -> Chart | None:
    """Update relative to weight over the steps, a line per layer."""
    lines = [Series(d.steps[d.values > TINY], d.values[d.values > TINY]) for d in layers]
    some = [line for _, line in chosen([line for line in lines if len(line)], MOST_LINES)]
    if not some:
        return None
    values = np.concatenate([line.values for line in some])
    low = min(float(np.quantile(values, 0.005)) / 1.3, BAND[0] / 2)
    high = max(float(np.quantile(values, 0.995)) * 1.3, BAND[1] * 2)
    span = (float(min(d.steps[0] for d in some)), float(max(d.steps[-1] for d in some)))

    def draw(ax: Axes, canvas: Canvas) -> None:
        set_axes(ax, canvas, span, low, high, log=True)
        ax.set_title("update ÷ weight, log scale", loc="left")
        ax.axhspan(*BAND, color=COLORS["good"], alpha=0.16, linewidth=0)
        for line in some[1:-1]:
            ax.plot(*thinned(smoothed(line) or line, 40), color=COLORS["muted"], linewidth=0.8, alpha=0.55)
        ends_of = [(some[-1], COLORS["dev"])] if len(some) > 1 else []
        for line, color in ((some[0], COLORS["train"]), *ends_of):
            draw_line(ax, thinned(smoothed(line) or line, canvas.bins), color)

    keys = [("train", "first layer" if len(some) > 1 else "the layer")]
    keys += [("between", "between")] if len(some) > 2 else []
    keys += [("dev", "last layer")] if len(some) > 1 else []
    keys.append(("band", "0.1 to 1 %"))
    alt = [journey("First layer", some[0]), journey("Last layer", some[-1])]
    return draw_chart(
        "updates", "Update relative to the weights, over the steps", " ".join(alt), keys, draw, HALF, PHONE
    )


def histogram(of: Mapping[str, Any], kind: str) -> tuple[str, float, float] | None:
    """The first and the last look at an activation on one scale, as SVG; and the scale's ends."""
    looks = {when: look for when in ("first", "last") if (look := _look(of.get(when))) is not None}
    if not looks:
        return None
    given = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}.get(kind)
    low = min([look[0] for look in looks.values()] + ([given[0]] if given else []))
    high = max([look[1] for look in looks.values()] + ([given[1]] if given else []))
    width = high - low if high - low > 1e-12 * max(1.0, abs(low)) else 0.0
    left, right = (low, high) if width else (low - 0.5, high + 0.5)
    paths = "".join(f'<path class="{when}" d="{_steps(*look, left, right)}"/>' for when, look in looks.items())
    svg = f'<svg class="histogram" viewBox="0 0 100 40" preserveAspectRatio="none" aria-hidden="true">{paths}</svg>'
    return svg, low, high


def _look(of: Any) -> tuple[float, float, list[float]] | None:
    if not isinstance(of, Mapping):
        return None
    low, high = first_finite(of.get("low")), first_finite(of.get("high"))
    counts = [max(first_finite(value) or 0.0, 0.0) for value in of.get("counts") or ()]
    if low is None or high is None or high < low or not sum(counts) or max(abs(low), abs(high)) > 1e30:
        return None
    return low, high, counts


def _steps(low: float, high: float, counts: Sequence[float], left: float, right: float) -> str:
    """The outline of the bars; the height is the square root of the share, so that tails show."""
    scale, peak = 100 / (right - left), max(counts)
    if (high - low) * scale < 1.5:  # all in one place
        middle = min(max(((low + high) / 2 - left) * scale, 1.0), 99.0)
        return f"M{middle - 1:.4g} 40V2H{middle + 1:.4g}V40Z"
    width = (high - low) / len(counts)
    bars = "".join(
        f"V{40 - 38 * math.sqrt(value / peak):.3g}H{(low + (at + 1) * width - left) * scale:.4g}"
        for at, value in enumerate(counts)
    )
    return f"M{(low - left) * scale:.4g} 40{bars}V40Z"


def idle_bar(shares: Iterable[Any]) -> tuple[str, int, int] | None:
    """Units from the idlest to the busiest as one bar; how many are always idle, and how many there are."""
    known = sorted((v for v in map(first_finite, shares) if v is not None), reverse=True)
    if not known:
        return None
    kinds = [next(name for least, name in IDLE if share >= least) for share in known]
    parts, at = [], 0
    for name, group in groupby(kinds):
        count = len(list(group))
        parts.append(f'<rect class="{name}" x="{at}" width="{count}" height="1"/>')
        at += count
    box = f'viewBox="0 0 {at} 1" preserveAspectRatio="none"'
    return f'<svg class="idle" {box} aria-hidden="true">{"".join(parts)}</svg>', kinds.count("always"), at
