"""Timing of several functions side by side, on a machine that others may use at the same time.

The functions take turns in one process, so that whatever slows the machine for a while slows all of them. A sample is
clean when the threads of this process waited for a core for less than 2 % of its time; Linux counts that wait in
`/proc/self/task/*/schedstat`. Elsewhere every sample counts as clean.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Timing", "interleaved"]

CLEAN = 0.02
"""The largest share of a clean sample's time that the process's threads may have waited for a core."""
SHORT = 0.05
"""Seconds; a function that is quicker is called once more just before its sample, so that its own threads are awake."""
PATIENCE = 4
"""How many times the wished duration is spent at most, in search of clean samples."""

_TASKS = Path("/proc/self/task")


@dataclass(frozen=True)
class Timing:
    """Of one function.

    Attributes:
        seconds: median over the clean samples; over as many of the least delayed where there were too few (a function
            that keeps more threads busy than there are cores delays itself).
        clean: how many samples were clean.
        samples: how many were taken.
        least: the shortest of all, in seconds.
    """

    seconds: float
    clean: int
    samples: int
    least: float


def interleaved(
    functions: Mapping[str, Callable[[], object]], *, seconds: float = 2.0, least: int = 7, warmup: int = 2
) -> dict[str, Timing]:
    """Call the functions in turns, round after round, and time each.

    Args:
        functions: what is timed, by name.
        seconds: how long to go on; up to four times as long while a function lacks clean samples.
        least: clean samples that each function needs.
        warmup: calls of each function before the first round.

    Returns:
        One `Timing` for every name.
    """
    for function in functions.values():
        for _ in range(warmup):
            function()
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    begun, rounds = time.perf_counter(), 0
    collecting = gc.isenabled()
    gc.disable()
    try:
        while True:
            for name, function in functions.items():
                seen = samples[name]
                seen.append(_sample(function, again=not seen or seen[-1][1] < SHORT))
            rounds += 1
            spent = time.perf_counter() - begun
            fewest = min(sum(share < CLEAN for share, _ in seen) for seen in samples.values())
            if (fewest >= least and spent >= seconds) or (rounds >= least and spent >= PATIENCE * seconds):
                break
            gc.collect(0)
    finally:
        if collecting:
            gc.enable()
    return {name: _summary(seen, least) for name, seen in samples.items()}


def _sample(function: Callable[[], object], *, again: bool) -> tuple[float, float]:
    """The share of the time that this process's threads waited for a core, and the time."""
    _let_threads_sleep()
    if again:
        function()
    waited, begun = _waited(), time.perf_counter()
    function()
    taken = time.perf_counter() - begun
    return max(_waited() - waited, 0.0) / taken, taken


def _summary(samples: list[tuple[float, float]], least: int) -> Timing:
    clean = [taken for share, taken in samples if share < CLEAN]
    used = clean if len(clean) >= least else [taken for _, taken in sorted(samples)[:least]]
    return Timing(statistics.median(used), len(clean), len(samples), min(taken for _, taken in samples))


def _waited() -> float:
    """Seconds that the threads of this process have waited for a core so far; 0 where the system does not say."""
    return sum(int(line.split()[1]) for line in _of_threads("schedstat")) * 1e-9


def _let_threads_sleep(most: float = 0.2) -> None:
    """Wait until no other thread of this process runs: those of the function before may still spin for work."""
    until = time.perf_counter() + most
    while time.perf_counter() < until:
        if sum(line.rpartition(")")[2].split()[0] == "R" for line in _of_threads("stat")) <= 1:
            return
        time.sleep(0.001)


def _of_threads(name: str) -> list[str]:
    try:
        folders = list(_TASKS.iterdir())
    except OSError:
        return []
    lines = []
    for folder in folders:
        try:
            lines.append((folder / name).read_text())
        except OSError:  # the thread has ended
            continue
    return [line for line in lines if len(line.split()) > 1]
