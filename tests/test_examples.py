"""The examples run, and show what they say."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_runs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()


def test_gradient_through_time(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "gradient_through_time.py"))
    lines = capsys.readouterr().out.splitlines()[1:]
    furthest = {line[:25].strip(): float(line.split()[-1]) for line in lines}
    assert furthest["vanilla RNN"] < 1e-6 < furthest["LSTM, forget bias 4"]
    assert furthest["LSTM, forget bias 1"] < furthest["LSTM, forget bias 4"]
    assert furthest["constant error carousel"] == 1.0
