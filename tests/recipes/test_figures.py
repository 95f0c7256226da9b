"""Figures in gray: which lines get dashes, and which are left alone."""

from __future__ import annotations

import doctest

from matplotlib.figure import Figure

from carousel.recipes import figures
from carousel.recipes.figures import DASHES, tell_apart

X = [0, 1, 2]


def test_example() -> None:
    assert doctest.testmod(figures).failed == 0


def test_a_color_has_the_same_dashes_in_all_axes_and_in_the_legend() -> None:
    figure = Figure()
    left, middle, right = figure.subplots(1, 3)
    for color in ("C0", "C1", "C1", "C2"):
        left.plot(X, X, color, label=color)
    middle.plot(X, X, "C2")
    middle.plot(X, X, "C0", marker="o")
    (alone,) = right.plot(X, X, "C1")
    left.legend()
    tell_apart(figure)
    styles = [line._dash_pattern[1] for line in left.get_lines()]
    assert [None if style is None else tuple(style) for style in styles] == [
        None, *(tuple(1.5 * part for part in DASHES[number]) for number in (0, 0, 1))
    ]  # fmt: skip
    assert [line.is_dashed() for line in middle.get_lines()] == [True, False]
    assert alone.is_dashed()  # as in the other axes
    assert [line.is_dashed() for line in left.get_legend().get_lines()] == [False, True, True, True]


def test_what_is_told_apart_already_stays() -> None:
    figure = Figure()
    axes = figure.gca()
    lines = [axes.plot(X, X, style)[0] for style in ("C0", "C1--", "k", "C2.")]
    lines.append(axes.axhline(1, color="C3"))
    before = [(line.get_linestyle(), line._dash_pattern) for line in lines]
    tell_apart(figure)
    assert [(line.get_linestyle(), line._dash_pattern) for line in lines] == before
