"""How OpenMP's threads wait for each other: `python -m benchmarks.waiting`.

Milliseconds for forward and backward of the main job's LSTM, with libgomp's default and with the spin count that the
command `carousel` sets, on the machine as it is and beside as many busy processes as it has
cores. Written to `benchmarks/results/waiting.json`; medians of 5 processes each, in turns.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "waiting.json"

CHILD = """
import statistics, time, torch
lstm, x = torch.nn.LSTM(128, 384), torch.randn(64, 16, 128, requires_grad=True)
seconds = []
while len(seconds) < 3 or sum(seconds) < 2:
    begun = time.perf_counter()
    lstm(x)[0].sum().backward()
    seconds.append(time.perf_counter() - begun)
print(statistics.median(seconds[1:]) * 1e3)
"""
POLICIES = {"libgomp's default": {}, "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"}}


def measure(policy: dict[str, str], *, beside: bool) -> float:
    """Milliseconds in a fresh process."""
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
    busy = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(busy) for _ in range(os.cpu_count() or 1)] if beside else []
    try:
        child = subprocess.run([sys.executable, "-c", CHILD], env=clean | policy, capture_output=True, check=True)
        return float(child.stdout)
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> None:
    """Measure and write."""
    rows: dict[str, list[float]] = {}
    for _ in range(5):
        for name, policy in POLICIES.items():
            for beside in (False, True):
                key = f"{name}, {'beside busy processes' if beside else 'alone'}"
                rows.setdefault(key, []).append(measure(policy, beside=beside))
    results: dict[str, object] = {"cores": os.cpu_count()}
    for key, values in rows.items():
        results[key] = {"median_ms": round(statistics.median(values), 1), "all_ms": [round(v, 1) for v in values]}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
