"""Markdown as the recipes write it, by markdown-it, as parts of a page of the gallery.

What is more than CommonMark: tables, LaTeX as MathML (paragraphs in `$$`, blocks of `math`), pictures that stand alone,
bare addresses, and the line that runs a recipe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, NamedTuple

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from .words import shown

__all__ = ["Part", "Picture", "first_image", "parts_of", "words_of"]

ADDRESS = re.compile(r"https?://[^\s<>]*[^\s<>.,;:)]")


class Part(NamedTuple):
    """What stands under a heading, as HTML; the first part has none."""

    title: str
    body: str


class Picture(NamedTuple):
    """Where a picture is, and its width and height as attributes."""

    address: str
    size: str


class _Renderer(RendererHTML):
    """HTML of tokens. `env` has `pictures` (by name), `describe` and `anchors`."""

    def code_block(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Commands are set apart; equations and programs keep their columns, and what is marked as math is LaTeX."""
        if tokens[idx].info == "math":
            return _equation(tokens[idx].content)
        lines = tokens[idx].content.rstrip().splitlines()
        if not all(line.startswith("carousel ") for line in lines):
            return f'<pre class="block" tabindex="0">\n{shown(tokens[idx].content.rstrip())}</pre>\n'
        rows = []
        for line in lines:
            command, _, about = line.partition(" #")
            note = f'<p class="quiet">{shown(about.strip())}</p>' if about.strip() else ""
            rows.append(f"<li>{note}<code>{shown(command.strip())}</code></li>")
        return f'<ul class="commands">{"".join(rows)}</ul>\n'

    fence = code_block

    def code_inline(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """The name of a file that is shown on the page leads there."""
        name = tokens[idx].content
        code = f"<code>{shown(name)}</code>"
        return f'<a href="#{shown(name)}">{code}</a>' if name in env["anchors"] else code

    def image(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A picture that leads to itself in full size; of one that was not drawn yet its name."""
        token = tokens[idx]
        alt, picture = env["describe"](" ".join(token.content.split())), env["pictures"].get(token.attrs["src"])
        if picture is None:
            return f'<span class="missing">The run draws {shown(token.attrs["src"])} here.</span>'
        address = shown(picture.address)
        return f'<a href="{address}"><img src="{address}"{picture.size} alt="{shown(alt)}"></a>'

    def text(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Text; addresses are links, where they are not in one."""
        words = tokens[idx].content
        if idx and tokens[idx - 1].type == "link_open":
            return shown(words, len(words))
        return "".join(
            f'<a href="{shown(piece)}">{shown(piece)}</a>' if ADDRESS.fullmatch(piece) else shown(piece, len(piece))
            for piece in re.split(f"({ADDRESS.pattern})", words)
        )

    def table_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A table scrolls by itself."""
        return '<div class="card scroll"><table class="wide">'

    def table_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Its end."""
        return "</table></div>\n"


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")


def parts_of(
    text: str,
    *,
    pictures: Mapping[str, Picture],
    describe: Callable[[str], str] = str,
    anchors: Container[str] = (),
) -> list[Part]:
    """The parts of a text, a heading each; its title (the first-level heading) is left out.

    Args:
        text: Markdown.
        pictures: by the name that the text gives them.
        describe: a picture's alternative text -> the one that is shown.
        anchors: the names of files that the page shows; `code` of such a name is a link.
    """
    parser, env = _parser(), {"pictures": pictures, "describe": describe, "anchors": anchors}
    parts: list[tuple[str, list[Token]]] = [("", [])]
    tokens = parser.parse(text)
    place = 0
    while place < len(tokens):
        token = tokens[place]
        if token.type == "heading_open" and token.tag in ("h1", "h2"):
            if token.tag == "h2":
                title = parser.renderer.render([tokens[place + 1]], parser.options, env)
                parts.append((title, []))
            place += 3
        elif token.type == "paragraph_open" and (alone := _alone(parser, tokens[place + 1], env)):
            parts[-1][1].append(Token("html_block", "", 0, content=alone))
            place += 3
        else:
            parts[-1][1].append(token)
            place += 1
    return [Part(title, parser.renderer.render(found, parser.options, env)) for title, found in parts]


def _alone(parser: MarkdownIt, inline: Token, env: dict[str, Any]) -> str:
    """A paragraph that is one equation or one picture, as HTML; nothing of any other."""
    equation = re.fullmatch(r"\$\$(.+)\$\$", inline.content.strip(), re.DOTALL)
    if equation:
        return _equation(equation[1])
    if [child.type for child in inline.children or []] == ["image"]:
        return f'<figure class="picture">{parser.renderer.render([inline], parser.options, env)}</figure>\n'
    return ""


def _equation(latex: str) -> str:
    """LaTeX as MathML, which browsers set without any script."""
    return f'<div class="block equation">{convert(latex.strip(), display="block")}</div>\n'


def first_image(text: str, names: Container[str]) -> str | None:
    """The address of the first image of a text that is one of these names."""
    children = [child for token in _parser().parse(text) for child in token.children or []]
    found = (str(child.attrs["src"]) for child in children if child.type == "image")
    return next((address for address in found if address in names), None)


def words_of(text: str) -> str:
    """A text without its marks, for a search."""
    found = []
    for token in _parser().parse(text):
        if token.type in ("code_block", "fence"):
            found.append(token.content)
        for child in token.children or []:
            found.append(" " if child.type == "softbreak" else child.content)
        found.append(" ")
    return "".join(found)
