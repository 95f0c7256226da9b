"""`carousel bench`: the table, the files, and wrong input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from carousel.bench import rivals, timing
from carousel.cli.main import main

from .test_bad_input import OWN_CELL, refused

TINY = "--hidden-size 6 --length 4 --batch 2 --threads 1".split()

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The verb in an empty folder, without peers, every sample a millisecond; the exit code and what was printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(rivals, "installed", list)
    monkeypatch.setattr(rivals, "prepare_peers", lambda threads: None)
    monkeypatch.setattr(timing, "_sample", lambda function, *, again: (0.0, (function(), 0.001)[1]))

    def run(*arguments: str) -> tuple[int, str]:
        try:
            code = main(["bench", *arguments])
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return code, printed.err if code else printed.out

    return run


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the time to spend were over after the rounds that are needed."""
    import carousel.bench.run as bench_run

    whole = bench_run.interleaved
    monkeypatch.setattr(bench_run, "interleaved", lambda functions, **_: whole(functions, seconds=0, least=2, warmup=1))


def test_table_chart_and_numbers(bench: Run) -> None:
    code, printed = bench(*TINY, "--json", "numbers/bench.json")
    assert code == 0
    for word in ("lstm-peephole", "torch.nn.LSTM", "eager loop", "4 × 2 × 6", "4 × 1 × 6", "GFLOP/s", "1 thread,"):
        assert word in printed
    assert Path("runs/bench/bench.png").read_bytes().startswith(b"\x89PNG")
    assert Path("runs/bench/bench.svg").read_text().count("lstm-peephole") >= 4
    result = json.loads(Path("numbers/bench.json").read_text())
    assert len(result["rows"]) == 18
    assert all(row["ms"] == pytest.approx(1) for row in result["rows"])


def test_own_cell(bench: Run) -> None:
    Path("own.py").write_text(OWN_CELL)
    code, printed = bench(*TINY, "own.py:Own", "--out", "charts")
    assert code == 0
    assert "Own" in printed
    assert "plain loop" in printed
    assert Path("charts/bench.svg").exists()


def test_own_cell_that_fails(bench: Run) -> None:
    Path("own.py").write_text(OWN_CELL.replace("h @ self.wh.T", "h @ self.wh[:, :2]"))
    refused(bench(*TINY, "own.py:Own"), 2, "own.py, line 11", "does not run")
    Path("own.py").write_text(OWN_CELL.replace("return h, (h,)", "return h"))
    refused(bench(*TINY, "own.py:Own"), 2, "Own.step() must return (output, new_state)")
    Path("own.py").write_text(OWN_CELL.replace("input_size, hidden_size):", "input_size):"))
    refused(bench(*TINY, "own.py:Own"), 2, "own.py:Own can't be made")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lstn"], ("'lstn'", "Did you mean 'lstm'?")),
        (["none.py:Own"], ("no file none.py",)),
        (["--hidden-size", "0"], ("--hidden-size is 0", "at least 1")),
        (["--threads", "-1"], ("--threads is -1", "at least 1")),
        (["--hidden-size", "many"], ("--hidden-size",)),
        (["--thread", "1"], ("no option --thread", "Did you mean --threads?")),
        (["--out", "taken"], ("taken", "Choose another")),
        (["--json", "taken/numbers.json"], ("taken", "Choose another")),
        (["--json", "folder"], ("folder is a folder",)),
    ],
    ids=" ".join,
)
def test_bad_input(bench: Run, arguments: list[str], words: tuple[str, ...]) -> None:
    Path("taken").write_text("a file")
    Path("folder").mkdir()
    refused(bench(*TINY, *arguments), 2, *words)
    assert not Path("runs/bench/bench.svg").exists()
