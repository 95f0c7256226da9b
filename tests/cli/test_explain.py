"""`carousel explain`, as typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from carousel.cli.main import main

BRANCHING = """
import torch
import carousel

class Branching(carousel.Cell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.w = carousel.weight(hidden_size, hidden_size)

    def step(self, x, state):
        (h,) = state
        if self.w.sum() > 0:
            h = h - 1
        h = torch.tanh(h @ self.w.T)
        return h, (h,)
"""


def test_all_stages_but_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "lstm-peephole"]) == 0
    text = capsys.readouterr().out
    for title in ("SUMMARY", "CAPTURE", "ANALYSIS", "DIFFERENTIATION", "SCHEDULE"):
        assert title in text
    assert "4 matrix product(s) in registers" in text
    assert "131,072 FLOP forward" in text  # 2 · 4 gates · 128 · 128
    assert "CODE" not in text


def test_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("explain gru --stage code --hidden-size 16".split()) == 0
    text = capsys.readouterr().out
    assert "vsigmoid(" in text
    assert 'extern "C" void backward' in text


def test_a_cell_that_cannot_be_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(BRANCHING)
    assert main(["explain", "mine.py:Branching"]) == 0
    text = capsys.readouterr().out
    assert "runs on the reference loop: step() looks at a tensor's value" in text
    assert "mine.py:12" in text  # the line of the `if`


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["explain", "lstn"], "Did you mean 'lstm'?"),
        (["explain", "gru", "--stage", "cods"], "There is no stage 'cods'"),
    ],
)
def test_wrong_use(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err
