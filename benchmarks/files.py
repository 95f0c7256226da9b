"""Results files: JSON, written whole or not at all, numbers with five digits."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

__all__ = ["read", "rounded", "write"]


def read(path: Path) -> dict[str, Any]:
    """What a file holds; nothing where there is none."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, results: dict[str, Any]) -> None:
    """Replace a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".part").write_text(json.dumps(rounded(results), indent=1) + "\n")
    path.with_suffix(".part").replace(path)


def rounded(value: Any) -> Any:
    """With five digits, at any depth."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    if isinstance(value, float) and value and math.isfinite(value):
        return float(f"{value:.5g}")
    return value
