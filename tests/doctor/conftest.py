"""Small training runs, watched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from carousel.doctor import Doctor, Finding
from carousel.doctor.lab import Lab


@pytest.fixture
def findings() -> Callable[..., list[Finding]]:
    """`findings(train)`: what the doctor says of a function that trains or makes one; errors and warnings only."""

    def watched(train: Callable[[], object], *, probe: bool = True) -> list[Finding]:
        torch.manual_seed(0)
        lab = Lab(seconds=60.0)  # what a rule says is not to depend on what else the machine does
        with Doctor(probe=probe, lab=lab) as doctor:
            made = train()
            if callable(made):
                made()
        assert doctor.record.lab is None or doctor.record.lab.troubles == []
        assert [f.evidence for f in doctor.findings if f.code == "doctor-failed"] == []
        return [f for f in doctor.findings if f.severity != "note"]

    return watched


class Scripts:
    """Scripts in a folder, run with the doctor and without."""

    def __init__(self, folder: Path):
        self.folder = folder

    def write(self, text: str, name: str = "train.py") -> None:
        """A file."""
        (self.folder / name).write_text(text, encoding="utf-8")

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Python, with one thread."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # a background job of a shell ignores it
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
            **options,
        )

    def alone(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """The script as it is."""
        process = self.start(*(arguments or ("train.py",)))
        out, err = process.communicate(given, timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def watched(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Under the doctor."""
        return self.alone("-m", "carousel", "doctor", *(arguments or ("train.py",)), given=given)

    def found(self, name: str = "found.json") -> dict[str, Any]:
        """What `--json` wrote."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def same(self, *arguments: str, given: str = "") -> tuple[subprocess.CompletedProcess[str], str]:
        """Run both ways; what the script prints, says and ends with must agree. Returns what the doctor says too."""
        alone = self.alone(given=given)
        watched = self.watched(*arguments, "train.py", given=given)
        said, mark, report = watched.stderr.partition("\ncarousel doctor: ")
        assert mark, watched.stderr
        assert (watched.stdout, said, watched.returncode) == (alone.stdout, alone.stderr, alone.returncode)
        return alone, report


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    """In a folder of their own."""
    return Scripts(tmp_path)
