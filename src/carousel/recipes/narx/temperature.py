r"""Hourly temperature a day ahead: an LSTM of `carousel train` that reads past outputs and inputs."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import carousel

DRIVERS = ("DEWP", "PRES", "wind", "north", "east")
WINDS = {"NW": (1, -1), "NE": (1, 1), "SE": (-1, 1), "cv": (0, 0)}
"""Where the wind comes from, north and east; cv is calm or variable."""
SETTINGS: dict[str, Any] = {
    "target": ("TEMP",), "past": DRIVERS, "horizon": 24, "season": 24, "window": 96, "dev": 0.05, "test": 0.15,
    "hidden_size": 32, "dropout": 0.3, "batch": 256, "epochs": 3.0, "threads": 1, "device": "cpu",
}  # fmt: skip
"""Chosen on the 15 % before the test part."""


def prepared(source: Path, file: Path) -> Path:
    """The file with the wind as numbers: direction as two, strength (cumulated, m/s) as its logarithm."""
    with source.open(newline="", encoding="utf-8") as lines, file.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(["year", "month", "day", "hour", *DRIVERS, "TEMP"])
        for row in csv.DictReader(lines):
            wind = (math.log1p(float(row["Iws"])), *WINDS[row["cbwd"]])
            writer.writerow([*(row[k] for k in ("year", "month", "day", "hour", "DEWP", "PRES")), *wind, row["TEMP"]])
    return file


def forecast_hourly(recipe: carousel.recipes.Recipe, source: Path, seed: int) -> dict[str, float]:
    """MASE on the test part of the network and of the forecasts without one."""
    place = recipe.state("temperature")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    few = {"hidden_size": 4, "beside": 4, "window": 48, "epochs": None, "steps": 4} if recipe.smoke else {}
    run = carousel.train(
        prepared(source, place / "hourly.csv"), cell="lstm", out=place / "run", seed=seed, **{**SETTINGS, **few}
    )
    table = next(panel for panel in run.evaluation["panels"] if panel["panel"] == "table")
    return {name: mase for part, name, mase, *_ in table["rows"] if part == "test"}


def judge_hourly(
    recipe: carousel.recipes.Recipe, runs: list[dict[str, float]],
    interval: Callable[[list[float]], tuple[float, float, float]],
) -> list[str]:  # fmt: skip
    """The claims, and lines for the table."""
    middle, low, high = interval([run["network"] for run in runs])
    lines = [
        "Hourly temperature, 24 hours ahead: MASE on the test part",
        f"    {'LSTM':42}{middle:10.4g} ({low:.4g}, {high:.4g})",
    ]
    lines += [f"    {name:42}{mase:10.4g}" for name, mase in runs[0].items() if name != "network"]
    if recipe.smoke:
        return lines
    what, measured = (
        f"hourly temperature, {len(runs)} seeds: MASE of the LSTM",
        f"{middle:.3f} ({low:.3f} to {high:.3f})",
    )
    recipe.claim(what, "at most 0.74", measured, middle <= 0.74, "ridge on the same lags was expected at 0.76")
    for name in (name for name in runs[0] if name != "network"):
        ratio, low, high = interval([run["network"] / run[name] for run in runs])
        recipe.claim(f"{what} over that of {name}", "< 1, with its 95 % interval",
                     f"{ratio:.3f} ({low:.3f} to {high:.3f})", high < 1, "it should be worth its training")  # fmt: skip
    return lines
