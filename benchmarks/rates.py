"""What the range test suggests, beside the rates that train best: `python -m benchmarks.rates DATA_DIR [SECONDS]`.

For each job the curve of `carousel.find_rate` with three seeds, and the dev loss of short runs at rates from a grid,
with everything else as it is by default. Written to `benchmarks/results/rates.json` and into docs/tuning.md; what is
there is not measured again, and no further measurement begins after SECONDS, so that the same command goes on.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import carousel

RESULTS = Path(__file__).parent / "results" / "rates.json"
GUIDE = Path(__file__).parents[1] / "docs" / "tuning.md"
GRID = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
JOBS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "housing.csv (table)": ("tabular/housing.csv", 400, {}),
    "adult-train.csv (table)": ("tabular/adult-train.csv", 400, {}),
    "Shakespeare, LSTM of 128": ("text/tinyshakespeare.txt", 400, {"cell": "lstm", "hidden_size": 128}),
    "2,000 images of MNIST": ("mnist", 150, {}),
    "2,000 images of MNIST, sgd": ("mnist", 150, {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.0}),
}
"""Name -> data, updates of a short run, settings."""


def images(mnist: Path, out: Path) -> Path:
    """The first 2,000 images of MNIST's training files, in a folder for each class."""
    pixels, labels = (
        np.frombuffer(gzip.decompress((mnist / f"train-{name}.gz").read_bytes()), np.uint8, offset=offset)
        for name, offset in (("images-idx3-ubyte", 16), ("labels-idx1-ubyte", 8))
    )
    for number in range(2000):
        path = out / str(labels[number]) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[784 * number : 784 * (number + 1)].reshape(28, 28)).save(path)
    return out


def table(found: dict[str, Any]) -> str:
    """What docs/tuning.md shows."""
    head = ["job", "fastest fall", "a tenth of the lowest", "suggestion", *(f"{rate:g}" for rate in GRID)]
    lines = [f"| {' | '.join(head)} |", f"|---{'|--:' * (len(head) - 1)}|"]
    for name, job in found.items():
        tests, losses = list(job["tests"].values()), job["dev_loss"]
        if not tests or len(losses) < len(GRID):  # stopped in the middle
            continue
        read = [[test["steepest"], test["lowest"] / 10, test["suggestion"]] for test in tests if test["suggestion"]]
        cells = [_span(values) for values in zip(*read, strict=True)]
        best = min(losses.values(), default=None)
        for rate in GRID:
            loss = losses.get(str(rate))
            cells.append("" if loss is None else f"**{loss:.4f}**" if loss == best else f"{loss:.4f}")
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


def _span(values: Sequence[float]) -> str:
    """Over the seeds."""
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low} to {high}"


def main(data: Path, seconds: float) -> None:
    """Measure what is missing."""
    end = time.monotonic() + seconds
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        small = images(data / "mnist", Path(temporary) / "mnist")
        for seeds in ((0,), (1, 2)):
            for name, (path, steps, settings) in JOBS.items():
                source = small if path == "mnist" else data / path
                job = found.setdefault(name, {"tests": {}, "dev_loss": {}})
                for seed in seeds:
                    if str(seed) not in job["tests"] and time.monotonic() < end:
                        test = carousel.find_rate(source, seed=seed, threads=1, **settings)
                        job["tests"][str(seed)] = {
                            "steepest": test.steepest,
                            "lowest": test.lowest,
                            "suggestion": test.suggestion,
                            "reason": test.reason,
                        }
                        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
                for rate in GRID:
                    if str(rate) not in job["dev_loss"] and time.monotonic() < end:
                        out = Path(temporary) / f"run-{time.monotonic_ns()}"
                        options = {"steps": steps, "evaluations": 2, "threads": 1, "out": out, **settings}
                        run = carousel.train(source, learning_rate=rate, **options)
                        job["dev_loss"][str(rate)] = run.status["best_dev_loss"]
                        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    before, _, rest = GUIDE.read_text().partition("<!-- rates -->\n")
    GUIDE.write_text(f"{before}<!-- rates -->\n{table(found)}\n<!-- /rates -->{rest.partition('<!-- /rates -->')[2]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1e9)
