"""A text with each character colored by the value of a unit, as a page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

import numpy as np
from numpy.typing import NDArray

__all__ = ["colored_text", "sections_page"]

LEVELS = 4
"""Shades on each side of zero."""


def colored_text(text: Sequence[str], values: NDArray[np.floating], label: str = "") -> str:
    """HTML of a text whose characters are colored by a unit.

    Blue is positive, orange negative; the more, the darker. In gray a line below marks what is negative.

    Args:
        text: characters, or other tokens.
        values: (tokens,) of the unit; the largest magnitude (its 99th percentile) is the darkest shade.
        label: what the picture shows, for those who cannot see it.

    Example:
        >>> colored_text("ab", np.array([1.0, -1.0]))
        '<pre class="unit" role="img" aria-label=""><i class="p4">a</i><i class="n4">b</i></pre>'
    """
    if len(text) != len(values):
        raise ValueError(f"colored_text got {len(text)} tokens and {len(values)} values")
    largest = float(np.percentile(np.abs(values), 99)) if len(values) else 0.0
    shades = np.clip(np.rint(LEVELS * values / (largest or 1.0)), -LEVELS, LEVELS).astype(int).tolist()
    pieces: list[str] = []
    begin = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or shades[place] != shades[begin]:
            run, shade = escape("".join(text[begin:place])), shades[begin]
            run = run.replace("\n", "↵\n")
            pieces.append(run if shade == 0 else f'<i class="{"p" if shade > 0 else "n"}{abs(shade)}">{run}</i>')
            begin = place
    return f'<pre class="unit" role="img" aria-label="{escape(label, quote=True)}">{"".join(pieces)}</pre>'


def sections_page(title: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """A page of its own.

    Args:
        title: of the page.
        sections: of each a heading, a sentence, and HTML such as that of `colored_text`.
    """
    body = "\n".join(
        f"<section><h2>{escape(head)}</h2>\n<p>{escape(said)}</p>\n{html}</section>" for head, said, html in sections
    )
    page = Template(files("carousel.inspect").joinpath("page.html").read_text("utf-8"))
    return page.substitute(title=escape(title), body=body)
