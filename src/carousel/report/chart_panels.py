"""Panels that are charts: forecasts with the truth, errors by step ahead, calibration, answers against the truth,
how numbers are spread, maps of points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..errors import UsageError
from .figures import COLORS, PHONE, STYLE, WIDE, Canvas, compact, draw_chart, tick_text
from .words import figure

__all__ = ["CHARTS", "draw_forecasts"]

KEYS = ("train", "dev", "good", "bad", "muted")
LINES = tuple(COLORS[key] for key in KEYS)
FILES = (".png", ".svg", ".pdf")
MOST_DRAWN = 12
MANY = ("#2765a5", "#b84a08", "#246b3c", "#b3261f", "#7b4ea3", "#7a5a3a", "#b8467f", "#5a6b7b", "#8a7a10", "#11808c")
"""Colors of classes; of more classes, the largest have one."""


def _fans(panel: Mapping[str, Any]) -> str:
    """`fans`, each with `label`, `history`, `times`, `median`, `lower`, `upper` and `truth`."""
    parts = []
    for number, fan in enumerate(panel.get("fans") or []):
        if not fan.get("median"):
            continue
        times, past = fan.get("times") or [], len(fan.get("history") or [])
        ahead = times[past] if len(times) > past else ""
        alt = f"Median forecast from {_text(fan['median'][0])} to {_text(fan['median'][-1])}, from {ahead} on."
        keys = [("train", "median, 80 % interval"), ("muted", "the past")]
        if _numbers(fan.get("truth")).size:
            keys.append(("dev", "what came"))
        chart = draw_chart(f"forecast-{number}", str(fan.get("label") or ""), alt, keys,
                           lambda ax, canvas, fan=fan: draw_fan(ax, canvas, fan), FAN)  # fmt: skip
        parts.append(figure(chart))
    return f'<div class="pair">{"".join(parts)}</div>' if parts else ""


FAN = Canvas(500, 260, 12, 400, 5)


def draw_fan(ax: Axes, canvas: Canvas, fan: Mapping[str, Any]) -> None:
    """The past, the median with its interval, and what came."""
    history, median = _numbers(fan.get("history")), _numbers(fan.get("median"))
    past, ahead = np.arange(1 - len(history), 1), np.arange(1, len(median) + 1)
    ax.plot(past, history, color=COLORS["muted"], linewidth=1.3)
    band = (_numbers(fan.get("lower")), _numbers(fan.get("upper")))
    ax.fill_between(ahead, *band, color=COLORS["train"], alpha=0.22, linewidth=0)
    ax.plot(ahead, median, color=COLORS["train"], linewidth=1.8, **_dot(median))
    truth = _numbers(fan.get("truth"))
    if truth.size and np.isfinite(truth).any():
        ax.plot(ahead[: len(truth)], truth, color=COLORS["dev"], linewidth=1.4, **_dot(truth))
    ax.axvline(0.5, color=COLORS["muted"], linewidth=0.8, dashes=(3, 3))
    times = fan.get("times") or []
    first = int(past[0]) if len(past) else 1

    def name(value: float, _: object) -> str:
        place = round(value) - first
        return str(times[place]) if 0 <= place < len(times) else ""

    longest = max(map(len, map(str, times)), default=1)
    fits = max(2, int(canvas.width / (longest * canvas.font * 0.75)))
    ax.xaxis.set_major_locator(MaxNLocator(min(fits, canvas.ticks), integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(name))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    ax.grid(axis="y")


def _lines(panel: Mapping[str, Any]) -> str:
    """`lines`, each with `name` and `values` from step 1 on, and the axes' names `x` and `y`."""
    lines = [line for line in panel.get("lines") or [] if _numbers(line.get("values")).size][: len(LINES)]
    if not lines:
        return ""

    def draw(ax: Axes, canvas: Canvas) -> None:
        for line, color in zip(lines, LINES, strict=False):
            values = _numbers(line["values"])
            ax.plot(np.arange(1, len(values) + 1), values, color=color, linewidth=1.7, **_dot(values))
        ax.set_title(str(panel.get("y") or ""), loc="left")
        ax.set_xlabel(str(panel.get("x") or ""), loc="right")
        ax.set_ylim(bottom=0)
        ax.xaxis.set_major_locator(MaxNLocator(canvas.ticks, integer=True))
        ax.grid(axis="y")

    ends = [f"{line['name']}: {_text(line['values'][0])} at 1, {_text(line['values'][-1])} at "
            f"{len(line['values'])}." for line in lines]  # fmt: skip
    keys = [(kind, str(line["name"])) for kind, line in zip(KEYS, lines, strict=False)]
    return figure(draw_chart("by-step", "", " ".join([_title(panel), *ends]), keys, draw, WIDE, PHONE))


