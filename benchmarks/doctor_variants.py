"""The scripts of the doctor's bench: what `doctor_variants.toml` says is substituted in which, and what comes of it."""

from __future__ import annotations

import functools
import re
import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["IN_A_FUNCTION", "Edit", "Family", "Variant", "families", "last_number", "mended", "substituted", "variants"]

DATA = Path(__file__).with_suffix(".toml")

Edit = list[list[str]]
"""Pairs of an old and a new text."""

IN_A_FUNCTION = "IN A FUNCTION FROM"
"""As the old text: everything from the line on that is the new text becomes the body of a function."""


@dataclass(frozen=True, eq=False)
class Family:
    """Scripts that differ by their fault.

    Attributes:
        healthy: the healthy one.
        faulty: the others.
        metric: what is printed around the result, `#` for the number; the last one printed counts.
        higher: a higher number is better.
        good: a healthy run's result is at least as good.
        margin: a faulty run's result is at least that much worse than its twin's: a difference if higher is better, a
            ratio if lower is.
        edits: name -> what is substituted in all of them.
        own: script -> name -> edits of that script alone, which go before the family's of the same name.
        without: script -> names of edits that it does not get, since its label would not stay true.
        fair: edit -> another `good`, where the data allow less.
        flattered: scripts whose fault makes the result too good.
        fails: scripts whose fault ends them with an error.
        accept: key of a variant -> codes that are honest there beside the script's own.
    """

    healthy: str
    faulty: list[str]
    metric: str
    higher: bool
    good: float
    margin: float
    edits: dict[str, Edit]
    own: dict[str, dict[str, Edit]] = field(default_factory=dict)
    without: dict[str, list[str]] = field(default_factory=dict)
    fair: dict[str, float] = field(default_factory=dict)
    flattered: list[str] = field(default_factory=list)
    fails: list[str] = field(default_factory=list)
    accept: dict[str, list[str]] = field(default_factory=dict)

    def of(self, script: str) -> dict[str, Edit]:
        """Name -> edit of one script."""
        both = {**self.edits, **self.own.get(script, {})}
        return {name: edit for name, edit in both.items() if name not in self.without.get(script, [])}


@functools.cache
def families() -> list[Family]:
    """All, from the file."""
    return [Family(**row) for row in tomllib.loads(DATA.read_text(encoding="utf-8"))["family"]]


@functools.cache
def mended() -> dict[str, tuple[str, Edit]]:
    """Name -> (open script, edit) of the healthy scripts that are not among the open ones."""
    rows = tomllib.loads(DATA.read_text(encoding="utf-8"))["mended"]
    return {name: (row["script"], row["edit"]) for name, row in rows.items()}


@dataclass(frozen=True, eq=False)
class Variant:
    """A script to run; as it is where `name` is empty.

    Attributes:
        script: "a01", or a name of `mended`.
        name: of the edit.
        edit: what is substituted.
        family: where its result is told from.
    """

    script: str
    name: str
    edit: Edit
    family: Family

    @property
    def key(self) -> str:
        """Its name in the results."""
        return f"{self.script}: {self.name}" if self.name else self.script

    @property
    def original(self) -> bool:
        """An open script as it is."""
        return not self.name and self.script not in mended()

    @property
    def healthy(self) -> bool:
        """No fault is in it."""
        return self.script == self.family.healthy

    @property
    def twin(self) -> str:
        """The key of the healthy script with the edit of the same name, or as it is where there is none."""
        healthy = self.family.healthy
        return f"{healthy}: {self.name}" if self.name in self.family.of(healthy) else healthy

    def text(self, texts: Mapping[str, str]) -> str:
        """The script's text, from the texts of the open scripts by their names."""
        base, edit = mended().get(self.script, (self.script, []))
        return substituted(texts[base], [*edit, *self.edit], self.key)


def variants() -> list[Variant]:
    """All, by script; each as it is first."""
    found = [
        Variant(script, name, edit, family)
        for family in families()
        for script in (family.healthy, *family.faulty)
        for name, edit in {"": [], **family.of(script)}.items()
    ]
    return sorted(found, key=lambda v: v.script)


def substituted(text: str, edit: Edit, key: str = "the script") -> str:
    """The text with every old text replaced by the new one, everywhere; each must occur, and must change something.

    Raises:
        ValueError: one does not.
        SyntaxError: what comes out is not Python.
    """
    for old, new in edit:
        changed = _in_a_function(text, new) if old == IN_A_FUNCTION else text.replace(old, new)
        if changed == text:
            raise ValueError(f"{key}: substituting {new!r} for {old!r} changes nothing.")
        text = changed
    compile(text, key, "exec")
    return text


def _in_a_function(text: str, line: str) -> str:
    at = text.find(f"\n{line}") + 1
    if not at:
        return text
    return f"{text[:at]}def main():\n{textwrap.indent(text[at:].rstrip(), '    ')}\n\n\nmain()\n"


def last_number(metric: str, printed: str) -> float | None:
    """The last result that a script printed."""
    pattern = metric.replace("#", r"([-+]?(?:nan|inf|\d+(?:\.\d*)?(?:e[-+]?\d+)?))")
    found = re.findall(pattern, printed, re.MULTILINE)
    return float(found[-1]) if found else None
