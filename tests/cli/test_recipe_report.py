"""`carousel recipe report` from the command line: wrong folders, and results of one's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="36pt"><path d="M0 0L72 36"/></svg>'
RESULT = {
    "name": "mnist",
    "claims": [{"what": "errors", "expected": "< 1", "measured": 0.25, "met": True, "source": "derived"}],
    "seconds": 75.0,
    "threads": 1,
    "versions": {"torch": "2"},
    "date": "2026-01-02T03:04:05+00:00",
    "smoke": True,
}


def test_wrong_folders_get_one_sentence(run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    code, error = run("recipe", "report", "--out", str(file))
    assert code == 2
    assert error == f"carousel: {file} is a file, and the gallery needs a folder; give another one as --out DIR."
    code, error = run("recipe", "report", "--out", str(file / "below"))
    assert code == 2
    assert "Not a directory" in error
    code, error = run("recipe", "report", "--out", str(tmp_path))
    assert code == 2
    assert "holds file, which is no part of a gallery" in error
    assert file.read_text() == "mine"
    code, error = run("recipe", "report", "--runs", str(tmp_path))
    assert code == 2
    assert "There is no result of a recipe in" in error


def test_own_results_take_the_place_of_the_stored_ones(run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    own = tmp_path / "runs/mnist"
    own.mkdir(parents=True)
    (own / "result.json").write_text(json.dumps(RESULT))
    (own / "errors.svg").write_text(SVG)
    assert run("recipe", "report", "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"))[0] == 0
    page = (tmp_path / "out/mnist.html").read_text(encoding="utf-8")
    assert "1 of 1 claim met · your own run · smoke run" in page
    assert '<img src="mnist/errors.svg" width="96" height="48" alt=' in page
    (own / "result.json").write_text(json.dumps(RESULT | {"name": "hello"}))
    code, error = run("recipe", "report", "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"))
    assert code == 2
    assert error == f"carousel: {own}/result.json is no result of mnist; `carousel recipe run mnist` writes one."
    (own / "result.json").write_text("{")
    code, error = run("recipe", "report", "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"))
    assert code == 1
    assert "result.json can't be read" in error
