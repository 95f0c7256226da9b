"""The names: as they stand in the files, split in two ways, and as tables that `carousel.train` reads."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable
from pathlib import Path

SHARE, DRAW = 0.1, 2026
PARTS = ("train", "dev", "test")
NATIONALITIES = (
    "Arabic Chinese Czech Dutch English French German Greek Irish Italian Japanese Korean Polish Portuguese Russian "
    "Scottish Spanish Vietnamese"
).split()
Rows = list[tuple[str, str, str]]
"""Name, nationality, part."""


def read(files: Iterable[Path]) -> list[tuple[str, str]]:
    """Names and their nationalities, a file each."""
    return [
        (name.strip(), file.stem)
        for file in files
        for name in file.read_text(encoding="utf-8").splitlines()
        if name.strip()
    ]


def split(pairs: list[tuple[str, str]], strict: bool) -> Rows:
    """Drawn row by row; or strictly: each pair once, and equal names in the same part."""
    draw = random.Random(DRAW)

    def part() -> str:
        u = draw.random()
        return "test" if u < SHARE else "dev" if u < 2 * SHARE else "train"

    if not strict:
        return [(*pair, part()) for pair in pairs]
    parts = {name: part() for name in sorted({name for name, _ in pairs})}
    return [(name, nationality, parts[name]) for name, nationality in sorted(set(pairs))]


def seen(rows: Rows) -> float:
    """The share of the test part whose name is in the training part too."""
    known = {name for name, _, part in rows if part == "train"}
    test = [name for name, _, part in rows if part == "test"]
    return sum(name in known for name in test) / len(test)


def best_possible(rows: Rows) -> float:
    """Accuracy on the test part of who knows all of it: of names with several nationalities only one can be right."""
    counts: dict[str, dict[str, int]] = {}
    for name, nationality, part in rows:
        if part == "test":
            its = counts.setdefault(name, {})
            its[nationality] = its.get(nationality, 0) + 1
    return sum(max(its.values()) for its in counts.values()) / sum(part == "test" for *_, part in rows)


def write(file: Path, rows: Rows) -> Path:
    """A table with a header."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("name", "nationality", "split"), *rows])
    return file
