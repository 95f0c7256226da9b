"""`carousel train`, `resume` and `forecast` on series, small but whole; and what is refused, in a sentence."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import carousel
from carousel.training import Callback, Step, Trainer

OPTIONS = "--hidden-size 6 --batch 16 --steps 6 --evaluations 2 --threads 1 --device cpu --no-doctor".split()
SMALL = {"hidden_size": 6, "batch": 16, "steps": 6, "evaluations": 2, "threads": 1, "device": "cpu"}
Run = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    write("sun.csv", 260)


def write(name: str, rows: int, *, empty: int = 0, step: str = "h") -> None:
    """A season of 8 with noise; the last `empty` rows have no target."""
    noise = np.random.default_rng(0).normal(size=rows + 100)
    first = np.datetime64("2024-01-01T00", "h")
    lines = []
    for n in range(rows + empty):
        stamp = str(first + n if step == "h" else first.astype("datetime64[D]") + n).replace("T", " ")
        y = "" if n >= rows else f"{10 + 5 * np.sin(n * np.pi / 4) + 0.3 * noise[n]:.4f}"
        lines.append(f"{stamp}{':00' if step == 'h' else ''},{n % 5},{noise[n]:.3f},{y}")
    Path(name).write_text("time,plan,wind,heat\n" + "\n".join(lines) + "\n")


def weights(folder: str) -> dict[str, torch.Tensor]:
    return torch.load(f"{folder}/last.ckpt", weights_only=True)["network"]


def test_train_then_forecast(run: Run) -> None:
    code, said = run("train", "sun.csv", "--test", "0.2", "--out", "r", *OPTIONS)
    assert code == 0, said
    assert "series: 260 rows of sun.csv, 1 hour apart" in said
    assert "forecasts heat from plan, wind, 8 steps ahead from 32" in said
    assert "heat repeats after 8 steps" in said
    assert "MASE" in said
    assert "ridge on the same window" in said
    assert "forecast r --plot forecast.png" in said
    code, said = run("forecast", "r", "--out", "f.csv", "--json", "f.json", "--plot", "f.png")
    assert code == 0, said
    assert "2024-01-11 20:00" in said
    assert "Picture: f.png" in said
    with Path("f.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert all(float(r["heat lower"]) <= float(r["heat"]) <= float(r["heat upper"]) for r in rows)
    assert len(json.loads(Path("f.json").read_text())["forecasts"][0]["steps"]) == 8
    assert Path("f.png").stat().st_size > 1000
    page = Path("r/report.html").read_text()
    for title in ("Forecasts", "Beside forecasts without a network", "Error by step ahead", "Calibration"):
        assert title in page
    code, said = run("forecast", "r", "--horizon", "20", "--plot", "f.svg")
    assert "trained for 8 steps; the 12 after them go on from its own forecasts" in said
    code, said = run("forecast", "r", "--begin", "2024-01-10 00:00")
    assert "truth" in said
    code, said = run("sample", "r")
    assert code == 2
    assert "carousel forecast r" in said


def test_python_and_newer_data(run: Run) -> None:
    trained = carousel.train("sun.csv", out="r", **SMALL)
    forecast = trained.forecast(5)
    assert forecast.times[0] == "2024-01-11 20:00"
    assert forecast.median.shape == forecast.lower.shape == (5, 1)
    assert (forecast.quantiles[:, :, 1:] >= forecast.quantiles[:, :, :-1]).all()
    write("newer.csv", 300)
    assert trained.forecast(data="newer.csv").times[0] == "2024-01-13 12:00"
    first = trained.forecast(20)
    np.testing.assert_array_equal(first.median, trained.forecast(20).median)
    np.testing.assert_allclose(first.median[:8], trained.forecast(8).median)


def test_known_ahead(run: Run) -> None:
    write("ahead.csv", 260, empty=8)
    code, said = run("train", "ahead.csv", "--known", "plan", "--out", "r", *OPTIONS)
    assert code == 0, said
    code, said = run("forecast", "r")
    assert code == 0, said
    code, said = run("forecast", "r", "--data", "sun.csv")
    assert code == 1
    assert "needs plan, known ahead, for 8 steps from 2024-01-11 20:00 to 2024-01-12 03:00" in said


@pytest.mark.parametrize("intervals", ["normal", "t"])
def test_likelihoods_and_groups(run: Run, intervals: str) -> None:
    rows = Path("sun.csv").read_text().splitlines()
    both = [f"{row},{name}" for name in ("north", "south") for row in rows[1:]]
    Path("two.csv").write_text("\n".join((f"{rows[0]},place", *both)) + "\n")
    options = ["--group-column", "place", "--past", "none", "--intervals", intervals, "--out", "r"]
    code, said = run("train", "two.csv", *options, *OPTIONS)
    assert code == 0, said
    found = carousel.load("r").forecasts(4)
    assert [f.series for f in found] == ["north", "south"]
    assert carousel.load("r").forecast(4, series="south").median.shape == (4, 1)
    with pytest.raises(carousel.CarouselError, match=r"2 series \(north, south\); say which"):
        carousel.load("r").forecast(4)


def test_resumed_runs_are_the_same_run(run: Run) -> None:
    carousel.train("sun.csv", out="whole", **SMALL)

    class Stop(Callback):
        def on_step(self, trainer: Trainer, step: Step) -> None:
            if step.step == 4:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        carousel.train("sun.csv", out="part", callbacks=[Stop()], **SMALL)
    carousel.resume("part")
    whole, part = weights("whole"), weights("part")
    assert all(torch.equal(whole[name], part[name]) for name in whole)


def test_what_is_refused(run: Run) -> None:
    run("train", "sun.csv", "--out", "r", *OPTIONS)
    write("days.csv", 260, step="D")
    write("short.csv", 10)
    asked = {
        ("forecast", "r", "--horizon", "500"): "A horizon of 500 steps is longer than the data, which have 260",
        ("forecast", "r", "--horizon", "0"): "--horizon is 0; give at least 1.",
        ("forecast", "r", "--data", "days.csv"): "are 1 day apart, those that the network was trained on 1 hour",
        (
            "forecast",
            "r",
            "--data",
            "short.csv",
            "--horizon",
            "5",
        ): "There are 10 rows without a long gap before the forecast begins",
        ("forecast", "r", "--data", "no.csv"): "There is no file no.csv",
        ("forecast", "r", "--plot", "f.doc"): "--plot f.doc is no picture",
        ("forecast", "r", "--out", "no/f.csv"): "--out no/f.csv: there is no folder",
        ("forecast", "r", "--begin", "2030-01-01"): "--begin 2030-01-01 is not right behind a value",
        ("train", "sun.csv", "--window", "300"): "a window of 300 and a horizon of 8 need 308",
        ("train", "sun.csv", "--horizon", "60"): "The dev part, 0.1 of 260 rows, is shorter than the horizon of 60",
        ("train", "sun.csv", "--window", "4"): "The window of 4 is shorter than the season of 8 steps",
        ("train", "sun.csv", "--transform", "log", "--target", "wind"): "there is no logarithm; use --transform none",
        ("train", "sun.csv", "--level", "word"): "--level means nothing for a series of numbers over time",
        ("train", "sun.csv", "--target", "heta"): "Did you mean 'heat'?",
    }
    for arguments, sentence in asked.items():
        code, said = run(*arguments)
        assert code in (1, 2), arguments
        assert sentence in said, (arguments, said)
        assert not list(Path().glob("runs/*")), arguments
    Path("sun.csv").unlink()
    code, said = run("forecast", "r")
    assert code == 2
    assert "is gone; give the file with --data FILE" in said
