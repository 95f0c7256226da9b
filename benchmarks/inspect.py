"""What it costs to look inside an LSTM of 2 x 512 over 1,000 steps: `python -m benchmarks.inspect`.

Seconds of each function and of all, on as many threads as PyTorch takes, and the memory that is used more at the most;
written to benchmarks/results/inspect.json.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from carousel import inspect

RESULTS = Path(__file__).parent / "results" / "inspect.json"
STEPS, UNITS, LAYERS, INPUTS = 1000, 512, 2, 64


def main() -> None:
    """Measure once each, in turn; the first call of a function counts."""
    torch.manual_seed(0)
    layer, x = nn.LSTM(INPUTS, UNITS, LAYERS), torch.randn(STEPS, 2, INPUTS)
    single = x[:, 0]
    jobs: dict[str, Callable[[], Any]] = {
        "gradients_through_time": lambda: inspect.gradients_through_time(
            layer, lambda: layer(x)[0][-1].square().mean()
        ),
        "carried_gradients": lambda: inspect.carried_gradients(layer, single, probes=8),
        "quantities": lambda: inspect.quantities(layer, single),
        "memory_by_gradient": lambda: inspect.memory_by_gradient(layer, x),
        "memory_by_intervention": lambda: inspect.memory_by_intervention(layer, x, lags=8),
        "unit_values": lambda: inspect.unit_values(layer, torch.arange(STEPS), call=lambda t: layer(x[t[:, 0]])),
        "impulse_response": lambda: inspect.impulse_response(layer, inputs=single),
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = {}
    for name, job in jobs.items():
        begin = time.perf_counter()
        job()
        seconds[name] = round(time.perf_counter() - begin, 2)
        print(f"{name:26}{seconds[name]:8.2f} s", flush=True)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    found = {
        "network": f"LSTM, {LAYERS} x {UNITS}", "steps": STEPS, "threads": torch.get_num_threads(), "seconds": seconds,
        "all": round(sum(seconds.values()), 2), "more_memory_mib": round(more),
    }  # fmt: skip
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(f"{'all':26}{found['all']:8.2f} s, {found['more_memory_mib']:,} MiB more memory")


if __name__ == "__main__":
    main()
