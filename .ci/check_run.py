"""Is a run folder complete, and did its loss fall? Exit 1 with a sentence if not."""

import sys
from pathlib import Path

import carousel

FILES = (
    "config.yaml env.json findings.json last.ckpt metrics.jsonl model.safetensors network.json report.html "
    "samples.jsonl status.json tokenizer.json"
).split()

run = carousel.load(sys.argv[1])
missing = [name for name in FILES if not (Path(run.path) / name).is_file()]
losses = [line["train_loss"] for line in run.metrics if "train_loss" in line]
first, last = losses[0], sum(losses[-20:]) / len(losses[-20:])
best = run.status["best_dev_loss"]
print(f"train loss {first:.3f} -> {last:.3f}, best dev loss {best:.3f}, {run.status['seconds']:.0f} s")
if missing:
    sys.exit(f"{run.path} lacks {', '.join(missing)}")
if run.status["status"] != "finished":
    sys.exit(f"the run is {run.status['status']}, not finished")
if not (last < 0.6 * first and best < 0.6 * first):
    sys.exit("the loss did not fall as it should")
