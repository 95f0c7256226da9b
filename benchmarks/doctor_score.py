"""Scores of the doctor's bench: what was named, what was a false alarm, and how sure the shares are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeGuard

from .doctor_variants import Variant

__all__ = ["Share", "holds", "judged", "recovered", "table", "totals", "wilson"]

COUNTED = ("error", "warning")
"""Severities that count; a note is never right or wrong."""

RECOVERED = 0.8
"""Of the way from the script's result to its mended twin's."""


@dataclass(frozen=True)
class Share:
    """`of` cases, `hits` of them so; as text with its 95 % interval."""

    hits: int
    of: int

    def __str__(self) -> str:
        if not self.of:
            return "none"
        low, high = wilson(self.hits, self.of)
        return f"{self.hits} of {self.of}, {self.hits / self.of:.0%} ({low:.0%} to {high:.0%})"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        share = self.hits / self.of if self.of else None
        return {"hits": self.hits, "of": self.of, "share": share, "interval": list(wilson(self.hits, self.of))}


def wilson(hits: int, of: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share after Wilson; everything is possible where nothing was seen."""
    if not of:
        return 0.0, 1.0
    share, spread = hits / of, z * z / of
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / of + spread / (4 * of)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def judged(report: dict[str, Any] | None, label: dict[str, Any]) -> dict[str, Any]:
    """One run's row: the codes it counted once each, what was missed, and the findings that are false alarms.

    Args:
        report: what `--json` wrote; None where there is none.
        label: `expect` and `accept`, as in the bench's labels; both empty for a healthy script.
    """
    findings = [f for f in (report or {}).get("findings", []) if f.get("severity") in COUNTED]
    codes = list(dict.fromkeys(f["code"] for f in findings))
    allowed = [*label["expect"], *label["accept"]]
    missed = [code for code in label["expect"] if code not in codes]
    false = [code for code in codes if code not in allowed]
    return {
        "expect": label["expect"],
        "codes": codes,
        "notes": [f["code"] for f in (report or {}).get("findings", []) if f.get("severity") not in COUNTED],
        "missed": missed,
        "false": false,
        "clean": report is not None and not codes,
        "right": report is not None and not missed and not false,
        "findings": [{k: f[k] for k in ("code", "severity", "where", "evidence", "advice")} for f in findings],
    }


def totals(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Recall in all and per code, precision of what was reported, and the healthy runs without a finding."""
    rows = list(rows)
    expected = [(code, code not in row["missed"]) for row in rows for code in row["expect"]]
    reported = [code not in row["false"] for row in rows for code in row["codes"]]
    clean = [row["clean"] for row in rows if not row["expect"]]
    per_code: dict[str, list[bool]] = {}
    for code, named in expected:
        per_code.setdefault(code, []).append(named)
    return {
        "recall": Share(sum(named for _, named in expected), len(expected)),
        "precision": Share(sum(reported), len(reported)),
        "clean": Share(sum(clean), len(clean)),
        "codes": {code: Share(sum(named), len(named)) for code, named in sorted(per_code.items())},
    }


def table(groups: dict[str, dict[str, Any]]) -> str:
    """The markdown table: a row per measure and per code, a column per group of `totals`."""
    lines = [f"| | {' | '.join(groups)} |", "|---" * (len(groups) + 1) + "|"]
    measures = {
        "faults named (recall)": "recall",
        "reported codes that are right (precision)": "precision",
        "healthy runs without a finding": "clean",
    }
    for title, key in measures.items():
        lines.append(f"| {title} | {' | '.join(str(of[key]) for of in groups.values())} |")
    for code in sorted({code for of in groups.values() for code in of["codes"]}):
        cells = [of["codes"].get(code, Share(0, 0)) for of in groups.values()]
        lines.append(f"| `{code}` | {' | '.join(f'{s.hits} of {s.of}' if s.of else '' for s in cells)} |")
    return "\n".join(lines) + "\n"


def holds(variant: Variant, result: float | None, twin: float | None) -> bool:
    """Whether a label is true: a healthy run's result is good, a faulty one's clearly worse than its good twin's."""
    family = variant.family
    good = family.fair.get(variant.name, family.good)
    if variant.healthy:
        return _finite(result) and (result >= good if family.higher else result <= good)
    if not _finite(twin) or not (twin >= good if family.higher else twin <= good):
        return False
    if not _finite(result):
        return True
    if variant.script in family.flattered:
        return result > twin if family.higher else result < twin
    return result <= twin - family.margin if family.higher else result >= twin * family.margin


def recovered(
    script: float | None, repaired: float | None, twin: float | None, *, higher: bool, flattered: bool = False
) -> float | None:
    """How much of the way from a script's result to its twin's the repaired script has gone.

    Where the script itself has no result, since it fails or ends in NaN: the repaired result relative to the twin's.
    Where the fault flatters the result, the twin's must be met from both sides.
    """
    if not _finite(twin):
        return None
    if not _finite(repaired):
        return 0.0
    if not _finite(script):
        return repaired / twin if higher else twin / repaired
    if script == twin:
        return None
    if flattered:
        return 1 - abs(repaired - twin) / abs(twin - script)
    return (repaired - script) / (twin - script)


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
