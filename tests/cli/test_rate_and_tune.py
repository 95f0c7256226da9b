"""`carousel rate` and `carousel tune`, as they are typed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carousel import api
from carousel.cli import train as train_verb
from carousel.settings import Settings, as_options

Run = Callable[..., tuple[int, str]]
SMALL = "--batch 16 --threads 1".split()


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> str:
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(150, 2)).round(3)
    lines = [f"{a},{b},{'yes' if a + b > 0 else 'no'}" for a, b in rows]
    Path("my rows.csv").write_text("\n".join(["a,b,target", *lines]) + "\n")
    return "my rows.csv"


class Stopped(BaseException):
    pass


def parsed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Settings]:
    """What `carousel train` makes of these words."""
    seen = []

    def noted(data: Any, *, settings: Settings, **_: Any) -> None:
        seen.append((data, settings))
        raise Stopped

    monkeypatch.setattr(api, "train", noted)
    with pytest.raises(Stopped):
        train_verb.run(words)
    return seen[0]


def test_options_are_read_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"hidden_size": 64, "flip": True, "drop": ("id", "a b"), "learning_rate": 2.5e-5, "cell": "gru",
             "cell_options": {"bias": False}, "schedule": "constant", "directions": 2, "past": ("x",), "clip": 0.0,
             "network": "dense 64, relu, dense", "dev_fold": "2/5"}  # fmt: skip
    data, settings = parsed(["x.csv", *as_options(given)], monkeypatch)
    assert data == ("x.csv",)
    assert settings == Settings.of(**given)


def test_rate(table: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out = run("rate", table, "--updates", "80", *SMALL, "--out", "rate.png", "--json", "rate.json")
    assert code == 0, out
    found = json.loads(Path("rate.json").read_text())
    assert found["command"] in out
    assert found["reason"] in out
    assert Path("rate.png").read_bytes()[:4] == b"\x89PNG"
    assert {path.name for path in Path().iterdir() if path.is_file()} == {table, "rate.png", "rate.json"}
    assert not Path("runs").exists()
    words = shlex.split(found["command"])
    assert words[:3] == ["carousel", "train", table]
    _, settings = parsed(words[2:], monkeypatch)
    assert settings.training.learning_rate == pytest.approx(found["suggestion"], rel=0.05)
    assert settings.training.batch == 16


def test_a_bad_curve_gets_no_command(table: str, run: Run) -> None:
    code, out = run("rate", table, "--updates", "40", "--high", "1e-5", *SMALL)
    assert code == 0
    assert "carousel train" not in out
    assert re.search("flat|noisy|still falling", out)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "No data was given"),
        (["nothing.csv"], "nothing.csv"),
        (["my rows.csv", "--out", "rate.txt"], "is no picture"),
        (["my rows.csv", "--update", "10"], "Did you mean --updates?"),
        (["my rows.csv", "--low", "1", "--high", "0.1"], "rise from 1 to 0.1"),
    ],
)
@pytest.mark.usefixtures("table")
def test_rate_refuses(words: list[str], says: str, run: Run) -> None:
    code, error = run("rate", *words)
    assert code == 2
    assert says in error


def test_tune(table: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["tune", table, "--search", "learning_rate=1e-3..1e-1:log", "weight-decay=0,0.1", "--steps", "4",
             "--test", "0.2", *SMALL, "--out", "study", "--json", "study.json"]  # fmt: skip
    code, out = run(*words, "--trials", "2")
    assert code == 0, out
    assert "The test part is held out of every trial and not evaluated" in out
    assert "trial 0: " in out
    assert "2 trials: 2 finished" in out
    code, out = run(*words, "--trials", "3")
    assert code == 0, out
    assert "2 trials are there already; going on." in out
    assert "trial 0: " not in out
    assert "3 trials: 3 finished" in out
    found = json.loads(Path("study.json").read_text())
    assert found["command"] in out
    _, settings = parsed(shlex.split(found["command"])[2:], monkeypatch)
    assert settings == Settings.of(**{name: value for name, value in found["settings"].items() if value is not None})
    assert {path.name for path in Path("study").iterdir()} >= {"report.html", "trials.csv", "study.json", "journal.log"}
    code, error = run(*words[:3], "learning_rate=1e-3..1:log", *words[5:])
    assert code == 2
    assert "other search space" in error


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "No data was given"),
        (["my rows.csv", "--search", "learning_rat=0..1"], "Did you mean 'learning_rate'"),
        (["--search", "dropout=0..1", "my rows.csv"], "'my rows.csv' stands behind --search"),
        (["my rows.csv", "--search", "hidden_size=3,4"], "--hidden-size means nothing for"),
        (["my rows.csv", "--trial", "3"], "Did you mean --trials?"),
    ],
)
@pytest.mark.usefixtures("table")
def test_tune_refuses(words: list[str], says: str, run: Run) -> None:
    code, error = run("tune", *words)
    assert code == 2
    assert says in error
