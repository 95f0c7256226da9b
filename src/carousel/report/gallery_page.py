"""One recipe's page of the gallery: its README, with the table, the facts and the files of its result."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..errors import RunFolderError
from .frame import asset, colophon, framed
from .markdown import Part, Picture, first_image, parts_of, words_of
from .words import shown, table

__all__ = ["Entry", "Topic", "first_picture", "page_of", "plural", "size_of", "text_of", "website"]

BEGIN, END = "<!-- result -->", "<!-- end of result -->"
PICTURES = (".svg", ".png")
MOST_CHARACTERS = 100_000


@dataclass(frozen=True)
class Entry:
    """A recipe, as the gallery shows it.

    Args:
        name: its name, that of its page.
        title: what it is, in a few words.
        readme: its page of explanation, in Markdown.
        result: what `result.json` holds; None of a recipe that was not run.
        wrote: the folder with what the run wrote.
        code: its Python files, as text by name.
        digest: the digest of its code now.
        own: whether the result is the reader's own, and not the one that is stored with the recipe.
    """

    name: str
    title: str
    readme: str
    result: Mapping[str, Any] | None
    wrote: Path
    code: Mapping[str, str]
    digest: str
    own: bool = False

    @property
    def heading(self) -> str:
        """The title as a heading."""
        return self.title[:1].upper() + self.title[1:]

    @property
    def claims(self) -> Sequence[Mapping[str, Any]]:
        """What was expected and measured."""
        return self.result["claims"] if self.result else []

    @cached_property
    def texts(self) -> dict[str, str]:
        """The texts that the run wrote, by name."""
        return {path.name: _read(path) for path in self._written() if path.suffix == ".txt"}

    def pictures(self) -> dict[str, Path]:
        """The pictures that the run wrote, by name."""
        return {path.name: path for path in self._written() if path.suffix in PICTURES}

    def _written(self) -> list[Path]:
        return sorted(path for path in self.wrote.glob("*.*") if path.is_file()) if self.result else []

    def verdict(self) -> str:
        """How many claims are met, as HTML."""
        met = sum(claim["met"] for claim in self.claims)
        own = " · your own run" if self.own else ""
        smoke = " · smoke run" if self.result and self.result.get("smoke") else ""
        return f"{_sign(met == len(self.claims))} {met} of {plural(len(self.claims), 'claim')} met{own}{smoke}"


@dataclass(frozen=True)
class Topic:
    """A topic of the lectures, and its recipes in their order."""

    title: str
    about: str
    entries: Sequence[Entry]


def plural(number: int, noun: str) -> str:
    """A number of things."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def website(*, title: str, header: str, main: str, search: bool = False) -> str:
    """A page of the gallery around its header and its main part; the one script that may run is that of the search."""
    return framed(
        title,
        kind='<a href="index.html">lecture gallery</a>',
        styles=["gallery.css"],
        header=header,
        main=main,
        footer=colophon("These pages need no network."),
        images="'self' data:",
        script=asset("gallery.js") if search else None,
    )


def page_of(entry: Entry, topic: Topic, *, before: Entry | None = None, after: Entry | None = None) -> str:
    """The page of a recipe; `before` and `after` are its neighbors in the topic."""
    ahead, _, rest = entry.readme.partition(BEGIN)
    texts = entry.texts
    pictures = {name: Picture(f"{entry.name}/{name}", size_of(path)) for name, path in entry.pictures().items()}
    sections = parts_of(ahead, pictures=pictures, describe=lambda alt: _described(entry, alt), anchors=texts)
    if sections[-1].title != "Expected and measured":
        sections.append(Part("Expected and measured", ""))
    sections[-1] = sections[-1]._replace(body=sections[-1].body + _measured(entry))
    make, *sources = re.split(r"^Sources?: ", rest.partition(END)[2], maxsplit=1, flags=re.MULTILINE)
    for heading, text in (("Make it yourself", make), *(("Sources", source) for source in sources)):
        body = "".join(part.body for part in parts_of(text, pictures=pictures, anchors=texts))
        sections.append(Part(heading, body))
    sections += [Part("What the run wrote", _files(texts)), Part("The program", _files(entry.code))]
    sections[0] = sections[0]._replace(title="The idea")
    named = [(_slug(part.title), part) for part in sections if part.body]
    links = "".join(f'<a href="#{anchor}">{part.title}</a>' for anchor, part in named)
    mark = "finished" if entry.result and all(claim["met"] for claim in entry.claims) else "stopped"
    status = (
        f'<span class="status {mark}">{entry.verdict()}</span>'
        if entry.result
        else '<span class="status">not run yet</span>'
    )
    body = "\n".join(
        f'<section id="{anchor}" class="prose">\n<h2>{part.title}</h2>\n{part.body}\n</section>'
        for anchor, part in named
    )
    return website(
        title=f"{entry.name}: {entry.title}",
        header=f'<p class="topic quiet">{shown(topic.title)}</p>\n<h1>{shown(entry.heading)}</h1>\n'
        f'<p class="run">{status} <code>{shown(entry.name)}</code></p>\n<nav aria-label="Sections">{links}</nav>',
        main=f"{body}\n{_neighbors(topic, before, after)}",
    )


def first_picture(entry: Entry) -> str | None:
    """The name of the first picture on a recipe's page that was drawn."""
    return first_image(entry.readme, entry.pictures())


def text_of(entry: Entry) -> str:
    """What the search looks through: title, text, claims."""
    ahead, _, rest = entry.readme.partition(BEGIN)
    claims = [
        f"{claim['what']}: expected {claim['expected']}, measured {_number(claim['measured'])} ({claim['source']})"
        for claim in entry.claims
    ]
    return " ".join(f"{words_of(ahead)} {' · '.join(claims)} {words_of(rest.partition(END)[2])}".split())


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"&\w+;|<[^>]*>", "", title).lower()).strip("-")


