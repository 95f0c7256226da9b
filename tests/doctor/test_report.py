"""`carousel doctor --report`: the page is written at the judgment, wherever the script goes."""

from __future__ import annotations

import pytest

from .conftest import Scripts

TRAIN = """
import os, sys
import torch
os.makedirs("elsewhere", exist_ok=True)
os.chdir("elsewhere")
torch.manual_seed(1)
net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3), torch.nn.Softmax(1))
rule = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(20):
    rule.zero_grad()
    torch.nn.functional.cross_entropy(net(torch.randn(6, 4)), torch.randint(3, (6,))).backward()
    rule.step()
print("matplotlib" in sys.modules)
"""


def test_the_page(scripts: Scripts) -> None:
    scripts.write(TRAIN)
    alone, said = scripts.same("--json", "found.json", "--report", "found.html")
    assert alone.stdout == "False\n"
    assert f"The report is in {(scripts.folder / 'found.html').resolve()}" in " ".join(said.split())
    page = (scripts.folder / "found.html").read_text(encoding="utf-8")
    assert scripts.found()["findings"][0]["code"] == "double-softmax"
    for words in ("<h1><bdi>train.py</bdi></h1>", "double-softmax", "Softmax twice", 'class="plot plot-loss"'):
        assert words in page
    assert not list(scripts.folder.glob("**/*.part"))


def test_an_end_before_any_update(scripts: Scripts) -> None:
    scripts.write("import torch\nraise ValueError('no')\n")
    watched = scripts.watched("--report", "found.html", "train.py")
    assert watched.returncode == 1
    assert "The report is in" in watched.stderr
    assert "There was nothing to judge." in (scripts.folder / "found.html").read_text(encoding="utf-8")


def test_a_folder_that_goes_away(scripts: Scripts) -> None:
    (scripts.folder / "pages").mkdir()
    scripts.write("import os\nos.rmdir('pages')\n" + TRAIN)
    watched = scripts.watched("--report", "pages/found.html", "train.py")
    assert watched.returncode == 0
    assert "cannot be written" in watched.stderr
    assert "Traceback" not in watched.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--report", "nowhere/a.html"], "--report nowhere/a.html can't be written"),
        (["--report", "."], "--report . can't be written"),
        (["--json", "a", "--report", "./a"], "give each its own file"),
    ],
)
def test_wrong_use(scripts: Scripts, arguments: list[str], words: str) -> None:
    scripts.write("print('ran')\n")
    refused = scripts.watched(*arguments, "train.py")
    assert refused.returncode == 2
    assert words in " ".join(refused.stderr.split())
    assert "ran" not in refused.stdout
