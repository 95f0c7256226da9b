"""A table that is quickly learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """150 rows, two numbers, two classes."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(150, 2)).round(3)
    lines = [
        f"{a},{b},{'yes' if a + 0.5 * b + 0.3 * e > 0 else 'no'}"
        for (a, b), e in zip(rows, draw.normal(size=150), strict=True)
    ]
    Path("rows.csv").write_text("\n".join(["a,b,target", *lines]) + "\n")
    return "rows.csv"
