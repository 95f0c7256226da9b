"""What a trained network does, as parts of the page: plain data in, HTML out.

A panel is a mapping with `panel`, the name of its renderer in `PANELS`, a `title`, perhaps a `note`, and what the
renderer takes. A kind of data writes the panels that it has; a panel of an unknown name is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .figures import compact
from .series_panels import SERIES_PANELS
from .words import first_finite, shown

__all__ = ["PANELS", "render_panels"]

MOST_CLASSES = 40
MOST_ROWS = 100


def render_panels(panels: Sequence[Mapping[str, Any]]) -> str:
    """All panels, in their order."""
    parts = []
    for panel in panels:
        render = PANELS.get(str(panel.get("panel")))
        body = "" if render is None else render(panel)
        if body:
            note = panel.get("note")
            lead = f'<p class="quiet">{shown(note)}</p>' if note else ""
            title = shown(panel.get("title") or "")
            kind = shown(panel["panel"])
            parts.append(f'<div class="card panel {kind}"><h3>{title}</h3>{lead}<div class="scroll">{body}</div></div>')
    return f'<div class="panels">\n{"".join(parts)}\n</div>' if parts else ""


def _table(panel: Mapping[str, Any]) -> str:
    """`columns`, and `rows` of as many cells."""
    columns, rows = panel.get("columns") or [], panel.get("rows") or []
    head = "".join(f'<th scope="col">{shown(column)}</th>' for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows[:MOST_ROWS])
    more = f'<p class="quiet">{len(rows) - MOST_ROWS:,} more rows.</p>' if len(rows) > MOST_ROWS else ""
    return f'<table class="wide"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}' if rows else ""


PANELS: dict[str, Callable[[Mapping[str, Any]], str]] = {"table": _table, **SERIES_PANELS}
"""By the name of a panel, its renderer."""


def _cell(value: Any) -> str:
    """Numbers in brief, the rest as text."""
    number = first_finite(value) if isinstance(value, float) else None
    return shown(value, 400) if number is None else shown(compact(number, 3))
