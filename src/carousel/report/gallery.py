"""From the results of recipes to a folder of pages that needs no network: an index by topic, and a page for each.

    index.html          the topics, a card for each recipe, a search over titles, texts and claims
    NAME.html           a recipe's page; NAME/ has its pictures
    gallery.json        which files belong to the gallery; no other file of the folder is ever touched

The same results give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import RunFolderError, UsageError
from .gallery_page import Entry, Topic, first_picture, page_of, plural, size_of, text_of, website
from .words import shown, write_whole

__all__ = ["Entry", "Topic", "write_gallery"]

LIST = "gallery.json"


def write_gallery(topics: Sequence[Topic], out: Path) -> Path:
    """Write the gallery into the folder `out`, and return the path of its index.

    Args:
        topics: what is shown, in this order.
        out: the folder; it is made where it does not exist. A gallery that is there is replaced.

    Returns:
        The path of `index.html`.

    Raises:
        UsageError: `out` is a file, can't be made, or holds other files.
        RunFolderError: a file can't be read or written.
    """
    old = _belonging(out)
    pages: dict[str, str | Path] = {"index.html": index_page(topics)}
    for topic in topics:
        before, after = [None, *topic.entries[:-1]], [*topic.entries[1:], None]
        for entry, last, following in zip(topic.entries, before, after, strict=True):
            pages[f"{entry.name}.html"] = page_of(entry, topic, before=last, after=following)
            pages |= {f"{entry.name}/{name}": path for name, path in entry.pictures().items()}
    _write_list(out, {*old, *pages})
    for name, content in pages.items():
        _write(content, out / name)
    for name in old - set(pages):
        (out / name).unlink(missing_ok=True)
    for folder in {(out / name).parent for name in old - set(pages)} - {out}:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    _write_list(out, pages)
    return out / "index.html"


def index_page(topics: Sequence[Topic]) -> str:
    """The page with all topics, a card for each recipe, and the search."""
    entries = [entry for topic in topics for entry in topic.entries]
    claims = [claim for entry in entries for claim in entry.claims]
    met = sum(claim["met"] for claim in claims)
    waiting = sum(entry.result is None for entry in entries)
    later = f" {plural(waiting, 'recipe')} {'has' if waiting == 1 else 'have'} not been run yet." if waiting else ""
    lead = (
        f'<p class="lead">{plural(len(entries), "recipe")}: classic systems of the lectures that run, each with what '
        f"was expected of it and what was measured. {met:,} of {plural(len(claims), 'claim')} are met; those that are "
        f"not are shown like the rest.{later}</p>"
    )
    search = (
        '<form role="search" hidden><label for="search">Search titles, texts and claims</label>'
        '<input id="search" type="search" autocomplete="off" spellcheck="false">'
        '<p role="status" class="quiet"></p></form>'
    )
    links = "".join(f'<a href="#{_anchor(place)}">{shown(topic.title)}</a>' for place, topic in enumerate(topics))
    sections = "\n".join(_section(place, topic) for place, topic in enumerate(topics))
    texts = json.dumps({entry.name: text_of(entry) for entry in entries}, ensure_ascii=False).replace("<", "\\u003c")
    return website(
        title="Lecture gallery",
        header=f'<h1>Lecture gallery</h1>\n{lead}\n{search}\n<nav aria-label="Topics">{links}</nav>',
        main=f'{sections}\n<script type="application/json" id="texts">{texts}</script>',
        search=True,
    )


def _anchor(place: int) -> str:
    return f"topic-{place + 1}"


def _section(place: int, topic: Topic) -> str:
    cards = "\n".join(_card(entry) for entry in topic.entries)
    return (
        f'<section id="{_anchor(place)}" class="topic">\n<h2>{shown(topic.title)}</h2>\n'
        f'<p class="lead">{shown(topic.about)}</p>\n<ul class="cards">\n{cards}\n</ul>\n</section>'
    )


def _card(entry: Entry) -> str:
    picture = first_picture(entry)
    # The title beside it says what the link is; the picture's own description stands on its page.
    size = size_of(entry.pictures()[picture]) if picture else ""
    image = f'<img src="{shown(f"{entry.name}/{picture}")}" alt="" loading="lazy"{size}>' if picture else ""
    if entry.result is None:
        state = f'<p class="quiet">Not run yet: <code>carousel recipe run {shown(entry.name)}</code></p>'
    else:
        state = f'<p class="quiet">{entry.verdict()}</p>'
    return (
        f'<li class="card" data-name="{shown(entry.name)}"><a href="{shown(entry.name)}.html">'
        f'<span class="thumb">{image}</span><span class="title">{shown(entry.heading)}</span></a>'
        f'<p class="name"><code>{shown(entry.name)}</code></p>{state}<p class="found" hidden></p></li>'
    )


def _belonging(out: Path) -> set[str]:
    """The files of the gallery that is in `out` already; an error if there is anything else."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, and the gallery needs a folder; give another one as --out DIR.")
    found = set()
    try:
        out.mkdir(parents=True, exist_ok=True)
        known = {f"{LIST}.part", *_listed(out)}
        for path in out.rglob("*"):
            name = path.relative_to(out).as_posix()
            if not path.is_dir() and name.removesuffix(".part") not in known:
                raise UsageError(
                    f"{out} holds {name}, which is no part of a gallery; give a new folder, or that of a gallery, as "
                    "--out DIR."
                )
            found |= set() if path.is_dir() else {name}
    except OSError as error:
        raise UsageError(
            f"The folder {out} can't be used ({error.strerror}); give another one as --out DIR."
        ) from error
    return found - {LIST}


def _listed(out: Path) -> set[str]:
    """The files that a gallery's list names, and the list itself; nothing where it is some other file."""
    try:
        listed = json.loads((out / LIST).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return set()
    return {LIST, *map(str, listed)} if isinstance(listed, list) and "index.html" in listed else set()


def _write_list(out: Path, names: Iterable[str]) -> None:
    write_whole(json.dumps(sorted(names), indent=1) + "\n", out / LIST)


def _write(content: str | Path, path: Path) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        whole = content.read_bytes() if isinstance(content, Path) else content
    except OSError as error:
        raise RunFolderError(f"{content if isinstance(content, Path) else path.parent}: {error.strerror}.") from error
    write_whole(whole, path)
