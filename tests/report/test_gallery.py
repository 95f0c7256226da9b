"""The lecture gallery: every recipe has its page, with all that was measured; nothing comes from elsewhere."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from carousel import recipes
from carousel.cli.main import main
from carousel.errors import RunFolderError, UsageError
from carousel.report.gallery import Entry, Topic, write_gallery
from carousel.report.gallery_page import text_of
from carousel.report.markdown import parts_of, words_of

VOID = {"meta", "link", "img", "input", "wbr", "br", "hr"}
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="36pt"><path d="M0 0L72 36"/></svg>'


class Page(HTMLParser):
    """A page that was parsed: tags have to be closed in the order in which they were opened."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []
        self.ids = [a["id"] for _, a in self.tags if "id" in a]
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def spaced(self) -> str:
        """The text, with a space between elements."""
        return " ".join(" ".join(self.words).split())

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def result(**changes: Any) -> dict[str, Any]:
    """What a run of one claim leaves."""
    claim = {"what": "the <loss>", "expected": "< 1", "measured": 0.25, "met": True, "source": "a & b"}
    about = {"seconds": 75.0, "threads": 1, "versions": {"torch": "2"}, "date": "2026-01-02T03:04:05+00:00"}
    return {"name": "one", "claims": [claim], **about, "smoke": False, **changes}


README = """# one: a title with <b>marks</b>

The idea, see `table.txt` and https://example.org/a_b(c).

    y = <W x>

$$\\frac{1}{2} \\sum_m p_m$$

![A line that rises from the lower left to the upper right.](line.svg)

![other](other.svg)

## More & more

| a | b |
| --- | --- |
| 1 | [two](https://example.org) |

## Expected and measured

<!-- result -->
| 999 | of a run long ago |
<!-- end of result -->

    carousel recipe run one      # --smoke: seconds

Source: N. N., 2026.
"""


@pytest.fixture
def one(tmp_path: Path) -> Entry:
    """A recipe with a picture and a table."""
    wrote = tmp_path / "wrote"
    wrote.mkdir()
    (wrote / "line.svg").write_text(SVG)
    (wrote / "table.txt").write_text("1 < 2\n")
    return Entry("one", "a title", README, result(), wrote, {"run.py": "print(1 < 2)\n"}, "0" * 64)


