"""What is found on a series and forecast without a network: against closed forms and brute force; and bad input."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import carousel
from carousel.data.series import Roles, read_series
from carousel.errors import DataError
from carousel.nn.forecaster import Forecaster, tapped
from carousel.settings import Settings
from carousel.tasks.forecast import SeriesData
from carousel.tasks.forecast_scores import scores
from carousel.tasks.series_plan import choose_residual, drifts, find_season, looks_multiplicative
from carousel.tasks.series_ridge import Ridge
from carousel.tasks.series_windows import disjoint, naive

NOISE = np.random.default_rng(0).normal(size=2000)
SMALL = {"hidden_size": 3, "beside": 3, "steps": 2, "evaluations": 1, "threads": 1, "device": "cpu"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(y: np.ndarray, *columns: np.ndarray, name: str = "s.csv") -> str:
    head = ",".join(["time", *(f"x{k}" for k in range(len(columns))), "y"])
    lines = [
        ",".join([str(np.datetime64("2024-01-01T00:00") + 60 * n), *map(str, row)])
        for n, row in enumerate(zip(*columns, y, strict=True))
    ]
    Path(name).write_text("\n".join([head, *lines]) + "\n")
    return name


def planned(path: str, **options: object) -> SeriesData:
    return SeriesData.read([path], Settings.of(**options))


@pytest.mark.parametrize("m", [7, 24, 50])
def test_season_is_found_where_there_is_one(m: int) -> None:
    t = np.arange(2000)
    assert find_season(np.sin(2 * np.pi * t / m) + 0.01 * t + 0.3 * NOISE, [24]) == m


def test_season_of_what_wanders() -> None:
    t = np.arange(2000)
    assert find_season(NOISE.cumsum() + 5 * np.sin(2 * np.pi * t / 24), [24, 168]) == 24


def test_no_season_in_noise_steps_and_constants() -> None:
    assert find_season(NOISE, [24, 168]) == 1
    assert find_season(NOISE.cumsum(), [24, 168]) == 1
    assert find_season(np.ones(100), [12]) == 1
    assert find_season(np.array([1.0, 2.0, 1.0]), []) == 1


def test_what_is_said_of_the_level() -> None:
    t = np.arange(480)
    swings = np.sin(2 * np.pi * t / 12)
    growth = np.exp(t / 200)
    assert looks_multiplicative(growth * (2 + swings), 12)
    assert not looks_multiplicative(growth + 10 + swings, 12)
    assert drifts(growth)
    assert not drifts(swings)
    assert choose_residual([10 * swings[:, None] + 0.1 * NOISE[:480, None]], 12, 12) == "season"
    assert choose_residual([swings[:, None] + NOISE[:480].cumsum()[:, None]], 12, 4) == "last"


def test_naive_forecasts() -> None:
    np.testing.assert_array_equal(naive(np.array([10, 20]), 3, 1), [[10, 20]] * 3)
    np.testing.assert_array_equal(naive(np.array([10]), 5, 2)[:, 0], [9, 10, 9, 10, 9])


def test_taps_are_means_over_the_window() -> None:
    data = planned(write(NOISE[:600], NOISE[600:1200]), window=70, horizon=2, season=1)
    window = torch.randn(70, 3, data.plan.features)
    found = tapped(window, data.plan.taps)
    assert found.shape == (3, sum(last - first for *_, first, last in data.plan.taps))
    lags = [(begin, end) for begin, end, *features in data.plan.taps if features == [1, 2]]
    assert [end for _, end in lags][1:] == [begin for begin, _ in lags][:-1]  # without gaps, from the last step back
    assert (lags[0][1], lags[-1][0]) == (70, 0)
    assert [end - begin for begin, end in lags][:49] == [1] * 48 + [12]
    torch.testing.assert_close(found[:, 1], window[-1, :, 1])


def test_ridge_is_the_minimum_and_finds_a_linear_law() -> None:
    y = np.zeros(900)
    for t in range(2, 900):
        y[t] = 1.6 * y[t - 1] - 0.8 * y[t - 2] + NOISE[t]
    data = planned(write(y), window=4, horizon=2, season=1, calendar="none")
    ridge, windows = data.ridge, data.windows
    origins = windows.split("train")
    parts = list(ridge._parts(origins))
    x, moved = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    x = (x - ridge.center) / ridge.scale
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-6)
    away = moved - x @ ridge.weights[:-1] - ridge.weights[-1]
    gradient = x.T @ away / len(x) - ridge.penalty * ridge.weights[:-1]
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    np.testing.assert_allclose(away.mean(0), 0, atol=1e-6)
    one_step = (away[:, 0] * y[: data.plan.cuts[0]].std()).std()
    assert one_step == pytest.approx(1.0, rel=0.08)  # the noise that drives the series
    assert data.plan.residual == "ridge"


def test_ridge_sees_no_value_behind_the_training_part() -> None:
    y = NOISE[:600].cumsum()
    first = planned(write(y), window=8, horizon=3)
    changed = np.where(np.arange(600) < first.plan.cuts[0], y, 99.0 + NOISE[:600])
    second = planned(write(changed, name="t.csv"), window=8, horizon=3)
    np.testing.assert_array_equal(first.ridge.weights, second.ridge.weights)


def test_the_untrained_network_is_the_ridge_regression() -> None:
    path = write(np.sin(np.arange(700) / 4) + 0.1 * NOISE[:700], NOISE[700:1400])
    run = carousel.train(path, window=12, horizon=4, residual="ridge", learning_rate=1e-9, out="r", **SMALL)
    rows = {(row[0], row[1]): row[2] for row in run.evaluation["panels"][1]["rows"]}
    assert rows["dev", "network"] == pytest.approx(rows["dev", "ridge on the same window"], rel=0.1)
    assert run.config["series"]["residual"] == "ridge"
    panels = {panel["panel"] for panel in run.evaluation["panels"]}
    assert panels == {"forecast", "table", "lines", "calibration"}
    assert {line["name"] for line in run.evaluation["panels"][2]["lines"]} >= {"network", "last value"}
    loaded = carousel.load("r").model
    assert isinstance(loaded, Forecaster)
    assert loaded.linear is not None
    assert float(loaded.linear.abs().max()) > 0


def test_scores_by_hand() -> None:
    truth, mask = np.array([[[1.0], [2.0]]]), np.array([[[True], [True]]])
    quantiles = np.tile(np.linspace(0.5, 1.5, 9), (1, 2, 1, 1))
    found = scores(quantiles, truth, mask, [0.5])
    assert found["mase"] == pytest.approx((0 + 1.0) / 2 / 0.5)
    assert found["coverage"] == 0.5
    assert found["width"] == pytest.approx(1.0)
    assert found["rmse"] == pytest.approx(np.sqrt(0.5))


BAD = {
    "non-numeric column": (
        ["a,1", "b,2", "c,4"] * 20,
        "word,y",
        {},
        None,
        r"Not used, since they hold no numbers: word",
    ),
    "unsorted": ([f"2024-01-{d:02},{d % 5}" for d in range(28, 0, -1)], "date,y", {}, None, r"they were sorted"),
    "duplicates": (
        ["2024-01-01,1", "2024-01-02,2", "2024-01-02,3", "2024-01-03,1"],
        "date,y",
        {},
        DataError,
        r"Rows 2 and 3 have the same time stamp",
    ),
    "zones": (
        ["2024-01-01T00:00:00Z,1", "2024-01-01T01:00:00,2", "2024-01-01T02:00:00Z,3"],
        "time,y",
        {},
        DataError,
        r"mixes times with and without an offset",
    ),
    "constant": (
        ["2024-01-01,5", "2024-01-02,5", "2024-01-03,5"],
        "date,y",
        {},
        DataError,
        r"nothing to forec",
    ),
    "too few rows": (
        [f"2024-01-{d:02},{d % 5}" for d in range(1, 29)],
        "date,y",
        {"window": 30, "horizon": 2},
        DataError,
        r"a window of 30 and a horizon of 2 need 32",
    ),
    "infinities and gaps": (
        [f"2024-01-{d:02},{'inf' if d == 5 else 'NaN' if d == 7 else d % 4}" for d in range(1, 32)],
        "date,y",
        {},
        None,
        r"Infinite values count as missing: y \(1\).*2 missing values of y were filled",
    ),
    "horizon": (
        [f"2024-01-{d:02},{d % 5}" for d in range(1, 29)],
        "date,y",
        {"horizon": 50, "window": 2},
        DataError,
        r"need 52",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_at_the_door(case: str) -> None:
    """Refused in a sentence, or trained on with one; nothing is left behind by what is refused."""
    rows, head, options, error, sentence = BAD[case]
    Path("s.csv").write_text("\n".join([head, *rows]) + "\n")
    options = {"window": 8, "horizon": 2, **SMALL, **options}
    if error is not None:
        with pytest.raises(error, match=sentence):
            carousel.train("s.csv", kind="series", out="r", **options)
        assert not Path("r").exists()
        return
    run = carousel.train("s.csv", kind="series", out="r", **options)
    assert np.isfinite(run.status["best_dev_mase"])
    said = " ".join(run.config["corpus"]["notes"])
    assert re.search(sentence, said), said


def test_unused_roles() -> None:
    series = read_series([write(NOISE[:60], NOISE[60:120])], Roles(("y",), past=()))
    assert series.roles.past == ()
    assert isinstance(planned("s.csv", past=("none",), window=4, horizon=2).ridge, Ridge)


def test_few_windows_get_neither_ridge_nor_lags() -> None:
    """94 rows of which 41 are read: forty windows for as many lags."""
    y = np.tile(np.sin(np.arange(12) * np.pi / 6), 12) + 0.05 * NOISE[:144]
    few, many = planned(write(y), horizon=12), planned(write(np.tile(y, 12), name="t.csv"), horizon=12, window=41)
    assert (few.ridge.enough, few.found["beside"], few.plan.residual) == (False, 0, "season")
    assert (many.ridge.enough, many.found["beside"]) == (True, 64)
    assert planned(write(y), horizon=12, beside=8).found["beside"] == 8


def test_disjoint_forecasts_are_counted() -> None:
    assert disjoint(np.arange(10), 1) == 10
    assert disjoint(np.arange(10), 4) == 3  # 0, 4, 8
    assert disjoint(np.array([7, 0, 1, 30]), 5) == 3
    assert disjoint(np.zeros(0, np.int64), 5) == 0
