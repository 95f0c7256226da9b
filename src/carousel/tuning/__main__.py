"""A process of a study that `tune` has started: `python -m carousel.tuning FOLDER TRIALS DEADLINE THREADS`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from ..errors import CarouselError
from ..runs import RunFolder
from .space import parse_space
from .study import Worker


def main(folder: str, trials: str, deadline: str, threads: str) -> int:
    """Work on the study until it is done, or whoever started us has gone."""
    torch.set_num_threads(int(threads))
    asked, parent = RunFolder(Path(folder)).read_json("study.json"), os.getppid()
    until = None if deadline == "None" else float(deadline)
    worker = Worker(Path(folder), asked, parse_space(asked["search"]), None, int(trials), until)
    try:
        worker.work(go_on=lambda: os.getppid() == parent)
    except KeyboardInterrupt:
        return 0
    except CarouselError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