@pytest.fixture
def page(one: Entry, tmp_path: Path) -> Callable[..., Page]:
    """The page of the recipe, after changes."""

    def make(**changes: Any) -> Page:
        write_gallery([Topic("Topic", "About.", [replace(one, **changes)])], tmp_path / "out")
        return Page((tmp_path / "out/one.html").read_text(encoding="utf-8"))

    return make


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gallery of all stored results."""
    out = tmp_path_factory.mktemp("gallery") / "site"
    assert main(["recipe", "report", "--out", str(out)]) == 0
    return out


# -- what is stored ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_has_its_page_with_everything_that_was_measured(stored: Path, name: str) -> None:
    page = Page((stored / f"{name}.html").read_text(encoding="utf-8"))
    assert f"carousel recipe run {name}" in page.text
    found = recipes.stored(name)
    if found is None:
        assert "Not run yet" in page.text
        assert "claims" not in [a.get("class") for a in page.all("table")]
        return
    assert "Not run yet" not in page.text
    values = [float(a["value"] or "") for a in page.all("data")]
    for claim in found["claims"]:
        assert " ".join(claim["what"].split()) in page.text
        assert " ".join(claim["source"].split()) in page.text
        for value in (claim["expected"], claim["measured"]):
            if isinstance(value, str):
                assert " ".join(value.split()) in page.text
            else:
                assert values.pop(0) == value
    assert values == []
    assert f"{sum(c['met'] for c in found['claims'])} of {len(found['claims'])} claim" in page.text
    assert found["date"][:10] in page.text
    assert recipes.code_digest(name)[:16] in page.text
    images = [unquote(a["src"] or "") for a in page.all("img")]
    assert sorted(images) == sorted(f"{name}/{file.name}" for file in recipes.folder_of(name).glob("*.svg"))
    for image in page.all("img"):
        assert len((image["alt"] or "").split()) >= 6
        assert int(image["width"] or 0) > 100 < int(image["height"] or 0)
    for file in recipes.folder_of(name).glob("*.txt"):
        assert " ".join(file.read_text().split()) in page.text


def test_all_links_resolve_and_nothing_comes_from_elsewhere(stored: Path) -> None:
    pages = {path.name: Page(path.read_text(encoding="utf-8")) for path in stored.glob("*.html")}
    assert len(pages) == len(recipes.names()) + 1
    for name, page in pages.items():
        text = (stored / name).read_text(encoding="utf-8")
        policy = next(a for a in page.all("meta") if a.get("http-equiv"))["content"] or ""
        assert policy.startswith("default-src 'none'")
        assert "http" not in policy
        for tag, attributes in page.tags:
            for kind in ("src", "href", "srcset", "data", "poster", "action"):
                address = attributes.get(kind)
                if address is None:
                    continue
                url = urlsplit(address)
                if tag == "a" and url.scheme in ("http", "https"):
                    continue
                assert url.scheme in ("", "data"), (name, address)
                if url.scheme == "" and url.path:
                    assert (stored / unquote(url.path)).is_file(), (name, address)
                if url.fragment:
                    target = pages[unquote(url.path) or name]
                    assert unquote(url.fragment) in target.ids, (name, address)
        for reach in ("@import", "url(", "fetch(", "XMLHttpRequest", "WebSocket", "sendBeacon"):
            assert reach not in text.split("<body>")[0]
            assert all(reach not in word for word in page.words if "passage(" in word)


def test_the_index_has_every_recipe_once_and_can_search_all_its_claims(stored: Path) -> None:
    text = (stored / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert sorted(a["data-name"] or "" for a in page.all("li") if "data-name" in a) == recipes.names()
    links = [a["href"] for a in page.all("a")]
    for name in recipes.names():
        assert links.count(f"{name}.html") == 1
    texts = json.loads(text.split('id="texts">')[1].split("</script>")[0])
    assert sorted(texts) == recipes.names()
    for name in recipes.names():
        assert recipes.title(name) in texts[name]
        for claim in (recipes.stored(name) or {"claims": []})["claims"]:
            assert " ".join(claim["what"].split()) in texts[name]
            assert " ".join(claim["source"].split()) in texts[name]
    claims = [claim for name in recipes.names() for claim in (recipes.stored(name) or {"claims": []})["claims"]]
    assert f"{sum(c['met'] for c in claims)} of {len(claims)} claims are met" in page.text


def test_neighbors_go_through_a_topic_and_back(stored: Path) -> None:
    for topic in recipes.topics():
        for place, name in enumerate(topic.recipes):
            page = Page((stored / f"{name}.html").read_text(encoding="utf-8"))
            beside = {a["rel"]: a["href"] for a in page.all("a") if "rel" in a}
            expected = {}
            if place:
                expected["prev"] = f"{topic.recipes[place - 1]}.html"
            if place + 1 < len(topic.recipes):
                expected["next"] = f"{topic.recipes[place + 1]}.html"
            assert beside == expected


def test_every_recipe_has_one_topic() -> None:
    placed = [name for topic in recipes.TOPICS for name in topic.recipes]
    assert len(placed) == len(set(placed))
    assert set(recipes.names()) <= set(placed), "give the recipe its place in recipes/topics.py"
    assert sorted(name for topic in recipes.topics() for name in topic.recipes) == recipes.names()


def test_a_recipe_without_a_topic_is_listed_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hello", "new", "perceptron"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.py").touch()
    monkeypatch.setattr("carousel.recipes.runner.HOME", tmp_path)
    assert [topic.recipes for topic in recipes.topics()] == [("perceptron",), ("hello",), ("new",)]


def test_the_same_results_give_the_same_bytes(stored: Path, tmp_path: Path) -> None:
    assert main(["recipe", "report", "--out", str(tmp_path)]) == 0
    ours = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    theirs = {path.relative_to(stored): path.read_bytes() for path in stored.rglob("*.*") if path.is_file()}
    assert ours == theirs


# -- one page ---------------------------------------------------------------------------------------------------------


def test_a_page_says_what_the_readme_and_the_result_say(page: Callable[..., Page]) -> None:
    found = page()
    assert "A title" in found.text
    for words in ("The idea, see table.txt", "y = <W x>", "the <loss>", "a & b", "1 < 2", "75 seconds on 1 thread"):
        assert words in found.text
    assert "999" not in found.text  # the README's table is that of another day; the result is what counts
    assert "b" not in [tag for tag, _ in found.tags]
    assert [a["value"] for a in found.all("data")] == ["0.25"]
    assert [a["src"] for a in found.all("img")] == ["one/line.svg"]
    assert [(a["width"], a["height"]) for a in found.all("img")] == [("96", "48")]
    assert "The run draws other.svg here." in found.text
    links = [a["href"] for a in found.all("a")]
    assert "#table.txt" in links
    assert "https://example.org/a_b(c" in links
    assert links.count("https://example.org") == 1
    assert {"mfrac", "munder"} <= {tag for tag, _ in found.tags}
    assert "$$" not in found.text
    assert [a["id"] for a in found.all("section")] == [
        "the-idea",
        "more-more",
        "expected-and-measured",
        "make-it-yourself",
        "sources",
        "what-the-run-wrote",
        "the-program",
    ]


def test_a_bare_word_is_no_description(page: Callable[..., Page]) -> None:
    alt = page(readme="# one: a title\n\n![line](line.svg)\n").all("img")[0]["alt"] or ""
    assert alt == "Line, the picture of “a title”. What was measured is in the table of this page."


def test_a_recipe_without_a_result_is_shown_with_its_command(page: Callable[..., Page], tmp_path: Path) -> None:
    found = page(result=None)
    assert "Not run yet" in found.text
    assert "carousel recipe run one" in found.text
    assert found.all("img") == []
    index = Page((tmp_path / "out/index.html").read_text())
    assert "Not run yet: carousel recipe run one" in index.text
    assert "1 recipe has not been run yet" in index.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"machine": "A Processor", "code": "0" * 64}, ["A Processor", "the code that is shown below"]),
        ({"code": "f" * 64}, ["f" * 16, "the code has changed since"]),
        ({}, ["not recorded"]),
        ({"smoke": True}, ["smoke run", "measures nothing"]),
        ({"seconds": 3963.73, "threads": 2}, ["3,964 seconds (66 minutes) on 2 threads"]),
    ],
)
def test_how_it_was_measured(page: Callable[..., Page], changes: dict, words: list[str]) -> None:
    text = page(result=result(**changes)).text
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("expected", "measured", "row"),
    [
        (-3762.1277, -3762.127652206523, "-3762.1277 -3762.1277"),
        (0.893046429, 0.8930464293140367, "0.893046429 0.893046429"),
        (1, 0.9985344451898913, "1 0.9985"),
        (4.122307244877116e-09, 4.1223072e-09, "4.12230724e-09 4.1223072e-09"),
        ("20 of 20", 138357544, "20 of 20 138,357,544"),
        ("< 1", "nan", "< 1 nan"),
    ],
)
def test_numbers_have_the_digits_that_are_compared(
    page: Callable[..., Page], expected: Any, measured: Any, row: str
) -> None:
    claim = {"what": "the quantity", "expected": expected, "measured": measured, "met": False, "source": "derived"}
    found = page(result=result(claims=[claim]))
    assert f"the quantity {row} ✗ no derived" in found.spaced
    numbers = [value for value in (expected, measured) if not isinstance(value, str)]
    assert [float(a["value"] or math.nan) for a in found.all("data")] == numbers


def test_markdown_keeps_an_address_in_a_link_and_a_fence() -> None:
    html = parts_of("[https://a.org](https://b.org) <https://c.org>\n\n```\nx < y\n```\n\n<script>", pictures={})[
        0
    ].body
    assert html.count("<a ") == 2
    assert "x &lt; y" in html
    assert "&lt;script&gt;" in html
    assert parts_of("```math\nx^2\n```", pictures={})[0].body.count("<msup>") == 1
    assert words_of("# a *b*\n\n    c = d\n\n`e`\nf").split() == ["a", "b", "c", "=", "d", "e", "f"]


def test_the_search_text_is_that_of_the_result(one: Entry) -> None:
    assert "the <loss>: expected < 1, measured 0.25 (a & b)" in text_of(one)
    assert "999" not in text_of(one)


# -- where it is written ----------------------------------------------------------------------------------------------


def test_a_gallery_is_replaced_and_nothing_else_is_touched(one: Entry, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_gallery([Topic("Topic", "About.", [one, replace(one, name="two")])], out)
    write_gallery([Topic("Topic", "About.", [one])], out)
    names = ["gallery.json", "index.html", "one", "one.html", "one/line.svg"]
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*")) == names
    (tmp_path / "other").mkdir()
    (tmp_path / "other/gallery.json").write_text('{"mine": 1}')
    with pytest.raises(UsageError, match=r"holds gallery\.json, which is no part"):
        write_gallery([Topic("Topic", "About.", [one])], tmp_path / "other")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds notes\.txt, which is no part of a gallery"):
        write_gallery([Topic("Topic", "About.", [one])], out)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_writing_that_was_stopped_is_repeated(one: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topics = [Topic("Topic", "About.", [one])]
    write_gallery(topics, tmp_path / "whole")

    def stop(_: object, path: Path) -> None:
        path.with_name(f"{path.name}.part").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("carousel.report.gallery._write", stop)
        with pytest.raises(KeyboardInterrupt):
            write_gallery(topics, tmp_path / "out")
    write_gallery(topics, tmp_path / "out")
    whole = {path.name for path in (tmp_path / "whole").rglob("*")}
    assert {path.name for path in (tmp_path / "out").rglob("*")} == whole


def test_a_folder_that_may_not_be_written_gets_one_sentence(
    one: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        with pytest.raises(RunFolderError, match=r"cannot be written to .*: Permission denied\. Choose a folder"):
            write_gallery([Topic("Topic", "About.", [one])], tmp_path / "out")
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(UsageError, match=r"can't be used \(Permission denied\); give another one as --out DIR"):
            write_gallery([Topic("Topic", "About.", [one])], tmp_path / "other")


def test_pictures_that_cannot_be_read_are_named(one: Entry, tmp_path: Path) -> None:
    (one.wrote / "line.svg").write_text("no picture")
    with pytest.raises(RunFolderError, match=r"line\.svg can't be read"):
        write_gallery([Topic("Topic", "About.", [one])], tmp_path / "out")
