"""One run of a script, stamped: `python doctor_stamps.py OUT SCRIPT [DOCTOR'S OPTIONS …]`.

Without options it is a plain run; with some (`--json FILE` at least), the same script under `carousel doctor`. OUT gets
the seconds from the first update to the end, which is where the doctor's judgment is done; the same in processor time;
the seconds of the whole process; the number of updates, and the peak of memory. PyTorch's own hook takes the stamps, in
both cases.
"""

from __future__ import annotations

import json
import resource
import runpy
import sys
import time
from pathlib import Path

BEGUN = time.perf_counter()


def main() -> None:
    """Run, and write the stamps however it ends."""
    out, script, *options = sys.argv[1:]
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    steps: list[tuple[float, float]] = []
    register_optimizer_step_pre_hook(lambda *_: steps.append((time.perf_counter(), time.process_time())))
    try:
        if options:
            from carousel.cli.main import main as carousel

            carousel(["doctor", *options, script])
        else:
            sys.argv = [script]
            sys.path[0] = str(Path(script).parent.resolve())
            runpy.run_path(script, run_name="__main__")
    finally:
        wall, processor = time.perf_counter(), time.process_time()
        first = steps[0] if steps else (wall, processor)
        stamps = {
            "training_s": wall - first[0],
            "training_cpu_s": processor - first[1],
            "whole_s": wall - BEGUN,
            "steps": len(steps),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        Path(out).write_text(json.dumps(stamps))


if __name__ == "__main__":
    main()
