"""Words, numbers, tables and figures as HTML, all of them escaped."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import RunFolderError
from .figures import Chart, compact, read_number

__all__ = ["breakable", "count", "figure", "first_finite", "plain", "shown", "table", "visible", "write_whole"]

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufff9-\uffff]"
)


def first_finite(*values: Any) -> float | None:
    """The first that is a finite number."""
    numbers = (read_number(value) for value in values)
    return next((number for number in numbers if number is not None and math.isfinite(number)), None)


def count(value: float, noun: str) -> str:
    """A number of things."""
    return f"{compact(value, 3 if value < 1_000 else 9)} {noun}{'' if value == 1 else 's'}"


def breakable(name: Any, limit: int = 2_000) -> str:
    """A name as HTML, which may break after a dot or an underscore."""
    return re.sub(r"([._])", r"\1<wbr>", shown(name, limit))


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Rows of a name, escaped here, and a value that is HTML already."""
    body = "".join(f'<tr><th scope="row">{breakable(name)}</th><td>{value}</td></tr>' for name, value in rows)
    return f"<table><tbody>{body}</tbody></table>"


def plain(value: Any) -> str:
    """A value as config.yaml spells it."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def shown(value: Any, limit: int = 2_000) -> str:
    """Any value as HTML text: escaped, cut at `limit`, characters that hide or reorder text made visible."""
    words = plain(value).replace("\r\n", "\n")
    if len(words) > limit:
        words = f"{words[:limit]}… ({len(words) - limit:,} more)"
    return html.escape(visible(words))


def visible(words: str) -> str:
    """Characters that hide or reorder text by names that show."""
    return UNSEEN.sub(_visible, words)


def _visible(character: re.Match[str]) -> str:
    code = ord(character[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"


def figure(chart: Chart) -> str:
    """A chart with its title and the meaning of its lines."""
    keys = "".join(f'<span class="key {kind}">{shown(label)}</span>' for kind, label in chart.keys)
    kind = ' class="wide"' if chart.narrow else ""
    title = f"<h3>{shown(chart.title)}</h3>" if chart.title else ""
    caption = f"<figcaption>{title}{keys}</figcaption>"
    return f"<figure{kind}>{caption}\n{chart.svg}{chart.narrow or ''}</figure>\n"


def write_whole(page: str | bytes, path: Path) -> None:
    """Write a page, or another file of a report, to `path`, whole or not at all.

    Raises:
        RunFolderError: the file cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(page if isinstance(page, bytes) else page.encode())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        reason = error.strerror or error
        advice = "Choose a folder that exists and is writable."
        raise RunFolderError(f"The report cannot be written to {path}: {reason}. {advice}") from error