def _calibration(panel: Mapping[str, Any]) -> str:
    """`parts`, each with `name`, and shares `nominal` and `observed`."""
    parts = [part for part in panel.get("parts") or [] if _numbers(part.get("nominal")).size][: len(LINES)]
    if not parts:
        return ""

    def draw(ax: Axes, canvas: Canvas) -> None:
        ax.plot([0, 1], [0, 1], color=COLORS["muted"], linewidth=1.1, dashes=(5, 3))
        for part, color in zip(parts, LINES, strict=False):
            ax.plot(_numbers(part["nominal"]), _numbers(part["observed"]), color=color, linewidth=1.7, marker="o")
        ax.set_title(str(panel.get("y") or "share inside"), loc="left")
        ax.set_xlabel(str(panel.get("x") or "share that is meant to be inside"), loc="right")
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1)
        ax.grid(axis="y")

    words = []
    for part in parts:
        pairs = zip(part["nominal"], part["observed"], strict=True)
        inside = ", ".join(f"{100 * o:.0f} % where {100 * n:.0f} % are meant" for n, o in pairs)
        words.append(f"{part['name']}: {inside}.")
    keys = [(kind, f"{part['name']} part") for kind, part in zip(KEYS, parts, strict=False)]
    square = Canvas(380, 320, 12, 100, 5)
    return figure(draw_chart("calibration", "", " ".join([_title(panel), *words]), keys, draw, square))


def _scatter(panel: Mapping[str, Any]) -> str:
    """`points`, two lists of numbers, and the axes' names `x` and `y`; on the diagonal both are equal."""
    points = [_numbers(values) for values in panel.get("points") or []]
    if len(points) != 2 or not len(points[0]) or len(points[0]) != len(points[1]):
        return ""
    low, high = float(min(map(np.nanmin, points))), float(max(map(np.nanmax, points)))
    edge = 0.03 * (high - low) or 1.0

    def draw(ax: Axes, canvas: Canvas) -> None:
        ends = [low - edge, high + edge]
        ax.plot(ends, ends, color=COLORS["muted"], linewidth=1.1, dashes=(5, 3))
        ax.plot(*points, "o", color=COLORS["train"], markersize=3, alpha=0.45, markeredgewidth=0)
        ax.set_title(str(panel.get("y") or ""), loc="left")
        ax.set_xlabel(str(panel.get("x") or ""), loc="right")
        ax.set_xlim(*ends)
        ax.set_ylim(*ends)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
        ax.grid(axis="y")

    told = (
        f"{len(points[0])} points, correlation {np.corrcoef(points[0], points[1])[0, 1]:.3f}."
        if len(points[0]) > 2
        else ""
    )
    return figure(draw_chart("scatter", "", f"{_title(panel)} {told}", [], draw, Canvas(380, 320, 12, 100, 5)))


