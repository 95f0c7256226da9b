"""--steps, --seconds and --stop: the doctor judges in the middle of a run, and leaves it or ends it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from carousel.doctor import Doctor
from carousel.errors import UsageError

from .conftest import Scripts

LOOP = """
import sys, time
import torch
import torch.nn.functional as F

torch.manual_seed(1)
net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3), torch.nn.Softmax(1))
rule = torch.optim.SGD(net.parameters(), lr=0.1)

def update(k):
    rule.zero_grad()
    F.cross_entropy(net(torch.randn(6, 4)), torch.randint(3, (6,))).backward()
    rule.step()
    print("update", k, flush=True)
"""

RUN = LOOP + "for k in range(30):\n    update(k)\nprint(net[0].weight.sum().item())\n"

HOOKS = """
from torch.nn.modules import module
from torch.optim import optimizer
print(F.relu.__module__, F.relu.__code__.co_filename.endswith("functional.py"), type(torch.tanh).__name__,
      module.Module.__call__ is module.Module._wrapped_call_impl,
      len(optimizer._global_optimizer_pre_hooks), len(optimizer._global_optimizer_post_hooks))
"""


def test_the_rest_runs_unwatched(scripts: Scripts) -> None:
    scripts.write(RUN + HOOKS)
    alone, report = scripts.same("--json", "found.json", "--steps", "12")
    assert "torch.nn.functional True builtin_function_or_method True 0 0" in alone.stdout
    assert "1 finding in 12 updates" in report
    assert report.count("double-softmax") == 1
    assert "The script runs on, unwatched." in report
    assert scripts.found()["steps"] == 12


@pytest.mark.slow
def test_what_the_script_has_kept_is_still_pickled(scripts: Scripts) -> None:
    made = "import io, pickle\nlayer = torch.nn.TransformerEncoderLayer(4, 2, 8)\nacts = torch.tanh, F.relu, F.tanh\n"
    kept = "print(layer.activation is F.relu, layer.activation_relu_or_gelu)\n"
    kept += "print(pickle.dumps(acts), len(pickle.dumps(layer)))\n"
    kept += "torch.save(layer, io.BytesIO())\n"
    scripts.write(RUN.replace("for k", made + "for k") + kept)
    scripts.same("--steps", "5")


def test_judged_at_that_moment(scripts: Scripts) -> None:
    scripts.write(RUN.replace('print("update", k, flush=True)', 'print("update", k, file=sys.stderr)'))
    said = scripts.watched("--steps", "12", "train.py").stderr
    assert said.index("update 10\n") < said.index("double-softmax") < said.index("update 12\n")


def test_seconds(scripts: Scripts) -> None:
    scripts.write(LOOP + "for k in range(30):\n    update(k)\n    time.sleep(0.05)\n")
    watched = scripts.watched("--seconds", "0.5", "--stop", "--json", "found.json", "train.py")
    assert watched.returncode == 0
    assert 5 <= scripts.found()["steps"] <= 12
    assert "ended here, as --stop asks" in watched.stderr
    assert watched.stdout.count("update") < 12


@pytest.mark.slow
def test_more_than_the_run_has(scripts: Scripts) -> None:
    scripts.write(RUN)
    _, report = scripts.same("--steps", "1000", "--stop")
    assert "in 30 updates" in report
    assert "--stop" not in report


@pytest.mark.parametrize(
    ("loop", "printed", "words"),
    [
        ("for k in range(30): update(k)", ["update 10"], ""),
        pytest.param(
            "for k in range(30):\n try: update(k)\n except Exception: print('caught')",
            ["update 10"],
            "",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "try:\n for k in range(30): update(k)\nfinally:\n net(torch.randn(2, 4)); rule.zero_grad(); print('clean')",
            ["update 10", "clean"],
            "",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "for k in range(30):\n rule.zero_grad()\n try: update(k)\n except: print('caught')",
            ["update 10", "caught"],
            "",
            marks=pytest.mark.slow,
        ),
        (
            "for k in range(30):\n try: update(k)\n except: print('caught')\nprint('end')",
            ["update 10", *["caught"] * 10, *(f"update {k}" for k in range(21, 30)), "end"],
            "a bare `except:`",
        ),
        (
            "try:\n for k in range(30): update(k)\nexcept SystemExit as s: print('exit', s.code)",
            ["update 10", "exit 0"],
            "",
        ),
    ],
    ids=["plain", "except Exception", "finally", "bare once", "bare always", "except SystemExit"],
)
def test_stop(scripts: Scripts, loop: str, printed: list[str], words: str) -> None:
    scripts.write(LOOP + loop + "\n")
    watched = scripts.watched("--steps", "12", "--stop", "train.py")
    assert watched.returncode == 0, watched.stderr
    assert "Traceback" not in watched.stderr
    assert watched.stdout.splitlines()[10:] == printed
    assert watched.stderr.count("double-softmax") == 1
    assert words in watched.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps", "0", "train.py"], "--steps 0: the updates to watch are 1 or more."),
        (["--steps", "-3", "train.py"], "--steps -3"),
        (["--seconds", "0", "train.py"], "--seconds 0: the time to watch is more than 0."),
        (["--seconds", "nan", "train.py"], "--seconds nan"),
        (["--stop", "train.py"], "--stop needs to know when: give --steps N or --seconds S too."),
        (["--steps", "many", "train.py"], "many"),
    ],
)
def test_wrong_use(scripts: Scripts, arguments: list[str], words: str) -> None:
    scripts.write("print('ran')\n")
    refused = scripts.watched(*arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


def test_wrong_numbers_in_python() -> None:
    for wrong in (lambda: Doctor(steps=0), lambda: Doctor(seconds=-1.0), lambda: Doctor(stop=True)):
        with pytest.raises(UsageError):
            wrong()


def test_an_error_in_the_doctor_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    doctor = Doctor()

    def wrong(*_: object) -> None:
        raise KeyError("no")

    monkeypatch.setattr("carousel.doctor.record.Record._layer", wrong)
    net = nn.Linear(3, 2)
    rule = torch.optim.SGD(net.parameters(), lr=0.1)
    with doctor:
        for _ in range(3):
            net(torch.randn(4, 3)).sum().backward()
            rule.step()
    (finding,) = doctor.findings
    assert (finding.code, finding.severity) == ("doctor-failed", "note")
    assert "KeyError: 'no'" in finding.evidence
