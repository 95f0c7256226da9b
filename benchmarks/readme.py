"""Put the measured numbers into README.md and docs/: `python -m benchmarks.readme`. A test holds that they agree."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .doctor import markdown
from .engine_targets import OURS, mean, ratios
from .files import read

__all__ = ["filled"]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def main_job(results: dict[str, Any]) -> str:
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


def engine(results: dict[str, Any]) -> str:
    """The README's table from the results of `benchmarks.engine`: milliseconds, forward and backward."""
    rows = results["training"]["shapes"]
    names = {
        OURS: "the cell, compiled",
        "torch.nn.LSTM": "`torch.nn.LSTM`",
        "eager loop": "PyTorch in a loop",
        "JAX scan": "JAX `scan`",
    }
    lines = [f"| steps × batch × units | {' | '.join(names.values())} |", "|---" * (len(names) + 1) + "|"]
    for shape, row in rows.items():
        times = [f"{row['ms'][name]:.3g} ms" for name in names]
        lines.append(f"| {shape} | {' | '.join(times)} |")
    title = "our time over theirs, geometric mean"
    for where, of in (
        (title, results),
        (f"{title}, on a processor of half the rate", read(RESULTS / "engine-zen4.json")),
    ):
        means = [mean(ratios(of, "training", OURS, name)) for name in list(names)[1:]]
        lines.append(f"| {where} | | " + " | ".join(f"{m:.2f}" for m in means) + " |")
    return "\n".join(lines) + "\n"


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {"main_job": main_job, "engine": engine, "doctor": markdown}
PAGES = (ROOT / "README.md", ROOT / "docs" / "doctor.md")


def filled(page: str) -> str:
    """A page with the present numbers."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name} -->\n", "<!-- end -->\n"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        text = begin + table(read(RESULTS / f"{name}.json")) + end
        page = pattern.sub(lambda _, text=text: text, page)
    return page


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
