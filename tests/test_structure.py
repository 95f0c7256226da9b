"""Who may import whom (docs/layout.md), what importing costs, and that every public name is there."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import carousel
from carousel.cli.main import VERBS

SOURCE = Path(carousel.__file__).parent

ALLOWED = {
    "errors": set(),
    "settings": {"errors"},
    "data": {"errors"},
    "cells": {"errors"},
    "engine": {"errors", "cells"},
    "nn": {"errors", "cells", "engine"},
    "tasks": {"errors", "settings", "data", "cells", "nn", "training"},
    "runs": {"errors"},
    "training": {"errors", "settings", "runs"},
    "report": {"errors", "runs"},
    "trained": {"errors", "settings", "data", "cells", "nn", "tasks", "runs", "report"},
    "api": {"errors", "settings", "data", "cells", "nn", "tasks", "runs", "training", "report", "trained"},
    "cross_validation": {"errors", "settings", "cells", "runs", "training", "api", "trained"},
    "ensembles": {"errors", "tasks", "runs", "trained"},
    "vectors": {"errors", "data", "classical"},
    "tuning": {"errors", "settings", "cells", "tasks", "runs", "training", "report", "api"},
    "inspect": {"errors", "cells", "nn"},
    "inspection": {"errors", "settings", "cells", "data", "nn", "tasks", "trained", "inspect"},
    "bench": {"errors", "cells", "nn", "runs", "report"},
    "doctor": {"errors"},
    "classical": {"errors"},
    "recipes": {"", "errors", "runs"},
    "cli": {
        "",
        "errors",
        "settings",
        "cells",
        "engine",
        "nn",
        "report",
        "tasks",
        "training",
        "trained",
        "api",
        "cross_validation",
        "ensembles",
        "vectors",
        "tuning",
        "inspect",
        "inspection",
        "recipes",
        "bench",
        "doctor",
    },
    "": set(),
    "__main__": {"cli"},
}
"""Package or module -> what it may import; "" is `carousel` itself, that is the public names."""


def imports(path: Path) -> set[str]:
    """Top-level parts of carousel that a file imports."""
    package = ("carousel", *path.relative_to(SOURCE).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *([node.module] if node.module else [])))
            names = [f"{stem}.{alias.name}" if stem == "carousel" else stem for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "carousel":
                part = parts[1] if len(parts) > 1 else ""
                known = (SOURCE / part).is_dir() or (SOURCE / f"{part}.py").is_file()
                found.add(part if known else "")
    return found


def owner(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path) -> None:
    part = owner(path)
    if part == "":
        return  # names its homes lazily; test_public_names loads them all
    forbidden = imports(path) - ALLOWED[part] - {part}
    assert not forbidden, f"{path.relative_to(SOURCE)} imports {forbidden}; see docs/layout.md"


def test_every_part_is_in_the_table() -> None:
    parts = {owner(path) for path in SOURCE.rglob("*.py")}
    assert parts == set(ALLOWED)
    layout = (SOURCE.parents[1] / "docs" / "layout.md").read_text()
    for part in parts - {"", "__main__"}:
        assert f"`{part}/`" in layout or f"`{part}.py`" in layout, f"docs/layout.md does not mention {part}"


def test_settings_and_text_need_no_torch() -> None:
    code = "import sys, carousel, carousel.settings, carousel.data.text; print('torch' in sys.modules)"
    assert _python(code) == "False"


def test_importing_carousel_has_no_side_effects() -> None:
    code = "import sys; before = set(sys.modules); import carousel; print(sorted(set(sys.modules) - before))"
    loaded = set(ast.literal_eval(_python(code)))
    assert not loaded & {"torch", "numpy", "rich", "tyro", "matplotlib", "yaml"}
    assert {name for name in loaded if name.startswith("carousel")} == {"carousel"}


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in VERBS)], ids=" ".join)
def test_help_imports_little(arguments: list[str]) -> None:
    """Help is quick because it loads little; seconds are not tested, modules are."""
    code = f"""
import sys
from carousel.cli.main import main
try:
    main({arguments!r})
except SystemExit:
    pass
heavy = {{"torch", "numpy", "matplotlib", "accelerate", "polars"}} & set(sys.modules)
print("heavy:", sorted(heavy), len(sys.modules))
"""
    *help_text, last = _python(code).splitlines()
    assert last.startswith("heavy: []")
    assert int(last.split()[-1]) < 450  # 380 at the time of writing, most of them tyro's; torch alone brings over 1,000
    assert any("carousel" in line for line in help_text)


def test_public_names() -> None:
    for name in carousel.__all__:
        assert getattr(carousel, name) is not None
    assert set(carousel.__all__) <= set(dir(carousel))
    with pytest.raises(AttributeError, match="nothing_here"):
        carousel.nothing_here  # noqa: B018


def _python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return result.stdout.strip()
