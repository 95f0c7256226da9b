"""The doctor beside `carousel train`: silent where all is well, live where it is not, and repairs by settings."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import carousel
from carousel.cli.main import main
from carousel.cli.run_doctor import MOST_RESTARTS, RunDoctor
from carousel.doctor import Doctor, Finding
from carousel.doctor.lab import Lab, LearningRates
from carousel.training import Callback, Step, Trainer

SENTENCE = "Round and round the error goes, and where it stops nobody knows.\n"
SMALL = "--hidden-size 16 --embedding-size 8 --batch 4 --window 16 --threads 1 --device cpu --evaluations 4".split()
OPTIONS: dict[str, Any] = {
    "cell": "gru", "hidden_size": 16, "embedding_size": 8, "batch": 4, "window": 16, "threads": 1, "device": "cpu",
    "evaluations": 4,
}  # fmt: skip


@pytest.fixture(autouse=True)
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    Path("text.txt").write_text(SENTENCE * 60)


def unexpected(said: object) -> None:
    raise AssertionError(said)


def train(*arguments: str, code: int = 0) -> None:
    assert main(["train", "text.txt", "--cell", "gru", *SMALL, *arguments]) == code


def findings(run: str) -> dict[str, Any]:
    return json.loads(Path(run, "findings.json").read_text())


def weights(run: str) -> dict[str, torch.Tensor]:
    return torch.load(f"{run}/last.ckpt", weights_only=True)["network"]


def same(one: str, other: str) -> bool:
    a, b = weights(one), weights(other)
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_healthy_run_is_watched_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    train("--steps", "200", "--out", "watched")
    assert "doctor" not in capsys.readouterr().out
    seen = findings("watched")
    assert (seen["findings"], seen["steps"]) == ([], 200)
    assert len(seen["signals"]["loss"]) > 100
    assert "learning_rates" not in seen["signals"]["experiments"]  # it has learned: no time is spent on that
    assert carousel.load("watched").findings == []
    page = Path("watched/report.html").read_text()
    assert "What the doctor says" in page
    assert "Nothing was found in 200 updates" in page
    train("--steps", "200", "--out", "alone", "--no-doctor")
    assert findings("alone") == {"findings": [], "steps": 0, "signals": {}}
    assert "What the doctor says" not in Path("alone/report.html").read_text()
    assert same("watched", "alone")


@pytest.mark.parametrize("cell", ["lstm-coupled-layernorm", "rnn", "gru", "min-gru"])
def test_watched_cells_stay_compiled(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def loop(*_: object) -> None:
        raise AssertionError("the plain loop ran")

    monkeypatch.setattr("carousel.engine.backends.run_reference", loop)
    monkeypatch.setattr("carousel.engine.backends.run_aten", loop)
    watch = RunDoctor(unexpected, unexpected)
    carousel.train("text.txt", steps=60, out="run", callbacks=[watch], **{**OPTIONS, "cell": cell, "dropout": 0.2})


def test_a_rate_far_too_low_is_repaired(capsys: pytest.CaptureFixture[str]) -> None:
    train("--steps", "300", "--learning-rate", "1e-5", "--fix", "--out", "fixed")
    said = " ".join(capsys.readouterr().out.split())
    config = carousel.load("fixed").config
    rate = config["training"]["learning_rate"]
    assert 1e-4 <= rate <= 0.1
    (fix,) = config["fixes"]
    assert fix["code"] == "lr-too-low"
    assert fix["changes"] == {"learning_rate": [1e-5, rate]}
    assert f"Training begins anew with --learning-rate {rate:g} instead of 1e-05" in said
    assert findings("fixed")["findings"] == []
    assert f"learning_rate from 1e-05 to {rate:g}" in Path("fixed/report.html").read_text()
    steps = [line["step"] for line in carousel.load("fixed").metrics if "train_loss" in line]
    assert steps == list(range(1, 301))
    train("--steps", "300", "--learning-rate", str(rate), "--out", "plain", "--no-doctor")
    assert same("fixed", "plain")


def test_a_rate_far_too_high_is_named_while_it_trains(capsys: pytest.CaptureFixture[str]) -> None:
    train("--steps", "300", "--learning-rate", "3", "--schedule", "constant", "--out", "run", "--evaluations", "12")
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("error: lr-too-high") == 1
    assert said.index("error: lr-too-high") < said.index("step 300: dev loss")
    (finding,) = [f for f in findings("run")["findings"] if f["code"] == "lr-too-high"]
    assert finding["advice"].startswith("Train with --learning-rate ")
    assert "fixes" not in carousel.load("run").config
    assert finding["evidence"] in Path("run/report.html").read_text()


def test_what_no_setting_helps_ends_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    """A rate of 10³⁰, without clipping: clip, then a tenth, a tenth; then it is given up."""
    train(
        *"--optimizer sgd --learning-rate 1e30 --clip 0 --schedule constant --steps 20 --fix --out run".split(), code=1
    )
    assert "not a finite number" in capsys.readouterr().err
    changes = [fix["changes"] for fix in carousel.load("run").config["fixes"]]
    assert len(changes) == MOST_RESTARTS
    assert changes[0] == {"clip": [0.0, 1.0]}
    assert changes[1] == {"learning_rate": [1e30, 1e29]}
    (finding,) = findings("run")["findings"]
    assert finding["code"] == "non-finite"
    assert "--learning-rate" in finding["advice"]


@pytest.mark.parametrize("ahead", [True, False])
def test_what_trials_decided_stands_while_the_run_is_behind_them(monkeypatch: pytest.MonkeyPatch, ahead: bool) -> None:
    looks = iter([[Finding("lr-too-high", "error", "there", "seen", "do")], [], []])
    rates = LearningRates(60, 3.0, {0.01: 0.0 if ahead else 9.0})
    monkeypatch.setattr(Doctor, "look", lambda self: next(looks))
    monkeypatch.setattr(Lab, "found", lambda self, name: rates)
    shown: list[Finding] = []
    said: list[str] = []
    carousel.train("text.txt", steps=40, out="run", callbacks=[RunDoctor(shown.append, said.append)], **OPTIONS)
    (finding,) = shown
    assert finding.advice == "Train with --learning-rate 6e-05; --fix does so by itself."
    assert [f["code"] for f in findings("run")["findings"]] == (["lr-too-high"] if ahead else [])
    assert len(said) == (not ahead)


class StopAt(Callback):
    def __init__(self, step: int):
        self.step = step

    def on_step(self, trainer: Trainer, step: Step) -> None:
        if step.step == self.step:
            signal.raise_signal(signal.SIGINT)


def test_stopped_and_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    watch = RunDoctor(unexpected, unexpected)
    with pytest.raises(KeyboardInterrupt):
        carousel.train("text.txt", steps=40, out="run", callbacks=[watch, StopAt(30)], dropout=0.2, **OPTIONS)
    assert findings("run")["steps"] == 30
    folder = carousel.load("run")._folder
    folder.write_findings([Finding("overfitting", "warning", "here", "seen", "stop", 7).to_dict()], 30)
    assert main(["resume", "run"]) == 0
    assert findings("run")["steps"] == 40
    assert [(f["code"], f["step"]) for f in findings("run")["findings"]] == [("overfitting", 7)]
    carousel.train("text.txt", steps=40, out="whole", dropout=0.2, **OPTIONS)
    assert same("run", "whole")


def test_a_finding_counts_when_two_looks_agree_and_can_be_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    once, lasting = (Finding(code, "warning", "there", "seen", "do") for code in ("dead-relu", "overfitting"))
    looks = iter([[once], [lasting], [lasting]])
    monkeypatch.setattr(Doctor, "look", lambda self: next(looks))
    shown: list[Finding] = []
    said: list[str] = []
    written: list[list[str]] = []

    class Reader(Callback):
        def on_evaluation(self, trainer: Trainer, dev_loss: float | None, is_best: bool) -> None:
            written.append([f["code"] for f in findings("run")["findings"]])

    carousel.train(
        "text.txt", steps=40, out="run", callbacks=[RunDoctor(shown.append, said.append), Reader()], **OPTIONS
    )
    assert [f.code for f in shown] == ["overfitting"]
    assert written == [[], [], ["overfitting"], ["overfitting"]]
    assert findings("run")["findings"] == []
    assert said == ["By the whole run, the doctor takes back: overfitting."]


def test_nothing_is_left_behind_by_an_error() -> None:
    hooks = len(torch.nn.modules.module._global_forward_hooks)

    class Broken(Callback):
        def on_step(self, trainer: Trainer, step: Step) -> None:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"), RunDoctor(unexpected, unexpected) as watch:
        carousel.train("text.txt", steps=5, out="run", callbacks=[watch, Broken()], **OPTIONS)
    assert len(torch.nn.modules.module._global_forward_hooks) == hooks


def test_fix_without_the_doctor_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    train("--fix", "--no-doctor", code=2)
    assert "--no-doctor" in capsys.readouterr().err


def test_fix_with_several_processes_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    train("--fix", code=2)
    assert "single process" in capsys.readouterr().err


def test_findings_of_an_older_run() -> None:
    run = carousel.train("text.txt", steps=2, out="run", **OPTIONS)
    run._folder.write_json("findings.json", [{"code": "non-finite", "severity": "error"}])
    assert [f["code"] for f in run.findings] == ["non-finite"]
    assert "non-finite" in run.report().read_text()
