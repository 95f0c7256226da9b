"""The compiled code under AddressSanitizer and UndefinedBehaviorSanitizer, once through every cell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
import torch
torch.set_num_threads(2)
from carousel.engine import pool
from carousel.nn import Stepper
pool.SMALL = 1 << 60  # exact allocations, so that one element too far is seen
from tests.contract.cases import CASES, normal
from tests.contract.helpers import tensors, weighted_sum

for case in CASES:
    for dtype, time, batch, hidden in ((torch.float32, 3, 5, 7), (torch.float32, 2, 1, 130), (torch.float64, 2, 9, 33)):
        layer = case.layer(5, hidden, 1, dtype=dtype, backend="cpu")
        x = normal(time, batch, case.features(5), seed=1, dtype=dtype).requires_grad_()
        reset = torch.zeros(time, batch, dtype=torch.bool)
        reset[1, 0] = True
        for keywords in ({}, {"reset": reset, "lengths": torch.full((batch,), time - 1)}):
            weighted_sum(layer(x, generator=torch.Generator().manual_seed(1), **keywords)).backward()
            with torch.no_grad():
                layer(x, generator=torch.Generator().manual_seed(1), **keywords)
        with torch.no_grad():
            stepper = Stepper(layer, batch)
            for x_t in x:
                stepper(x_t)
    print(case.name, flush=True)
print("through")
"""


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_every_cell(tmp_path: Path) -> None:
    found = [
        subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = {
        **os.environ,
        "LD_PRELOAD": ":".join(found),
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "CAROUSEL_CACHE": str(tmp_path),
        "CAROUSEL_CXXFLAGS": "-fsanitize=address,undefined -fno-sanitize-recover=all -O1",
        "PYTHONPATH": str(ROOT),
    }
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-300:] + result.stderr[-6000:]
    assert result.stdout.endswith("through\n")
