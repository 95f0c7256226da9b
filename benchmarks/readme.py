"""Put the measured numbers into README.md: `python -m benchmarks.readme`. A test holds that they are in step."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

__all__ = ["filled", "table"]

ROOT = Path(__file__).parents[1]
MARKS = ("<!-- main_job -->\n", "<!-- end -->\n")


def table(results: dict[str, Any]) -> str:
    """The README's rows from the results of `benchmarks.main_job`."""
    quality, overhead, sampling = (results[part] for part in ("quality", "overhead", "sampling"))
    losses = ", ".join(f"{run['dev_loss']:.3f}" for run in quality["runs"])
    return f"""| what | measured |
|---|---|
| `carousel train {quality["data"]} --minutes {quality["minutes"]:g}`, nothing else set: \
dev loss in nats per character, mean of {len(quality["runs"])} seeds ({losses}) | {quality["mean_dev_loss"]:.3f} |
| one update of the training loop, beside the bare forward, backward and update of the same model | \
{overhead["ratio"]:.2f} × |
| characters per second sampled from that model, one thread | {sampling["characters_per_second"]:,.0f} |
"""


def filled(readme: str, results: dict[str, Any]) -> str:
    """The README with the present numbers."""
    begin, end = MARKS
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    return pattern.sub(lambda _: begin + table(results) + end, readme)


if __name__ == "__main__":
    path = ROOT / "README.md"
    results = json.loads((ROOT / "benchmarks" / "results" / "main_job.json").read_text())
    path.write_text(filled(path.read_text(), results))
