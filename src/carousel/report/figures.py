"""Figures as inline SVG: small, the same bytes every time, colored by the page's CSS variables."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

__all__ = [
    "COLORS",
    "PHONE",
    "SMALL",
    "STYLE",
    "WIDE",
    "Canvas",
    "Chart",
    "Series",
    "Span",
    "compact",
    "draw_chart",
    "draw_line",
    "draw_noisy",
    "even_ticks",
    "journey",
    "loss_limits",
    "loss_text",
    "mark_lost",
    "ratio_ticks",
    "read_number",
    "series",
    "set_axes",
    "smoothed",
    "thinned",
    "tick_text",
]

HUGE = 1e30  # beyond this a metric counts as "not finite": no axis shows it
COLORS = {  # drawn in these, then turned into `var(--name, color)`, which follows light, dark and print
    "ink": "#20242a",
    "muted": "#5d6570",
    "grid": "#e4e2dd",
    "train": "#2765a5",
    "dev": "#b84a08",
    "bad": "#b3261f",
    "good": "#246b3c",
}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "carousel",
    "font.family": ["DejaVu Sans"],  # measured with this wide face, shown in the page's own
    "text.usetex": False,
    "text.parse_math": False,
    "text.color": COLORS["muted"],
    "axes.titlecolor": COLORS["muted"],
    "axes.labelcolor": COLORS["muted"],
    "axes.edgecolor": COLORS["muted"],
    "axes.linewidth": 0.8,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.grid": False,
    "grid.color": COLORS["grid"],
    "grid.linewidth": 0.8,
    "grid.linestyle": "-",
    "xtick.color": COLORS["muted"],
    "ytick.color": COLORS["muted"],
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
    "lines.markeredgewidth": 0,
    "path.sketch": None,
    "path.simplify": True,
    "path.simplify_threshold": 0.15,
}
Span = tuple[float, float]
ROUND = [1, 2, 2.5, 5, 10]
LETTERS = ("font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize")


@dataclass(frozen=True)
class Series:
    """One metric over the steps: its finite values, and the steps at which it was NaN, infinite or absurdly large."""

    steps: np.ndarray
    values: np.ndarray
    lost: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class Chart:
    """A figure for the page. `narrow` is the drawing for a phone, where a wide one would shrink to tiny letters."""

    name: str
    title: str
    svg: str
    narrow: str | None
    keys: list[tuple[str, str]]  # (CSS class of the swatch, label)


@dataclass(frozen=True)
class Canvas:
    """A size in CSS pixels, the letters on it, and how many bins of points fit across."""

    width: int
    height: int
    font: float
    bins: int
    ticks: int


WIDE = Canvas(980, 380, 13, 420, 9)
SMALL = Canvas(350, 235, 12, 160, 5)
PHONE = Canvas(350, 285, 12, 170, 5)


def read_number(value: Any) -> float | None:
    """`value` as a float, or None where it is no number; NaN and infinities pass."""
    if value is None or isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def series(metrics: Iterable[Mapping[str, Any]], key: str) -> Series:
    """Column `key` of the metrics, ordered by step; a line without a step counts by its place."""
    return paired((line.get("step"), line.get(key)) for line in metrics)


def paired(points: Iterable[Sequence[Any]]) -> Series:
    """Steps and values, ordered by step; what has no value is left out, and without a step its place counts."""
    pairs = list(points)
    plain = {type(number) for pair in pairs for number in pair} <= {int, float}
    rows = [(place, step, value) for place, (step, value) in enumerate(pairs)]
    try:
        table = np.array(rows if plain else _read(rows), np.float64)
    except OverflowError:  # an integer beyond all floats
        table = np.array(_read(rows), np.float64)
    places, steps, values = table.reshape(-1, 3).T
    steps = np.where(np.abs(steps) < HUGE, steps, places)
    good = np.abs(values) < HUGE
    order = np.argsort(steps[good], kind="stable")
    return Series(steps[good][order], values[good][order], sorted(steps[~good].tolist()))


def _read(rows: Iterable[tuple[int, Any, Any]]) -> list[tuple[int, float, float]]:
    """Places, steps (NaN where there is none) and values, where there is one."""
    read = ((place, read_number(step), read_number(value)) for place, step, value in rows)
    return [(place, math.nan if step is None else step, value) for place, step, value in read if value is not None]


def compact(value: float | None, digits: int = 4) -> str:
    """A number for a person: `1.5`, `12,000`, `3·10⁻⁷`, `NaN`, and a dash where there is none."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if value and not 1e-4 <= abs(value) < 1e12:
        mantissa, exponent = f"{value:.{max(digits - 2, 0)}e}".split("e")
        power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{_trim(mantissa)}·10{power}".replace("-", "−").replace("−1·10", "−10").removeprefix("1·")
    value += 0.0  # no "−0"
    places = max(digits - 1 - math.floor(math.log10(abs(value))), 0) if value else 0
    return _trim(f"{value:,.{places}f}").replace("-", "−")