# -- the result ---------------------------------------------------------------------------------------------------


def _measured(entry: Entry) -> str:
    if entry.result is None:
        return (
            '<p class="message">Not run yet: there is no stored result. The command below makes one, and '
            "<code>carousel recipe report --runs runs/recipes</code> shows it here.</p>"
        )
    note = ""
    if entry.result.get("smoke"):
        note = '<p class="message stopped">A smoke run: it shows that everything works, and measures nothing.</p>'
    head = "".join(f'<th scope="col">{name}</th>' for name in ("what", "expected", "measured", "met", "source"))
    rows = "\n".join(map(_row, entry.claims))
    return (
        f'{note}\n<div class="card"><table class="claims"><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table></div>\n"
        f'<div class="card facts">{table(_facts(entry))}</div>'
    )


def _row(claim: Mapping[str, Any]) -> str:
    digits = _digits(claim["expected"])
    cells = [
        ("expected", _value(claim["expected"], digits)),
        ("measured", _value(claim["measured"], digits)),
        ("met", f"{_sign(claim['met'])} {'yes' if claim['met'] else '<strong>no</strong>'}"),
        ("source", shown(claim["source"])),
    ]
    body = "".join(f'<td data-label="{label}"><span>{value}</span></td>' for label, value in cells)
    return f'<tr><th scope="row">{shown(claim["what"])}</th>{body}</tr>'


def _sign(met: bool) -> str:
    """Beside words that say the same."""
    return f'<span class="{"yes" if met else "no"}" aria-hidden="true">{"✓" if met else "✗"}</span>'


def _value(value: Any, digits: int) -> str:
    """A value as HTML; of a number the shown digits are cut, and the whole is kept for machines."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return shown(value)
    return f'<data value="{value}">{_number(value, digits)}</data>'


def _digits(expected: Any) -> int:
    """As many as the expectation has, so that both can be compared; 4 to 9."""
    if not isinstance(expected, float):
        return 4
    mantissa = repr(expected).split("e")[0].replace(".", "").replace("-", "")
    return min(max(len(mantissa.strip("0")), 4), 9)


def _number(value: Any, digits: int = 4) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _facts(entry: Entry) -> list[tuple[str, str]]:
    """When, where and how long; what was not recorded is said to be so."""
    result = entry.result or {}
    seconds, versions = float(result["seconds"]), result["versions"]
    time = f"{seconds:,.4g} seconds" if seconds < 1_000 else f"{seconds:,.0f} seconds"
    spent = f" ({seconds / 60:.0f} minutes)" if seconds >= 120 else ""
    code = result.get("code")
    if code is None:
        about = f"not recorded; today <code>{entry.digest[:16]}</code>"
    else:
        same = "the code that is shown below" if code == entry.digest else "the code has changed since"
        about = f"<code>{shown(code)[:16]}</code>, {same}"
    return [
        ("Time", f"{time}{spent} on {plural(result['threads'], 'thread')}"),
        ("Machine", shown(result.get("machine") or "not recorded")),
        ("Date", shown(result["date"][:10])),
        ("Versions", shown(", ".join(f"{name} {version}" for name, version in versions.items()))),
        ("Code", f"{about} (SHA-256 of its Python files)"),
    ]


# -- pictures, files, neighbors -------------------------------------------------------------------------------------


def _described(entry: Entry, alt: str) -> str:
    """A picture's alternative text; one that is a bare word is put into a sentence."""
    if len(alt.split()) > 3:
        return alt
    start = alt[:1].upper() + alt[1:]
    return f"{start}, the picture of “{entry.title}”. What was measured is in the table of this page."


def size_of(path: Path) -> str:
    """A picture's width and height in CSS pixels as attributes, so that a page does not jump when it comes."""
    try:
        if path.suffix == ".png":
            head = path.read_bytes()[16:24]
            width, height = int.from_bytes(head[:4]), int.from_bytes(head[4:])
        else:
            _, root = next(ElementTree.iterparse(path, events=("start",)))
            points = [re.fullmatch(r"([\d.]+)pt", root.get(side, "")) for side in ("width", "height")]
            width, height = (round(float(side[1]) * 4 / 3) if side else 0 for side in points)
    except (OSError, ElementTree.ParseError, StopIteration) as error:
        raise RunFolderError(f"The picture {path} can't be read: {error}. Run its recipe again.") from error
    return f' width="{width}" height="{height}"' if width and height else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise RunFolderError(f"{path} can't be read: {error.strerror}.") from error


def _files(texts: Mapping[str, str]) -> str:
    return "\n".join(
        f'<details id="{shown(name)}"><summary>{shown(name)} <span class="quiet">'
        f"{plural(len(text.splitlines()), 'line')}</span></summary>"
        f'<pre tabindex="0">\n{shown(text, MOST_CHARACTERS)}</pre></details>'
        for name, text in texts.items()
    )


def _neighbors(topic: Topic, before: Entry | None, after: Entry | None) -> str:
    links = [
        (before, "prev", "← Before in this topic"),
        (after, "next", "Next in this topic →"),
    ]
    beside = [
        f'<a rel="{relation}" href="{shown(entry.name)}.html"><span class="quiet">{words}</span>'
        f"{shown(entry.heading)}</a>"
        for entry, relation, words in links
        if entry is not None
    ]
    home = '<a href="index.html"><span class="quiet">↑ All topics</span>Lecture gallery</a>'
    return f'<nav class="neighbors" aria-label="{shown(topic.title)}">{"".join([*beside, home])}</nav>'
