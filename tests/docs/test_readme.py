"""What the README says is so: its code runs, its commands run, its numbers are the measured ones."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = {"minutes=3": "steps=4, batch=4, window=16", "hidden_size=384": "hidden_size=16"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    source = Path(json.__file__).parent / "decoder.py"
    (folder / "corpus.txt").write_text(source.read_text() * 2 + "def The ")
    (cell,) = [block for block in blocks("python") if "class Leaky" in block]
    (folder / "my_cells.py").write_text(cell)
    return folder


Start = Callable[..., subprocess.Popen[str]]
Finish = Callable[[subprocess.Popen[str]], str]


def test_python_code_runs_as_one_program(workplace: Path, start: Start, finish: Finish) -> None:
    code = "\n".join(blocks("python"))
    for written, small in SMALL.items():
        assert written in code
        code = code.replace(written, small)
    code = "import carousel, torch\ntorch.set_num_threads(1)\n" + code
    code += """
assert output.shape == (10, 8, 256) and norms.shape == (100,) and (norms > 0).all()
assert (run.path / "report.html").is_file() and run.findings == []
"""
    (workplace / "program.py").write_text(code)
    finish(start(workplace, "-W", "error", "program.py"))


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("carousel ")]
    return [shlex.split(line, comments=True) for line in lines]


def test_commands_run_in_their_order(workplace: Path, start: Start, finish: Finish) -> None:
    assert len(commands()) == 4
    for _, verb, *arguments in commands():
        if verb == "train":
            place = arguments.index("--minutes")
            arguments[place : place + 2] = "--steps 4 --batch 4 --window 16 --hidden-size 16 --threads 1".split()
        assert finish(start(workplace, "-m", "carousel", verb, *arguments))


def test_the_ten_line_cell_is_trained_killed_resumed_and_sampled(workplace: Path, start: Start, finish: Finish) -> None:
    options = "--steps 400 --batch 4 --window 16 --hidden-size 16 --threads 1 --checkpoint-seconds 0.1".split()
    cell = ["--cell", "my_cells.py:Leaky"]
    process = start(workplace, "-m", "carousel", "train", "corpus.txt", *cell, *options, "--out", "killed")
    metrics, until = workplace / "killed" / "metrics.jsonl", time.monotonic() + 60
    while time.monotonic() < until and not (metrics.exists() and metrics.read_bytes().count(b"\n") > 60):
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    refused = start(workplace, "-m", "carousel", "resume", "killed")
    message, _ = refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert "--cell my_cells.py:Leaky" in message
    finish(start(workplace, "-m", "carousel", "resume", "killed", *cell))
    written = finish(start(workplace, "-m", "carousel", "sample", "killed", *cell, "--chars", "50", "--seed", "1"))
    assert len(written) == 51  # and the line break at the end
    assert json.loads((workplace / "killed" / "status.json").read_text())["step"] == 400


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in "\n".join(blocks("sh")).splitlines():
        if line.startswith("make "):
            assert f"\n{line.split()[1]}:" in makefile


def test_numbers_are_the_measured_ones() -> None:
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.readme import PAGES, filled
    finally:
        sys.path.remove(str(ROOT))
    assert ROOT / "README.md" in PAGES
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert filled(text) == text, "run `python -m benchmarks.readme`"


def test_links_lead_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
