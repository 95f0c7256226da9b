"""A map of words as a picture, on which no label overlaps another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .charts import draw
from .embeddings import Map
from .pictures import MUTED, Picture, blank

__all__ = ["map_picture"]

SPOTS = [
    (distance * x, distance * y)
    for distance in (1.0, 2.6)
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 0.8), (-0.8, 0.8), (0.8, -0.8), (-0.8, -0.8))
]
"""Where a label may stand beside its point, the best first; the far ones get a line."""


def map_picture(found: Map, *, most: int = 400, size: tuple[float, float] = (7.5, 7.5)) -> Picture:
    """Words in the plane. No two labels overlap, and none hides a point: one without room is left out, the first stay.

    Args:
        found: of `map2d`.
        most: labels that are tried, from the first word on.
        size: in inches.
    """
    points = found.points.double().numpy()
    with blank(constrained=False) as figure:
        figure.set_size_inches(*size)
        axes = figure.add_axes((0.03, 0.06, 0.94, 0.88))
        axes.scatter(points[:, 0], points[:, 1], s=7, color=MUTED, linewidths=0)
        axes.margins(0.08)
        axes.set(xticks=[], yticks=[])
        if found.method == "pca":
            axes.set_aspect("equal", adjustable="datalim")
            shares = found.explained.tolist() if found.explained is not None else [0.0, 0.0]
            axes.set_xlabel(f"first component, {shares[0]:.0%} of the variance")
            axes.set_ylabel(f"second component, {shares[1]:.0%}", labelpad=2)
        words = found.words or []
        drawn = _label(figure, axes, points, words[:most])
        left = len(words) - len(drawn)
        title = f"{len(points)} vectors by {'PCA' if found.method == 'pca' else 't-SNE (distances mean little)'}"
        title += f", {left} labels without room left out" if left else ""
        axes.set_title(title)
    listed = f" Labeled: {', '.join(drawn[:30])}{' …' if len(drawn) > 30 else ''}." if drawn else ""
    return Picture(figure, f"{title}.{listed}")


def _label(figure: Figure, axes: Axes, points: np.ndarray, words: Sequence[str]) -> list[str]:
    """Greedy: each label at the first spot where it meets no label, no point and no border. Gives those drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # settles the limits
    renderer = canvas.get_renderer()
    at = axes.transData.transform(points)
    frame = axes.get_window_extent(renderer)
    near = 5.0 * figure.dpi / 72
    marks = np.concatenate([at - near / 3, at + near / 3], 1)
    taken = np.empty((0, 4))
    drawn = []
    for number, word in enumerate(words):
        text = axes.text(0, 0, word, fontsize=8, transform=None, ha="center", va="center")
        extent = text.get_window_extent(renderer)
        half = np.array([extent.width, extent.height]) / 2
        for dx, dy in SPOTS:
            away = np.array([dx, dy])
            center = at[number] + away * near + np.sign(away) * half
            box = np.concatenate([center - half - 1, center + half + 1])
            inside = box[0] > frame.x0 and box[1] > frame.y0 and box[2] < frame.x1 and box[3] < frame.y1
            if inside and not _meets(box, taken) and not _meets(box, marks):
                break
        else:
            text.remove()
            continue
        x, y = axes.transData.inverted().transform(center)
        text.set(position=(x, y), transform=axes.transData)
        if max(abs(dx), abs(dy)) > 2:
            edge = np.clip(at[number], box[:2], box[2:])
            line = axes.transData.inverted().transform([at[number], edge])
            axes.plot(line[:, 0], line[:, 1], color=MUTED, linewidth=0.5, scalex=False, scaley=False, zorder=0)
        taken = np.concatenate([taken, box[None]])
        drawn.append(word)
    return drawn


def _meets(box: np.ndarray, others: np.ndarray) -> bool:
    """Left, bottom, right, top of one and of many."""
    apart = (others[:, 2] <= box[0]) | (others[:, 0] >= box[2]) | (others[:, 3] <= box[1]) | (others[:, 1] >= box[3])
    return bool((~apart).any())


draw.register(Map, lambda found, **options: map_picture(found, **options).figure)
