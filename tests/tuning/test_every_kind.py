"""Both commands take every kind of data that `train` takes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import carousel
from carousel.errors import UsageError
from carousel.tasks.kinds import KINDS

pytest.importorskip("optuna", reason="the extra `tune` is not installed")

RECURRENT = {"hidden_size": 6, "cell": "gru"}
SETTINGS: dict[str, dict[str, Any]] = {
    "text": {**RECURRENT, "batch": 2, "window": 8},
    "labelled": {**RECURRENT, "batch": 8},
    "tagged": {**RECURRENT, "batch": 8, "spelling_size": 0},
    "series": {**RECURRENT, "batch": 8, "window": 24, "horizon": 4},
    "images": {"network": "flatten, dense", "batch": 8},
    "table": {"network": "dense", "batch": 8},
}


def made(kind: str) -> str:
    """A little of each kind; what it is taken for is said."""
    draw, path = random.Random(0), Path(f"{kind}.csv")
    if kind == "text":
        path.write_text("Round and round it goes, and where it ends nobody knows.\n" * 40)
    elif kind == "labelled":
        rows = [
            (draw.choices(letters, k=6), label) for _ in range(40) for letters, label in (("abc", "x"), ("cde", "y"))
        ]
        path.write_text("word,label\n" + "".join(f"{''.join(word)},{label}\n" for word, label in rows))
    elif kind == "tagged":
        path = Path("tagged.txt")
        path.write_text("".join(f"the\tDET\n{''.join(draw.choices('abcd', k=4))}\tNOUN\n\n" for _ in range(60)))
    elif kind == "series":
        rows = [
            f"2024-01-{d:02} {h:02}:00,{np.sin(h / 4) + draw.random():.3f}\n" for d in range(1, 9) for h in range(24)
        ]
        path.write_text("time,load\n" + "".join(rows))
    elif kind == "images":
        path = Path("images")
        for number in range(40):
            place = path / "ab"[number % 2] / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 120, (6, 6)) + 120 * (number % 2)
            Image.fromarray(pixels.astype(np.uint8)).save(place)
    else:
        rows = [(draw.gauss(0, 1), draw.gauss(0, 1)) for _ in range(60)]
        path.write_text("a,b,target\n" + "".join(f"{a:.3f},{b:.3f},{'yes' if a > b else 'no'}\n" for a, b in rows))
    return str(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("own_cache")
def test_every_kind(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = made(kind)
    settings = {"kind": kind, "threads": 1, "test": 0.2, **SETTINGS[kind]}
    before = sorted(tmp_path.rglob("*.csv"))
    found = carousel.find_rate(data, updates=30, high=0.1, **settings)
    assert 10 <= len(found.rates) <= 30
    assert found.reason
    assert sorted(tmp_path.rglob("*.csv")) == before
    search = {"learning_rate": "1e-3..1e-1:log"}
    options = {"steps": 2, "evaluations": 1, **settings}
    tuned = carousel.tune(data, search=search, trials=2, out="study", **options)
    assert [trial.state for trial in tuned.trials] == ["finished"] * 2
    assert tuned.asked["test"]
    run = carousel.train(data, out="run", **tuned.settings)
    assert run.status["best_dev_loss"] == tuned.best.loss
    if kind in ("text", "series"):
        with pytest.raises(UsageError, match="no folds of"):
            carousel.tune(data, search=search, folds=3, out="folds", **options)
    else:
        folds = carousel.tune(data, search=search, trials=1, folds=2, out="folds", **options)
        assert len(folds.trials[0].folds) == 2
