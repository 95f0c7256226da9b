"""A script under the doctor behaves as without it; what it gets wrong ends in a sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, pickle, sys, warnings
import torch
from torch.nn.functional import cross_entropy

class Net(torch.nn.Linear):
    pass

print(sys.argv, __name__, os.path.basename(__file__), sys.modules["__main__"].Net is Net, os.getcwd(), sys.path[0])
torch.manual_seed(1)
net = pickle.loads(pickle.dumps(Net(4, 3)))
rule = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(20):
    rule.zero_grad()
    cross_entropy(net(torch.randn(6, 4)), torch.randint(3, (6,))).backward()
    rule.step()
warnings.warn("mind the step", stacklevel=1)
print(net.weight.sum().item())
"""

ENDINGS = {
    "well": ("", 0),
    "exit": ("sys.exit(7)\n", 7),
    "sentence": ("sys.exit('that is all')\n", 1),
    "error": ("def wrong():\n    raise ValueError('no')\nwrong()\n", 1),
    "interrupt": ("raise KeyboardInterrupt\n", 130),
}

CARRIED = """
import torch
cell, head = torch.nn.RNNCell(2, 3), torch.nn.Linear(3, 1)
rule = torch.optim.SGD([*cell.parameters(), *head.parameters()], lr=0.1)
h = torch.zeros(4, 3)
for _ in range(9):
    h = cell(torch.randn(4, 2), h)
    rule.zero_grad()
    head(h).pow(2).mean().backward()
    rule.step()
"""


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def doctor(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python(folder, "-m", "carousel", "doctor", *arguments)


@pytest.mark.parametrize(
    "ending", [e if e in ("well", "error") else pytest.param(e, marks=pytest.mark.slow) for e in ENDINGS]
)
def test_as_without(tmp_path: Path, ending: str) -> None:
    text, code = ENDINGS[ending]
    (tmp_path / "train.py").write_text(SCRIPT + text)
    alone = python(tmp_path, "train.py", "--lr", "1", "--help")
    watched = doctor(tmp_path, "--json", "found.json", "train.py", "--lr", "1", "--help")
    assert watched.stdout == alone.stdout
    assert watched.returncode == code
    assert alone.returncode == (code if ending != "interrupt" else -2)
    shown, said, _ = watched.stderr.partition("\ncarousel doctor: nothing found in 20 updates.")
    assert said
    assert shown == alone.stderr
    assert json.loads((tmp_path / "found.json").read_text())["findings"] == []


def test_a_module_of_a_package(tmp_path: Path) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text(
        "import torch\nfrom . import __name__ as home\nprint(home, __name__, __package__)\n"
    )
    alone = python(tmp_path, "-m", "mine.part", "a")
    watched = doctor(tmp_path, "-m", "mine.part", "a")
    assert (watched.stdout, watched.returncode) == (alone.stdout, 0)
    assert "made no update with an optimizer of torch.optim" in watched.stderr


@pytest.mark.slow
def test_a_state_that_is_not_detached(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(CARRIED)
    watched = doctor(tmp_path, "--json", "found.json", "train.py")
    assert watched.returncode == 1
    assert "RuntimeError: Trying to backward through the graph a second time" in watched.stderr
    assert watched.stderr.startswith(python(tmp_path, "train.py").stderr)  # the traceback is Python's
    (finding,) = json.loads((tmp_path / "found.json").read_text())["findings"]
    assert (finding["code"], finding["severity"]) == ("state-not-detached", "error")
    (tmp_path / "train.py").write_text(
        CARRIED.replace("h = cell(torch.randn(4, 2), h)", "h = cell(torch.randn(4, 2), h.detach())")
    )
    assert "nothing found in 9 updates" in doctor(tmp_path, "train.py").stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.py"], "There is no script nowhere.py in"),
        (["."], "is a folder; give the script in it that trains"),
        (["broken.py"], "broken.py, line 2: "),
        (["-m", "no.such.module"], "There is no module no.such.module that can be run"),
        (["--jsn", "a.json", "broken.py"], "Did you mean --json?"),
        (["--json", "nowhere/a.json", "broken.py"], "can't be written"),
    ],
)
def test_wrong_use(tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "broken.py").write_text("import torch\nfor x in:\n")
    refused = doctor(tmp_path, *arguments)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
