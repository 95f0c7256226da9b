"""The code in docs/ runs, and every option that the documents name exists."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

import carousel
from carousel.cli.main import VERBS, main

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])


@pytest.mark.parametrize("document", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
@pytest.mark.usefixtures("own_cache")
def test_python_code_runs(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("Round and round it goes.\n" * 100)
    options = {"batch": 2, "window": 8, "hidden_size": 8, "threads": 1, "evaluations": 1}
    carousel.train("corpus.txt", steps=2, out="runs/demo", **options)
    for block in re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, document.name, "exec"), {})


def test_options_exist(capsys: pytest.CaptureFixture[str]) -> None:
    known = {"--debug", "--help", "--nproc-per-node"}
    for verb in VERBS:
        with contextlib.suppress(SystemExit):
            main([verb, "--help"])
        known |= set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    for document in DOCUMENTS:
        used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", document.read_text(encoding="utf-8")))
        assert used <= known, f"{document.name} names {used - known}"