def loss_text(value: float | None) -> str:
    """A loss with three decimals always, so that losses side by side compare at a glance."""
    usual = value is not None and (value == 0 or 1e-3 <= abs(value) < 1e6)
    return f"{value:,.3f}".replace("-", "−") if usual else compact(value)


def _trim(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def set_axes(ax: Axes, canvas: Canvas, span: Span, low: float, high: float, *, log: bool = False) -> None:
    """Limits, ticks and grid; ticks are set by hand where matplotlib's logarithmic ones would need mathtext."""
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(FixedLocator(ratio_ticks(low, high)))
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(6 if canvas is WIDE else 5, steps=ROUND))
    ax.set_ylim(low, high)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    first, last = span
    pad = 0.012 * (last - first) or 1.0
    ax.set_xlim(first - pad, last + pad)
    ticks = MaxNLocator(canvas.ticks, integer=True, steps=ROUND) if first < last else FixedLocator([first])
    ax.xaxis.set_major_locator(ticks)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    ax.set_xlabel("step", loc="right")
    ax.grid(axis="y")


def draw_noisy(ax: Axes, raw: Series, smooth: Series | None, canvas: Canvas, color: str) -> None:
    """The logged values, faint, under their smoothed line; a short series is drawn once, plainly."""
    if smooth:
        ax.plot(*thinned(raw, canvas.bins), color=color, alpha=0.32, linewidth=0.8)
    draw_line(ax, thinned(smooth or raw, canvas.bins), color)


def draw_line(ax: Axes, points: tuple[np.ndarray, np.ndarray], color: str, **style: Any) -> None:
    """A line, or a dot where there is a single point to show."""
    dot = {"marker": "o", "markersize": 5} if len(points[0]) == 1 else {}
    ax.plot(*points, color=color, **{"linewidth": 1.9, **style, **dot})


def mark_lost(ax: Axes, data: Series) -> None:
    if data.lost:
        ax.axvline(data.lost[0], color=COLORS["bad"], linewidth=1.4, dashes=(2, 2))


