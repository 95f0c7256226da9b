"""Timing on a machine that others use too: medians, and only of samples that hardly waited for a core."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["interleaved"]

MOST_WAIT = 0.02
"""Share of a sample's time that its threads may have waited for a core; samples above are left out."""


def _waited() -> float:
    """Seconds that this process's threads were ready to run and had no core (Linux; 0 elsewhere)."""
    total = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            total += int(path.read_text().split()[1])
        except OSError:  # the thread has just ended
            continue
    return total * 1e-9


def interleaved(functions: dict[str, Callable[[], object]], samples: int = 15, warmup: int = 3) -> dict[str, Any]:
    """Median seconds of each function; they take turns, so that a slow moment of the machine hits all of them alike.

    Returns:
        Per name `{"median_s", "min_s", "samples", "clean"}`; `clean` counts the samples that hardly waited for a core.
        The median is over these where there are at least five, otherwise over the five that waited least.
    """
    for _ in range(warmup):
        for function in functions.values():
            function()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for _ in range(samples):
        for name, function in functions.items():
            waited, begun = _waited(), time.perf_counter()
            function()
            seconds = time.perf_counter() - begun
            taken[name].append(((_waited() - waited) / seconds, seconds))
    return {name: _summary(pairs) for name, pairs in taken.items()}


def _summary(pairs: list[tuple[float, float]]) -> dict[str, float]:
    clean = [seconds for waited, seconds in pairs if waited < MOST_WAIT]
    used = clean if len(clean) >= 5 else [seconds for _, seconds in sorted(pairs)[:5]]
    return {
        "median_s": statistics.median(used),
        "min_s": min(seconds for _, seconds in pairs),
        "samples": len(pairs),
        "clean": len(clean),
    }