def _histogram(panel: Mapping[str, Any]) -> str:
    """`values`, and the axes' names `x` and `y`; what lies beyond the last percent is in the last bin."""
    values = _numbers(panel.get("values"))
    values = values[np.isfinite(values)]
    if not len(values):
        return ""
    low, high = float(values.min()), float(np.quantile(values, 0.99))
    edges = np.linspace(low, high if high > low else low + (abs(low) or 1.0), min(30, max(5, len(values) // 4)) + 1)
    shares = 100 * np.histogram(np.minimum(values, edges[-1]), edges)[0] / len(values)

    def draw(ax: Axes, canvas: Canvas) -> None:
        ax.bar(edges[:-1], shares, np.diff(edges), align="edge", color=COLORS["train"], alpha=0.8, linewidth=0)
        ax.set_title(str(panel.get("y") or ""), loc="left")
        ax.set_xlabel(str(panel.get("x") or ""), loc="right")
        ax.xaxis.set_major_locator(MaxNLocator(canvas.ticks))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
        ax.grid(axis="y")

    told = f"From {_text(low)} to {_text(values.max())}, half of them below {_text(np.median(values))}."
    return figure(draw_chart("histogram", "", f"{_title(panel)} {told}", [], draw, Canvas(600, 260, 12, 100, 7)))


def _map(panel: Mapping[str, Any]) -> str:
    """`points`, two lists of numbers; where they are known `classes`, a number for each point, and `names` of these."""
    points = [_numbers(values) for values in panel.get("points") or []]
    if len(points) != 2 or not len(points[0]) or len(points[0]) != len(points[1]):
        return ""
    names, classes = list(panel.get("names") or []), _numbers(panel.get("classes"))
    if len(classes) != len(points[0]):
        classes = np.zeros(len(points[0]))
    counts = [int((classes == number).sum()) for number in range(len(names))]
    shown = sorted(np.argsort(counts)[::-1][: len(MANY)].tolist())

    def draw(ax: Axes, canvas: Canvas) -> None:
        rest = ~np.isin(classes, shown)
        ax.plot(*(values[rest] for values in points), "o", color=COLORS["muted"], markersize=3, alpha=0.5)
        for number, color in zip(shown, MANY, strict=False):
            mine = classes == number
            ax.plot(*(values[mine] for values in points), "o", color=color, markersize=3, alpha=0.6)
        for number, color in zip(shown, MANY, strict=False):
            mine = [values[classes == number] for values in points]
            if len(mine[0]):
                x, y = (float(np.nanmedian(values)) for values in mine)
                box = {"facecolor": color, "edgecolor": "none", "boxstyle": "round,pad=0.2"}
                ax.text(
                    x, y, str(names[number])[:20], color="#ffffff", weight="bold", ha="center", va="center", bbox=box
                )
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines["bottom"].set_visible(False)

    told = f"{len(points[0])} points" + (f" of {len(names)} classes." if names else ".")
    return figure(draw_chart("map", "", f"{_title(panel)} {told}", [], draw, Canvas(600, 460, 12, 100, 5)))


def _title(panel: Mapping[str, Any]) -> str:
    """For those who hear the figure: its card has the title above it."""
    return f"{panel.get('title') or 'Chart'}."


CHARTS = {
    "forecast": _fans,
    "lines": _lines,
    "calibration": _calibration,
    "scatter": _scatter,
    "histogram": _histogram,
    "map": _map,
}
"""By the name of a panel, its renderer."""


def draw_forecasts(fans: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw forecasts, one above the other, into a PNG, SVG or PDF file.

    Raises:
        UsageError: the file's name says none of these, or it can't be written.
    """
    if path.suffix.lower() not in FILES:
        raise UsageError(f"--plot {path} is no picture; give a name that ends in {', '.join(FILES)}.")
    fans = fans[:MOST_DRAWN]
    with matplotlib.rc_context({**STYLE, "font.size": 10, "axes.titlesize": 11}):  # pyright: ignore
        page = Figure(figsize=(9, 3.2 * len(fans)), layout="constrained")
        canvas = FigureCanvasSVG(page) if path.suffix.lower() == ".svg" else FigureCanvasAgg(page)
        for number, fan in enumerate(fans):
            ax = page.add_subplot(len(fans), 1, number + 1)
            draw_fan(ax, FAN, fan)
            ax.set_title(str(fan.get("label") or ""), loc="left")
        try:
            canvas.figure.savefig(path, dpi=150, facecolor="white")
        except OSError as error:
            raise UsageError(f"{path} can't be written: {error.strerror or error}.") from error


def _numbers(values: Any) -> np.ndarray:
    return np.array([np.nan if v is None else float(v) for v in values or ()], np.float64)


def _dot(values: np.ndarray) -> dict[str, Any]:
    """A line of one point needs a mark."""
    return {"marker": "o", "markersize": 4} if np.isfinite(values).sum() == 1 else {}


def _text(value: Any) -> str:
    return compact(None if value is None else float(value))
