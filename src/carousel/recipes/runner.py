"""Finding, running and storing recipes. Nothing here imports PyTorch before a recipe is run."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from carousel.errors import UsageError
from carousel.runs import RunFolder, environment

from . import recipe as _recipe
from .recipe import Recipe

__all__ = ["claims_in_markdown", "code_digest", "folder_of", "names", "run", "stored", "title", "unmet"]

HOME = Path(__file__).parent
RESULT = {"name", "claims", "seconds", "threads", "versions", "date", "smoke"}
"""What every result has."""
BEGIN, END = "<!-- result -->", "<!-- end of result -->"


def names() -> list[str]:
    """The names of all recipes."""
    return sorted(path.parent.name for path in HOME.glob("*/run.py"))


def folder_of(name: str) -> Path:
    """The folder of a recipe.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"Did you mean {near[0]}?" if near else f"The recipes are {', '.join(names())}."
        raise UsageError(f"There is no recipe {name!r}. {hint}")
    return HOME / name


def title(name: str) -> str:
    """The first heading of a recipe's page, without the name."""
    page = (folder_of(name) / "README.md").read_text(encoding="utf-8")
    heading = next((line.lstrip("# ") for line in page.splitlines() if line.startswith("#")), "")
    return heading.removeprefix(f"{name}: ")


def stored(name: str, out: Path | None = None) -> dict[str, Any] | None:
    """The result of the full run that is stored with a recipe, or that of the run in `out`; None if there is none.

    Raises:
        UsageError: what is there is no result of this recipe.
    """
    folder = folder_of(name) if out is None else out
    result = RunFolder(folder).read_json("result.json")
    known = isinstance(result, dict) and set(result) >= RESULT and result["name"] == name
    if result is not None and not known:
        raise UsageError(f"{folder / 'result.json'} is no result of {name}; `carousel recipe run {name}` writes one.")
    return result


def code_digest(name: str) -> str:
    """SHA-256 of a recipe's Python files, as `code` in the result of a run has it."""
    return _recipe.code_digest(folder_of(name))


def unmet(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The claims of a result that are not met."""
    return [claim for claim in result["claims"] if not claim["met"]]


def run(
    name: str,
    *,
    smoke: bool = False,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    store: bool = False,
) -> dict[str, Any]:
    """Run a recipe; what it writes lies in `out`, a stopped run goes on from its last checkpoint there.

    Args:
        name: one of `names()`.
        smoke: a run of seconds that only shows that everything works.
        data_dir: the folder with the data sets.
        out: the folder for the output, by default `runs/recipes/NAME`; a result that is there is replaced.
        store: copy the result, its figures and texts into the recipe's own folder, and write its page's table anew;
            until then keep there what parts of it are done, and go on from those.

    Returns:
        What `result.json` holds: `name`, `claims`, `seconds`, `threads`, `versions`, `date`, `smoke`,
        `machine` (its processor; several, if parts were measured on others) and `code` (`code_digest` when it began).

    Raises:
        UsageError: there is no such recipe, its data are missing, or a smoke run is to be stored.
    """
    source = folder_of(name)
    if store and smoke:
        raise UsageError(
            "A smoke run measures nothing worth keeping, so it can't be stored; leave out --smoke or --store."
        )
    if store and not os.access(source, os.W_OK):
        raise UsageError(f"The folder {source} can't be written; --store is for a source tree of your own.")
    out = Path("runs/recipes") / name if out is None else Path(out)
    data = None if data_dir is None else Path(data_dir)
    recipe = Recipe(name, source, out, smoke=smoke, data_dir=data, store=store)
    try:
        _load(source).run(recipe)
    except KeyboardInterrupt as stop:
        again = "The same command goes on from the last checkpoint." if recipe.can_go_on() else ""
        raise KeyboardInterrupt(f"Stopped. {again}".strip()) from stop
    about = environment()
    result = {
        "name": name,
        "claims": recipe.claims,
        "seconds": round(recipe.seconds, 2),
        **{key: about[key] for key in ("threads", "versions", "date")},
        "smoke": smoke,
        "machine": ", ".join(dict.fromkeys([*recipe.machines, about["processor"]])),
        "code": recipe.code,
    }
    RunFolder(recipe.out).write_json("result.json", result)
    recipe.finish()
    if store:
        _store(recipe, result)
    return result


def _load(source: Path) -> ModuleType:
    """The module `run.py`, by its path: a folder's name may have hyphens. Its neighbors are `.their_name` to it."""
    name, path = f"carousel_recipe_{source.name.replace('-', '_')}", source / "run.py"
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[str(source)])
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _store(recipe: Recipe, result: dict[str, Any]) -> None:
    for name in ("result.json", *recipe.kept):
        shutil.copyfile(recipe.out / name, recipe.source / name)
    page = recipe.source / "README.md"
    table = f"{BEGIN}\n{claims_in_markdown(result)}\n{END}"
    text = re.sub(f"{BEGIN}.*?{END}", lambda _: table, page.read_text(encoding="utf-8"), flags=re.DOTALL)
    RunFolder(recipe.source).write_text("README.md", text)


def claims_in_markdown(result: dict[str, Any]) -> str:
    """The table of a recipe's page, between its two markers."""
    rows = [["what", "expected", "measured", "met", "where the expectation comes from"], ["---"] * 5]
    for claim in result["claims"]:
        measured = f"{claim['measured']:.4g}" if isinstance(claim["measured"], float) else str(claim["measured"])
        met = "yes" if claim["met"] else "**no**"
        rows.append([claim["what"], str(claim["expected"]), measured, met, claim["source"]])
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    threads = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
    where = f"on {threads}, PyTorch {result['versions']['torch']}"
    return "\n".join([*lines, "", f"Measured on {result['date'][:10]} in {result['seconds']:,.0f} s {where}."])
