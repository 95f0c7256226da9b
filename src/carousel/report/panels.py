"""What a trained network does, as parts of the page: plain data in, HTML out.

A panel is a mapping with `panel`, the name of its renderer in `PANELS`, a `title`, perhaps a `note`, and what the
renderer takes. A kind of data writes the panels that it has; a panel of an unknown name is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .chart_panels import CHARTS
from .figures import compact
from .words import first_finite, shown

__all__ = ["PANELS", "render_panels"]

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


def _confusion(panel: Mapping[str, Any]) -> str:
    """`labels`, and `counts` (true label × answer); a cell is as dark as its share of the row."""
    labels, counts = panel.get("labels") or [], panel.get("counts") or []
    head = "".join(f'<th scope="col"><span>{shown(label, 30)}</span></th>' for label in labels)
    rows = []
    for label, row in zip(labels, counts, strict=False):
        total = sum(row) or 1
        cells = "".join(_share(count, total, place == len(rows)) for place, count in enumerate(row))
        rows.append(f'<tr><th scope="row">{shown(label, 30)}</th>{cells}</tr>')
    return f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>" if rows else ""


def _share(count: Any, total: int, right: bool) -> str:
    number = int(first_finite(count) or 0)
    strength = round(60 * number / total)
    color = f"color-mix(in srgb, var(--{'good' if right else 'bad'}) {strength}%, transparent)"
    style = f' style="background: {color}"' if strength else ""
    return f"<td{style}>{f'{number:,}' if number else ''}</td>"


def _tags(panel: Mapping[str, Any]) -> str:
    """`sentences` of [word, tag, answer]; a wrong answer is struck through, the tag stands below."""
    lines = []
    for sentence in (panel.get("sentences") or [])[:MOST_ROWS]:
        words = []
        for word, tag, answer in sentence:
            wrong = "" if tag == answer else f"<i><s>{shown(answer, 30)}</s></i>"
            kind = ' class="wrong"' if wrong else ""
            words.append(f"<span{kind}><b>{shown(word, 60)}</b>{wrong}<i>{shown(tag, 30)}</i></span>")
        lines.append(f'<p class="tagged">{"".join(words)}</p>')
    return "".join(lines)


PNG = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")

PANELS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "table": _table,
    "confusion": _confusion,
    "tags": _tags,
    **CHARTS,
}
"""By the name of a panel, its renderer."""


def _cell(value: Any) -> str:
    """Numbers in brief, a dash for none, pictures, the rest as text."""
    if isinstance(value, Mapping):
        uri, name = str(value.get("image") or ""), shown(value.get("text") or "", 100)
        return f'<img src="{uri}" alt="{name}" title="{name}">' if PNG.fullmatch(uri) else name
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return shown(compact(value, 3 if isinstance(value, float) else 9))
    return shown(value, 400)
