"""The findings as people read them: text for a terminal or a file, HTML for a notebook."""

from __future__ import annotations

import textwrap
from html import escape
from typing import IO

from rich.console import Console
from rich.text import Text

from .findings import Finding

__all__ = ["as_html", "as_text", "headline", "write"]

STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}
"""By severity, in the order in which they are shown."""

WIDEST = 100


def headline(findings: list[Finding], steps: int) -> str:
    """How many, in one line."""
    if not findings:
        return f"nothing found in {_count(steps, 'update')}."
    kinds = [(kind, sum(f.severity == kind for f in findings)) for kind in STYLES]
    parts = ", ".join(_count(number, kind) for kind, number in kinds if number)
    return f"{_count(len(findings), 'finding')} in {_count(steps, 'update')} ({parts})"


def write(findings: list[Finding], said: str, notes: list[str], file: IO[str]) -> None:
    """The same as `as_text`, in color if the file is a terminal and `NO_COLOR` is not set."""
    console = Console(file=file, highlight=False)
    console.print(_text(findings, said, notes, min(console.width, WIDEST)), soft_wrap=True)


def as_text(findings: list[Finding], said: str, notes: list[str], width: int = 80) -> str:
    """A block for each finding.

    Args:
        findings: what is shown.
        said: the first line.
        notes: sentences that follow.
        width: columns.
    """
    return _text(findings, said, notes, width).plain


def as_html(findings: list[Finding], said: str, notes: list[str]) -> str:
    """A table."""
    colors = {"error": "#b3261e", "warning": "#8a6100", "note": "#00629b"}
    left = "text-align:left;vertical-align:top"
    head = "".join(f'<th style="{left}">{name}</th>' for name in ("", "what", "where", "seen", "what to do"))
    rows = [
        "".join(f'<td style="{left}">{cell}</td>' for cell in cells)
        for f in _sorted(findings)
        for cells in [
            (
                f'<b style="color:{colors[f.severity]}">{f.severity}</b>',
                f"<code>{escape(f.code)}</code>",
                *(escape(part) for part in (f.where, _evidence(f), f.advice)),
            )
        ]
    ]
    table = f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>" if rows else ""
    return f"<p><b>carousel doctor</b>: {escape(said)}</p>{table}{''.join(f'<p>{escape(n)}</p>' for n in notes)}"


def _text(findings: list[Finding], said: str, notes: list[str], width: int) -> Text:
    def wrapped(words: str, indent: str = "") -> str:
        lines = textwrap.wrap(
            words,
            width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        return "\n".join(lines)

    text = Text("\n")
    text.append("carousel doctor", "bold").append(f": {said}\n")
    for f in _sorted(findings):
        text.append("\n").append(f.severity, STYLES[f.severity]).append(": ").append(f.code, "bold")
        text.append(f", {f.where}\n")
        text.append(f"{wrapped(_evidence(f), '  ')}\n")
        first, *rest = wrapped(f"What to do: {f.advice}", "  ").removeprefix("  ").split(":", 1)
        text.append("  ").append(f"{first}:", "bold").append(f"{''.join(rest)}\n")
    for note in notes:
        text.append(f"\n{wrapped(note)}\n")
    text.rstrip()
    return text


def _sorted(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda f: list(STYLES).index(f.severity))


def _evidence(f: Finding) -> str:
    return f.evidence + (f" It explains {', '.join(f.consequences)} too." if f.consequences else "")


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"
