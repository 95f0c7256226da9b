"""Where the doctor's bench finds its scripts, and how it runs them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from .doctor_variants import Variant, mended

__all__ = ["BENCH", "LIMIT", "doctor", "label", "labels", "options", "plain", "sha", "stamped", "texts", "tool"]

ROOT = Path(__file__).parents[1]
BENCH = ROOT.parent / "shared" / "doctor" / "bench"
TOOL = ("src/carousel/doctor", "src/carousel/cli/doctor.py")
LIMIT = 60.0
"""Seconds that a run under the doctor may take."""

PATIENCE = 300.0
"""Seconds that one without may take: whether a label is true is no matter of time."""


def texts() -> dict[str, str]:
    """The open scripts by their names."""
    if not BENCH.is_dir():
        raise SystemExit(f"The bench's scripts are not there; they are looked for in {BENCH}.")
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted((BENCH / "scripts").glob("*.py"))}


def labels() -> dict[str, dict[str, Any]]:
    """What is wrong with each script, as `labels.json` says, by the names of `texts`."""
    held = json.loads((BENCH / "labels.json").read_text(encoding="utf-8"))
    return {name.removesuffix(".py"): row for name, row in held.items()}


def label(variant: Variant, held: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """What has to be named, and what may be; nothing for a mended script."""
    row = {"expect": [], "accept": []} if variant.script in mended() else held[variant.script]
    return {"expect": row["expect"], "accept": [*row["accept"], *variant.family.accept.get(variant.key, [])]}


def sha(text: str) -> str:
    """Tells texts apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def tool() -> str:
    """The commit that last changed the doctor, and what is not committed of it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    try:
        changes = git("diff", "HEAD", "--", *TOOL) + git("ls-files", "--others", "--exclude-standard", "--", *TOOL)
        return git("log", "-1", "--format=%h", "--", *TOOL).strip() + (f"+{sha(changes)[:4]}" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def environment() -> dict[str, str]:
    """One thread, and the package beside this file."""
    path = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": path}


def command(arguments: list[str], folder: Path) -> tuple[int | None, float, str]:
    """Run Python in a folder: exit code (None at the time limit), seconds, and what it printed as an error."""
    begun = time.perf_counter()
    with (folder / "stderr.txt").open("w+", encoding="utf-8") as errors:
        child = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
        )  # fmt: skip
        code = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = child.wait(LIMIT)
        if code is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        errors.seek(0)
        return code, time.perf_counter() - begun, errors.read()


def doctor(text: str) -> tuple[dict[str, Any] | None, float, str]:
    """Run a script under `carousel doctor --json`: the report (None where there is no valid one), seconds, trouble."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.py").write_text(text, encoding="utf-8")
        arguments = ["-m", "carousel", "doctor", "--json", "report.json", "train.py"]
        code, seconds, errors = command(arguments, folder)
        if code is None:
            return None, seconds, "time limit"
        try:
            report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None, seconds, (errors.strip().splitlines() or [f"exit code {code}"])[-1]
        return report, seconds, ""


def options() -> str:
    """What `carousel doctor --help` says."""
    arguments = [sys.executable, "-m", "carousel", "doctor", "--help"]
    return subprocess.run(arguments, env=environment(), capture_output=True, text=True, check=True).stdout


def stamped(text: str, options: list[str]) -> dict[str, float]:
    """Run a script in a process of its own, with the doctor if there are options for it: see `doctor_stamps.py`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.py").write_text(text, encoding="utf-8")
        command([str(Path(__file__).with_name("doctor_stamps.py")), "stamps.json", "train.py", *options], folder)
        return json.loads((folder / "stamps.json").read_text(encoding="utf-8"))


def plain(text: str) -> tuple[str, str, float]:
    """Run a script without the doctor: what it printed, how it ended, seconds.

    In a fork of this process, where PyTorch and scikit-learn are imported already: that takes longer than most scripts.
    """
    for name in ("datasets", "model_selection", "neighbors"):
        importlib.import_module(f"sklearn.{name}")
    torch.set_num_threads(1)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        script, out = Path(name) / "train.py", Path(name) / "stdout.txt"
        script.write_text(text, encoding="utf-8")
        child = multiprocessing.get_context("fork").Process(target=_main, args=(script, out))
        child.start()
        child.join(PATIENCE)
        late = child.is_alive()
        if late:
            child.kill()
            child.join()
        ended = "time limit" if late else "" if child.exitcode == 0 else "error"
        return out.read_text(encoding="utf-8"), ended, time.perf_counter() - begun


def _main(script: Path, out: Path) -> None:
    os.chdir(script.parent)
    with out.open("w", encoding="utf-8") as sys.stdout, (script.parent / "stderr.txt").open("w") as sys.stderr:
        sys.argv = [str(script)]
        runpy.run_path(str(script), run_name="__main__")
