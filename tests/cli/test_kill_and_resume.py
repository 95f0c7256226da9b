"""`kill -9` at random moments, Ctrl-C, damage: a resumed run ends with the bits of one that was never disturbed."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

STEPS = 120
OPTIONS = (
    f"--steps {STEPS} --hidden-size 24 --embedding-size 8 --batch 4 --window 12 --backward 24 --dropout 0.2 "
    "--evaluations 5 --threads 1 --checkpoint-seconds 0.05 --layers 2 --device cpu --schedule plateau"
).split()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kill")
    rng = random.Random(0)
    words = ["carousel", "error", "through", "time", "gate", "cell", "state", "flows", "the", "back"]
    text = " ".join(rng.choice(words) + rng.choice(["", ".", ",", "\n"]) for _ in range(4000))
    (folder / "text.txt").write_text(text)
    return folder


Command = Callable[..., subprocess.Popen[str]]
Finish = Callable[[subprocess.Popen[str]], str]


@pytest.fixture(scope="module")
def command(start: Command, workplace: Path) -> Command:
    return lambda *arguments: start(workplace, "-m", "carousel", *arguments)


@pytest.fixture(scope="module")
def undisturbed(workplace: Path, command: Command, finish: Finish) -> Path:
    finish(command("train", "text.txt", *OPTIONS, "--out", "undisturbed"))
    return workplace / "undisturbed"


def kill_when(process: subprocess.Popen[str], run: Path, lines: int, number: int = signal.SIGKILL) -> None:
    """Send the signal as soon as the run has logged that many lines."""
    metrics, until = run / "metrics.jsonl", time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        if lines == 0 or (metrics.exists() and metrics.read_bytes().count(b"\n") >= lines):
            break
        time.sleep(0.001)
    process.send_signal(number)


def kill(process: subprocess.Popen[str], run: Path, lines: int) -> None:
    kill_when(process, run, lines)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


def same_weights(one: Path, other: Path) -> None:
    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    a, b = (torch.load(run / "last.ckpt", weights_only=True) for run in (one, other))
    assert a["step"] == b["step"] == STEPS
    assert all(torch.equal(a["network"][key], b["network"][key]) for key in a["network"])
    assert torch.equal(a["processes"][0]["random"], b["processes"][0]["random"])
    assert a["best"] == b["best"]
    steps = [[line for line in _lines(run) if "train_loss" in line] for run in (one, other)]
    assert len(steps[0]) == STEPS
    assert [(s["step"], s["train_loss"]) for s in steps[0]] == [(s["step"], s["train_loss"]) for s in steps[1]]


def _lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_killed_at_random_moments(workplace: Path, undisturbed: Path, command: Command, finish: Finish) -> None:
    rng = random.Random(20261121)
    moments = sorted(rng.sample(range(1, STEPS), 2))
    run = workplace / "killed"
    process = command("train", "text.txt", *OPTIONS, "--out", "killed")
    kill(process, run, moments[0])
    for moment in moments[1:]:
        process = command("resume", "killed")
        kill(process, run, moment)
    assert (run / "status.json").read_text().count('"finished"') == 0
    finish(command("resume", "killed"))
    same_weights(run, undisturbed)


@pytest.mark.slow
def test_killed_before_the_first_step(workplace: Path, undisturbed: Path, command: Command, finish: Finish) -> None:
    run = workplace / "early"
    process = command("train", "text.txt", *OPTIONS, "--out", "early")
    until = time.monotonic() + 60
    while not (run / "config.yaml").exists() and time.monotonic() < until:
        time.sleep(0.0005)
    process.kill()
    process.communicate(timeout=60)
    finish(command("resume", "early"))
    same_weights(run, undisturbed)


def test_interrupted_then_damaged(workplace: Path, undisturbed: Path, command: Command, finish: Finish) -> None:
    run = workplace / "interrupted"
    process = command("train", "text.txt", *OPTIONS, "--out", "interrupted")
    kill_when(process, run, STEPS // 3, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "carousel resume interrupted" in output
    assert "Traceback" not in output
    assert (run / "report.html").exists()
    # a checkpoint cut short: the one before it is used, and the person is told
    whole = (run / "last.ckpt").read_bytes()
    (run / "last.ckpt").write_bytes(whole[: len(whole) // 2])
    copy = workplace / "flipped"
    shutil.copytree(run, copy)
    assert "is damaged" in (output := finish(command("resume", "interrupted")))
    assert "from the checkpoint before it" in output
    same_weights(run, undisturbed)
    # a flipped bit in the middle of the numbers
    middle = len(whole) // 2
    (copy / "last.ckpt").write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    assert "is damaged" in finish(command("resume", "flipped"))
    same_weights(copy, undisturbed)
