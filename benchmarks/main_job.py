"""The main job, measured: `python -m benchmarks.main_job [quality|overhead|sampling|all] --data FILE`.

- quality: `carousel train FILE --minutes 3` with nothing else set, three seeds; dev loss in nats per character.
- overhead: seconds per iteration of the training loop over seconds of the bare forward, backward, clipping and update
  of the same model on the same windows, in turns in one process.
- sampling: characters per second of `Run.sample` on one thread, from the model that quality left.

Results go to `benchmarks/results/main_job.json`, each part under its name.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

import carousel
from carousel.cli.progress import Progress
from carousel.runs import environment
from carousel.training import Callback, Step, StreamFeed, Trainer, optimizer

from .files import read, rounded, write

RESULTS = Path(__file__).parent / "results" / "main_job.json"


def quality(data: Path, work: Path, seeds: int, minutes: float) -> dict[str, Any]:
    """Train from the command line, as a user does."""
    rows = []
    for seed in range(seeds):
        out = work / f"seed{seed}"
        shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, "-m", "carousel", "train", str(data), "--minutes", str(minutes), "--out", str(out)]
        begun = time.perf_counter()
        subprocess.run([*command, "--seed", str(seed)], check=True, stdout=subprocess.DEVNULL)
        run = carousel.load(out)
        rows.append(
            {
                "seed": seed,
                "dev_loss": run.status["best_dev_loss"],
                "steps": run.status["steps"],
                "seconds": run.status["seconds"],
                "wall_seconds": round(time.perf_counter() - begun, 1),
                "tokens_per_second": statistics.median(
                    line["tokens_per_second"] for line in run.metrics if "tokens_per_second" in line
                ),
            }
        )
        print(rows[-1])
    losses = [row["dev_loss"] for row in rows]
    config = {key: value for group in ("network", "training") for key, value in run.config[group].items()}
    return {
        "minutes": minutes,
        "mean_dev_loss": statistics.fmean(losses),
        "worst": max(losses),
        "runs": rows,
        "config": config,
    }


class Beside(Callback):
    """Times every iteration of the loop, and after each one the same arithmetic without the loop."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {"loop": [], "bare": []}

    def on_begin(self, trainer: Trainer) -> None:
        """Make the peer: the same network, windows and update rule."""
        self.network = copy.deepcopy(trainer.bare_network)
        settings = trainer.settings
        self.clip, self.state, self.turn = settings.clip, None, 0
        self.rule = optimizer(self.network.parameters(), settings)
        k, feed = settings.window, trainer.feed
        assert isinstance(feed, StreamFeed)
        assert k is not None
        self.windows = [feed.stream.window(k * i, k * (i + 1)) for i in range(trainer.steps)]
        self.since = time.perf_counter()

    def on_step(self, trainer: Trainer, step: Step) -> None:
        """The loop has just made one update."""
        self.times["loop"].append(time.perf_counter() - self.since)
        begun = time.perf_counter()
        window = self.windows[self.turn]
        self.rule.zero_grad()
        output, state = self.network(window.inputs, self.state)
        cross_entropy(output.flatten(0, 1), window.targets.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.rule.step()
        self.state, self.turn = tuple(s.detach() for s in state), self.turn + 1
        self.times["bare"].append(time.perf_counter() - begun)
        self.since = time.perf_counter()


def overhead(data: Path) -> dict[str, Any]:
    """Iterations of the real loop (with its log, run folder and progress bar) in turns with bare updates."""
    beside = Beside()
    with tempfile.TemporaryDirectory() as folder, Progress() as progress:
        carousel.train(data, steps=100, evaluations=1, out=Path(folder) / "run", callbacks=[progress, beside])
    medians = {name: statistics.median(seconds[10:]) for name, seconds in beside.times.items()}
    pairs = zip(beside.times["loop"][10:], beside.times["bare"][10:], strict=True)
    return {
        **{f"{name}_median_s": value for name, value in medians.items()},
        "ratio": statistics.median(loop / bare for loop, bare in pairs),
        "pairs": len(beside.times["loop"]) - 10,
        "threads": torch.get_num_threads(),
    }


def sampling(work: Path) -> dict[str, Any]:
    """Characters per second on one core."""
    run = carousel.load(work / "seed0")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run.sample(500, seed=0)
    rates = []
    for seed in range(7):
        begun = time.perf_counter()
        run.sample(5000, seed=seed)
        rates.append(5000 / (time.perf_counter() - begun))
    torch.set_num_threads(threads)
    return {"characters_per_second": statistics.median(rates), "slowest": min(rates), "threads": 1}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="all", choices=["quality", "overhead", "sampling", "all"])
    parser.add_argument(
        "--data", type=Path, required=True, help="a text file; the stated numbers are of tinyshakespeare"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark"), help="where the runs go")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=3)
    options = parser.parse_args()
    results = read(RESULTS)
    parts = {
        "quality": lambda: quality(options.data, options.work, options.seeds, options.minutes),
        "overhead": lambda: overhead(options.data),
        "sampling": lambda: sampling(options.work),
    }
    for name, measure in parts.items():
        if options.part in (name, "all"):
            print(name, "...", flush=True)
            results[name] = {"data": options.data.name, **measure(), "environment": _where()}
            write(RESULTS, results)
            print(json.dumps(rounded({k: v for k, v in results[name].items() if k not in ("config", "environment")})))


def _where() -> dict[str, Any]:
    found = environment()
    return {key: found[key] for key in ("date", "processor", "cpu_flags", "cores", "threads", "python", "versions")}


if __name__ == "__main__":
    main()
