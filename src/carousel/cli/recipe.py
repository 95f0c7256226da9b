"""`carousel recipe list`, `carousel recipe run NAME` and `carousel recipe report`."""

from __future__ import annotations

import contextlib
import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..errors import CarouselError, UsageError
from .parse import parse

if TYPE_CHECKING:
    from ..report.gallery import Entry

__all__ = ["run"]


def run(arguments: list[str]) -> None:
    """Parse and do what the second word says; help for all without it."""
    actions = {"list": _list, "run": _run, "report": _report}
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        for action, function in actions.items():
            with contextlib.suppress(SystemExit):
                parse(f"recipe {action}", function, ["--help"])
        return
    action, *rest = arguments
    if action not in actions:
        near = difflib.get_close_matches(action, actions, n=1)
        hint = f"Did you mean `carousel recipe {near[0]}`?" if near else f"There are {', '.join(actions)}."
        raise UsageError(f"There is no `carousel recipe {action}`. {hint}")
    parse(f"recipe {action}", actions[action], rest)


def _list() -> None:
    """List the recipes: classic systems with their published numbers, and how many claims the stored run met."""
    from .. import recipes

    rows = []
    for name in recipes.names():
        result = recipes.stored(name)
        met = f"met {_met(result)}" if result else "not stored"
        rows.append((name, recipes.title(name), met, result["date"][:10] if result else ""))
    _table(("recipe", "what it is", "stored result", "date"), rows)


def _run(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")],
    smoke: bool = False,
    data_dir: str | None = None,
    out: str | None = None,
    store: bool = False,
) -> None:
    """Run a recipe and hold what it measures against what is expected. A stopped run goes on where it was.

    Args:
        name: The recipe; `carousel recipe list` has them.
        smoke: Only see that everything works, in seconds.
        data_dir: The folder with the data sets; without one they are fetched from their homes, once.
        out: Folder for the output; by default runs/recipes/NAME.
        store: For maintainers: copy the result into the source tree.
    """
    from .. import recipes

    print(f"{name}: {recipes.title(name)}\n")
    result = recipes.run(name, smoke=smoke, data_dir=data_dir, out=out, store=store)
    print()
    rows = [
        (claim["what"], _short(claim["expected"]), _short(claim["measured"]), "yes" if claim["met"] else "NO")
        for claim in result["claims"]
    ]
    _table(("claim", "expected", "measured", "met"), rows)
    print(f"{result['seconds']:,.0f} seconds; the result is in {out or f'runs/recipes/{name}'}/result.json")
    if store:
        print(f"It is stored in {recipes.folder_of(name)}.")
    missed = recipes.unmet(result)
    if missed:
        details = "; ".join(f"{c['what']}: expected {c['expected']}, measured {_short(c['measured'])}" for c in missed)
        raise CarouselError(f"{name} met {_met(result)} claims. Not met: {details}.")


def _report(out: str = "runs/gallery", runs: str | None = None) -> None:
    """Write the lecture gallery: a folder of pages, one for each recipe with its stored result, and an index.

    The pages need no network. The same results give the same bytes.

    Args:
        out: Folder for the pages; a gallery that is there is replaced.
        runs: Folder with results of your own, such as runs/recipes; they are shown in place of the stored ones.
    """
    from .. import recipes
    from ..report.gallery import Topic, write_gallery

    own = {} if runs is None else _own(Path(runs))
    topics = [
        Topic(topic.title, topic.about, [_entry(name, own.get(name)) for name in topic.recipes])
        for topic in recipes.topics()
    ]
    print(f"The gallery is in {write_gallery(topics, Path(out))}")


def _own(runs: Path) -> dict[str, Path]:
    """The folders with a result of one's own, by the name of the recipe."""
    from .. import recipes

    found = {name: runs / name for name in recipes.names() if (runs / name / "result.json").is_file()}
    if not found:
        raise UsageError(
            f"There is no result of a recipe in {runs}; it is to hold NAME/result.json, as "
            f"`carousel recipe run NAME --out {runs}/NAME` writes it."
        )
    return found


def _entry(name: str, own: Path | None) -> Entry:
    """A recipe as the gallery shows it."""
    from .. import recipes
    from ..report.gallery import Entry

    folder = recipes.folder_of(name)
    wrote = own or folder
    code = sorted(folder.glob("*.py"), key=lambda file: (file.name != "run.py", file.name))
    return Entry(
        name=name,
        title=recipes.title(name),
        readme=(folder / "README.md").read_text(encoding="utf-8"),
        result=recipes.stored(name, own),
        wrote=wrote,
        code={file.name: file.read_text(encoding="utf-8") for file in code},
        digest=recipes.code_digest(name),
        own=own is not None,
    )


def _met(result: dict[str, Any]) -> str:
    return f"{sum(claim['met'] for claim in result['claims'])}/{len(result['claims'])}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*header, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*map(escape, row))
    Console(highlight=False).print(table)
