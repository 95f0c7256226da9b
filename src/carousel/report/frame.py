"""What all pages have in common: head, style, header and footer, and what a browser may load for them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from string import Template

from .words import shown

__all__ = ["asset", "colophon", "framed", "heading", "navigation", "sections"]

Section = tuple[str, str, str]
"""Its anchor, its heading, and what stands in it, as HTML."""


def asset(name: str) -> str:
    """The text of a file beside this one."""
    return files("carousel.report").joinpath(name).read_text("utf-8").strip()


def colophon(words: str) -> str:
    """A footer that says who wrote the page."""
    return f'<footer>\n<p class="colophon">Written by Carousel. {words}</p>\n</footer>'


def framed(
    title: str,
    *,
    kind: str,
    header: str,
    main: str,
    program: str = "Carousel",
    styles: Sequence[str] = (),
    footer: str | None = None,
    images: str = "data:",
    script: str | None = None,
) -> str:
    """A whole page; all arguments but `title` are HTML already, or of our own.

    Args:
        title: what it is about.
        kind: what sort of page it is, beside the name of Carousel.
        header: under that.
        main: the page's main part.
        program: behind the title, in the browser's list of pages.
        styles: files of styles, on top of `style.css`.
        footer: the page's last part; that it is one file if not given.
        images: from where pictures may come, as the Content-Security-Policy says it.
        script: the one that may run; none may if not given.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() if script else ""
    return Template(asset("frame.html")).substitute(
        images=images,
        scripts=f"'sha256-{digest}'" if script else "'none'",
        title=shown(title, 300),
        program=program,
        style="\n".join(map(asset, ("style.css", *styles))),
        kind=kind,
        header=header,
        main=main,
        footer=footer or colophon("This page is one file and needs no network."),
        script=f"<script>{script}</script>" if script else "",
    )


def heading(title: str, status: str, status_class: str, rest: str) -> str:
    """The title and, under it, a colored word and what goes with it, as HTML."""
    return (
        f"<h1><bdi>{shown(title, 300)}</bdi></h1>\n"
        f'<p class="run"><span class="status {status_class}">{shown(status)}</span> {rest}</p>'
    )


def navigation(parts: Sequence[Section]) -> str:
    """Links to the sections."""
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in parts)
    return f'<nav aria-label="Sections">{links}</nav>'


def sections(parts: Sequence[Section]) -> str:
    """The sections themselves."""
    return "\n".join(f'<section id="{anchor}">\n<h2>{title}</h2>\n{body}\n</section>' for anchor, title, body in parts)