def loss_limits(train: Series, smooth: Series | None, dev: Series) -> tuple[float, float, bool]:
    """Bottom and top of the loss axis, and whether it is logarithmic; lone outliers of the raw loss may leave it."""
    calm = (smooth or train).values
    outer = max(1, len(train) // 200)
    inner = np.sort(train.values)[outer:-outer] if smooth else calm
    values = np.concatenate([calm, inner, dev.values])
    low, high = float(values.min()), float(values.max())
    if low > 0 and high > 20 * low:
        return low / 1.15, high * 1.15, True
    pad = 0.04 * (high - low) or 0.1 * abs(high) or 1.0
    return low - pad, high + pad, False


def smoothed(data: Series, most: int = 1_200) -> Series | None:
    """A moving mean of the middle half: deaf to lone spikes, and centered, so that a falling loss is not drawn late."""
    if len(data) < 40:
        return None
    if len(data) > most:
        steps, values = _means(data.steps, most), _means(data.values, most)
        steps[[0, -1]] = data.steps[[0, -1]]
        data = Series(steps, values)
    count, reach = len(data), max(2, len(data) // 60)
    begin = [_middle(data.values[: 2 * place + 1]) for place in range(reach)]
    whole = _middle(np.lib.stride_tricks.sliding_window_view(data.values, 2 * reach + 1))
    end = [_middle(data.values[place - reach :]) for place in range(count - reach, count)]
    return Series(data.steps, np.concatenate([begin, whole, end]))


def _means(values: np.ndarray, count: int) -> np.ndarray:
    """The middle means of so many parts in a row, as equal as they can be."""
    size, longer = divmod(len(values), count)
    cut = longer * (size + 1)
    return np.concatenate([_middle(values[:cut].reshape(-1, size + 1)), _middle(values[cut:].reshape(-1, size))])


def _middle(values: np.ndarray) -> np.ndarray:
    """(…, values) to (…): the mean without the lowest and the highest quarter."""
    quarter = (values.shape[-1] + 1) // 4
    return np.sort(values, axis=-1)[..., quarter : values.shape[-1] - quarter].mean(-1)


def thinned(data: Series, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """At most two points per bin, its lowest and its highest, so that no spike is lost."""
    count = len(data)
    if count <= 2 * bins:
        return data.steps, data.values
    parts = np.array_split(np.arange(count), bins)
    extremes = [part[pick(data.values[part])] for part in parts for pick in (np.argmin, np.argmax)]
    keep = np.unique([0, *extremes, count - 1])
    return data.steps[keep], data.values[keep]


def even_ticks(low: float, high: float) -> list[float]:
    """Round numbers between them, at most seven."""
    return [float(tick) for tick in MaxNLocator(6, steps=ROUND).tick_values(low, high) if low <= tick <= high]


def ratio_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers between two positive ones on a logarithmic axis: 1, 2, 5 in each decade where they fit."""
    if high < 4 * low:
        return even_ticks(low, high)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for leads in ((1, 2, 5), (1, 3), (1,)):
        ticks = [lead * 10.0**decade for decade in decades for lead in leads if low <= lead * 10.0**decade <= high]
        if len(ticks) <= most:
            break
    return ticks[:: math.ceil(len(ticks) / most)]


def tick_text(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size <= abs(value) < 1e12:
            unit = 1e3 if letter == "k" else size
            return f"{value / unit:g}{letter}".replace("-", "−")
    if value and not 1e-4 <= abs(value) < 1e12:
        return compact(value, 3)
    return f"{value:,g}".replace("-", "−")


def journey(name: str, data: Series) -> str:
    """One sentence on where a curve starts and ends, for those who hear the figure instead of seeing it."""
    if not len(data):
        return ""
    first, last = (f"{compact(data.values[place])} at step {compact(data.steps[place], 9)}" for place in (0, -1))
    return f"{name}: from {first} to {last}." if len(data) > 1 else f"{name}: {first}."


def draw_chart(
    name: str,
    title: str,
    alt: str,
    keys: list[tuple[str, str]],
    draw: Callable[[Axes, Canvas], None],
    canvas: Canvas,
    phone: Canvas | None = None,
) -> Chart:
    label = " ".join(f"{title}. {alt}".split() if title else alt.split())
    narrow = _svg(f"{name}-narrow", label, draw, phone) if phone else None
    return Chart(name, title, _svg(name, label, draw, canvas), narrow, keys)


def _svg(name: str, label: str, draw: Callable[[Axes, Canvas], None], canvas: Canvas) -> str:
    style: dict[Any, Any] = {**STYLE, **dict.fromkeys(LETTERS, canvas.font)}
    with matplotlib.rc_context(style):
        layout = ConstrainedLayoutEngine(w_pad=1 / 72, h_pad=1 / 72)
        figure = Figure(figsize=(canvas.width / 72, canvas.height / 72), layout=layout)
        figure.patch.set_visible(False)
        draw(figure.add_subplot(), canvas)
        buffer = io.BytesIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _inline(buffer.getvalue().decode(), name, label)


def _inline(svg: str, name: str, label: str) -> str:
    """Matplotlib's file as an element of a page: only the ids in use, the page's font, colors as variables."""
    root = ElementTree.fromstring(svg)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.tail = None
        attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        if attributes.get("id") not in used:
            attributes.pop("id", None)
        element.attrib = {key: _short(key, value, name) for key, value in attributes.items()}
        if element.tag != "text":
            element.text = None
    box = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label, "class": f"plot plot-{name}"}
    root.attrib = {**box, "stroke-linejoin": "round"}
    return ElementTree.tostring(root, encoding="unicode")


def _short(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return f"#{name}-{value[1:]}"
    if key == "clip-path":
        return value.replace("url(#", f"url(#{name}-")
    if key in {"d", "x", "y", "width", "height", "transform"}:
        value = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), value)
        return " ".join(value.split())
    if key == "style":
        value = re.sub(r"font-family:[^;]*;\s*", "", value)
        value = re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", value)  # as matplotlib before 3.11 spells it
        for color, code in COLORS.items():
            value = value.replace(code, f"var(--{color}, {code})")
    return value
