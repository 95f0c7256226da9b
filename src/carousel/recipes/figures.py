"""Lines of a recipe's figure that only their color tells apart get dashes, so that gray paper shows them too."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["DASHES", "tell_apart"]

DASHES = ((5.0, 2.0), (1.2, 1.4), (6.0, 1.6, 1.2, 1.6), (2.6, 1.2), (9.0, 1.6, 1.2, 1.6, 1.2, 1.6), (10.0, 3.0),
          (2.0, 3.0), (4.0, 1.5, 4.0, 4.0))  # fmt: skip
"""On and off in widths of the line, of the second color on; the first stays solid."""


def tell_apart(figure: Figure) -> None:
    """Give solid lines of each further color dashes of their own, in all axes the same, and in the legends.

    Axes whose solid lines have one color, or differ in lightness alone, are left as they are, and so are lines that
    have dashes already.

    Example:
        >>> from matplotlib.figure import Figure
        >>> figure = Figure()
        >>> a, b, c = (figure.gca().plot([1, 2, 3], color=color)[0] for color in ("C0", "C1", "black"))
        >>> tell_apart(figure)
        >>> [line.is_dashed() for line in (a, b, c)]
        [False, True, False]
    """
    found: list[str] = []
    for axes in figure.axes:
        colors = dict.fromkeys(_color(line) for line in _solid(axes))
        found += [color for color in colors if color not in found] if len(colors) > 1 else []
    dashes = dict(zip(found[1:], DASHES * len(found), strict=False))
    legends = [legend for legend in (*(axes.get_legend() for axes in figure.axes), *figure.legends) if legend]
    for lines in (*map(_solid, figure.axes), *(_of_color(legend.get_lines()) for legend in legends)):
        for line in lines:
            if _color(line) in dashes:
                line.set_linestyle((0, dashes[_color(line)]))


def _solid(axes: Axes) -> list[Line2D]:
    return _of_color([line for line in axes.get_lines() if len(line.get_xydata()) > 2])  # pyright: ignore


def _of_color(lines: list[Line2D]) -> list[Line2D]:
    """The solid ones that are not black, white or gray, but for the gray of matplotlib's cycle of colors."""
    solid = [line for line in lines if line.get_linestyle() == "-"]
    return [line for line in solid if len({*wrap(_color(line)[1:], 2)}) > 1 or _color(line) == "#7f7f7f"]


def _color(line: Line2D) -> str:
    from matplotlib.colors import to_hex

    return to_hex(line.get_color())
