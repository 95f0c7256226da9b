"""The bar chart of `carousel bench`: every rival's time over that of `torch.nn.LSTM`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from ..report.figures import COLORS, STYLE
from .run import BASE, PASSES

__all__ = ["write_chart"]

LETTERS = {"font.size": 10.5, "axes.titlesize": 11, "axes.labelsize": 10, "xtick.labelsize": 9.5, "ytick.labelsize": 10}


def write_chart(result: dict[str, Any], folder: str | Path) -> list[Path]:
    """`bench.svg` and `bench.png` in the folder, from what `compare` returned."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    style: dict[Any, Any] = {**STYLE, **LETTERS}
    with matplotlib.rc_context(style):
        figure = _figure(result)
        paths = [folder / "bench.svg", folder / "bench.png"]
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        with paths[0].open("w", encoding="utf-8") as file:
            FigureCanvasSVG(figure).print_svg(file, metadata=nothing)
        figure.set_dpi(150)
        FigureCanvasAgg(figure).print_png(paths[1])
    return paths


def _figure(result: dict[str, Any]) -> Figure:
    rows = result["rows"]
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in rows))
    names = list(dict.fromkeys(row["rival"] for row in rows))
    height = 1.1 + len(shapes) * (0.34 + 0.24 * len(names))
    figure = Figure(figsize=(9.6, height), layout=ConstrainedLayoutEngine(w_pad=4 / 72, h_pad=4 / 72))
    figure.patch.set_facecolor("#ffffff")
    about = result["environment"]
    title = f"{result['cell']}: time / {BASE}   ({about['processor']}, {about['threads']} threads)"
    figure.suptitle(title, color=COLORS["ink"], ha="left", x=0.012, fontsize=11.5)
    left, right = figure.subplots(1, 2, sharey=True)
    for ax, (name, words) in zip((left, right), PASSES.items(), strict=True):
        _panel(ax, [row for row in rows if row["pass"] == name], shapes, names)
        ax.set_title(words, loc="left")
    return figure


def _panel(ax: Axes, rows: list[dict[str, Any]], shapes: list[tuple[int, ...]], names: list[str]) -> None:
    """One group of bars for each shape, from the top; the first rival is the one that it is about."""
    step = len(names) + 1.4
    ratios = {(tuple(row["shape"]), row["rival"]): row for row in rows}
    most = max((row["ratio"] for row in rows), default=1.0)
    ticks, labels = [], []
    for group, shape in enumerate(shapes):
        ticks.append(group * step - 1)
        labels.append(f"{shape[0]} steps, batch {shape[1]}, {shape[2]} units")
        for place, name in enumerate(names):
            at = group * step + place
            ticks.append(at)
            labels.append(name)
            row = ratios.get((shape, name))
            if row is None:
                continue
            color = COLORS["train"] if place == 0 else COLORS["muted"]
            ax.barh(at, row["ratio"], height=0.72, color=color, alpha=1.0 if place == 0 else 0.45)
            label = f"{row['ratio']:.2f}  ({row['ms']:,.3g} ms)"
            behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # legible where the line at 1 crosses it
            ax.text(row["ratio"] + 0.015 * most, at, label, va="center", zorder=5, bbox=behind)
    ax.axvline(1.0, color=COLORS["ink"], linewidth=0.9, dashes=(4, 2.5))
    ax.set_yticks(ticks, labels)
    for label in ax.get_yticklabels()[:: len(names) + 1]:
        label.set_color(COLORS["ink"])
    ax.set_ylim(len(shapes) * step - 1.6, -1.6)
    ax.set_xlim(0, 1.6 * max(most, 1.0))
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.grid(axis="x")
