"""Two processes train what one trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

OPTIONS = (
    "--steps 12 --hidden-size 10 --embedding-size 6 --batch 4 --window 8 --evaluations 2 --threads 1 --device cpu "
    "--precision float64 --checkpoint-seconds 0 --dropout 0"  # each process would drop other units
).split()


LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_two_processes_equal_one(tmp_path: Path, start: Callable, finish: Callable) -> None:
    (tmp_path / "text.txt").write_text("Two hands are better than one, if they know of each other.\n" * 30)
    finish(start(tmp_path, "-m", "carousel", "train", "text.txt", *OPTIONS, "--out", "one"))
    shown = finish(start(tmp_path, *LAUNCHER, "-m", "carousel", "train", "text.txt", *OPTIONS, "--out", "two"))
    assert shown.count("Kept: dev loss") == 1
    one, two = (torch.load(tmp_path / run / "last.ckpt", weights_only=True) for run in ("one", "two"))
    assert len(two["processes"]) == 2
    assert one["step"] == two["step"] == 12
    for name, weight in one["network"].items():
        # the same sums in another order, through 12 updates: a few float64 roundings
        torch.testing.assert_close(two["network"][name], weight, rtol=0, atol=1e-10)
    lines = [(tmp_path / run / "metrics.jsonl").read_text().count("\n") for run in ("one", "two")]
    assert lines[0] == lines[1]
