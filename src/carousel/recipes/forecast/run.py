r"""Three series, three networks with intervals, and what does without a network; MASE and coverage on the test part.

An LSTM and a plain recurrent network, as `carousel train` makes them, beside models without memory: a linear
autoregression (ridge) and the same network with a cell that remembers nothing (`memoryless.py`); and beside the
seasonal naive forecast and exponential smoothing (`smoothing.py`). Sources: Hyndman & Koehler 2006 (MASE); Wen et al.
2017 (quantiles of all steps at once); Zhou et al. 2021 (ETTh1).
"""

from __future__ import annotations

import csv
import math
import shutil
from itertools import product
from statistics import mean
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import carousel

from .memoryless import Memoryless
from .smoothing import Parts, best_smoothed, seasonal_naive

SERIES: dict[str, tuple[str, dict[str, Any]]] = {
    "ETTh1": (
        "series/ETTh1.csv",
        {
            "target": ("OT",),
            "past": ("none",),
            "window": 336,
            "learning_rate": 5e-4,
            "dev": 0.15,
            "test": 0.15,
            "epochs": 2.0,
        },
    ),
    "sunspots": ("series/monthly-sunspots.csv", {"dev": 0.15, "test": 0.15, "steps": 300}),
    "airline": ("series/airline-passengers.csv", {"dev": 0.15, "test": 0.2, "steps": 500}),
}
NETWORKS: dict[str, dict[str, Any]] = {
    "LSTM": {"cell": "lstm"},
    "RNN": {"cell": "rnn"},
    "neural AR": {"cell": Memoryless},
}
SEEDS = 3


def trained(recipe: carousel.recipes.Recipe, name: str, network: str, seed: int) -> dict[str, Any]:
    """One network: its scores on the test part, the table of its baselines, and a forecast of that part."""
    path, settings = SERIES[name]
    place = recipe.state("run")
    shutil.rmtree(place, ignore_errors=True)
    few = {"epochs": None, "steps": 4, "hidden_size": 4, "batch": 8} if recipe.smoke else {}
    run = carousel.train(recipe.data(path), **{**settings, **NETWORKS[network], **few}, seed=seed, out=place, threads=1,
                         device="cpu")  # fmt: skip
    rows = next(panel for panel in run.evaluation["panels"] if panel["panel"] == "table")["rows"]
    fans = next(panel for panel in run.evaluation["panels"] if panel["panel"] == "forecast")["fans"]
    fan = next(fan for fan in fans if fan["label"].endswith("test part"))
    plan = {key: run.config["series"][key] for key in ("season", "horizon", "transform", "residual")}
    plan |= {"target": run.config["data"]["target"], "window": run.config["training"]["window"]}
    found = {key: run.status[f"test_{key}"] for key in ("mase", "coverage", "pinball")}
    return found | {"baselines": {row[1]: row[2] for row in rows if row[0] == "test"}, "fan": fan, "plan": plan}


def without_network(recipe: carousel.recipes.Recipe, name: str, plan: dict[str, Any]) -> dict[str, Any]:
    """MASE of exponential smoothing, and of the seasonal naive forecast as a check of the windows."""
    path, settings = SERIES[name]
    with recipe.data(path).open(newline="", encoding="utf-8") as file:
        y = np.array([float(row[plan["target"][0]]) for row in csv.DictReader(file)])
    test = len(y) - int(len(y) * settings["test"])
    parts = Parts(y, test - round(len(y) * settings["dev"]), test, plan["season"], plan["horizon"],
                  plan["transform"] == "log")  # fmt: skip
    form, forecasts = best_smoothed(parts)
    return {"form": form, "exponential smoothing": parts.mase(forecasts, "test"),
            "seasonal naive": parts.mase(seasonal_naive(parts, "test"), "test")}  # fmt: skip


def draw(results: dict[str, Any], names: list[str]) -> Figure:
    """A forecast of each test part by the LSTM of seed 0."""
    figure = Figure((9, 2.7 * len(names)))
    for axis, name in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
        fan = results[f"{name}, LSTM, 0"]["fan"]
        past, ahead = len(fan["history"]), len(fan["median"])
        steps = range(past, past + ahead)
        axis.fill_between(steps, fan["lower"], fan["upper"], alpha=0.3, linewidth=0, label="80 % interval")
        axis.plot(steps, fan["median"], label="median")
        axis.plot(range(past + ahead), [*fan["history"], *fan["truth"]], "k", linewidth=1, label="measured")
        axis.set(title=f"{name}: a forecast from {fan['times'][past]} on", xlim=(0, past + ahead - 1))
        axis.set_xlabel("hours" if name == "ETTh1" else "months")
    axis.legend(fontsize=8)
    figure.tight_layout()
    return figure


def spread(values: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval; of one value itself."""
    return carousel.recipes.interval(values) if len(values) > 1 else (values[0], values[0], values[0])


def judge(recipe: carousel.recipes.Recipe, name: str, results: dict[str, Any], seeds: range) -> list[str]:
    """Claims about a series, and its lines of the table."""
    other, runs = results[f"{name}, others"], {n: [results[f"{name}, {n}, {s}"] for s in seeds] for n in NETWORKS}
    first = runs["LSTM"][0]
    plan, ridge = first["plan"], first["baselines"]["ridge on the same window"]
    table_naive = next((v for k, v in first["baselines"].items() if k.startswith("seasonal")), math.nan)
    lines = [f"{name}: {plan['horizon']} steps ahead from {plan['window']}, season {plan['season']}; learned is the "
             f"difference from: {plan['residual']}", f"    {'':34}{'MASE':>10}{'coverage':>24}"]  # fmt: skip
    for model, found in runs.items():
        mase, covered = (spread([one[key] for one in found]) for key in ("mase", "coverage"))
        lines.append(f"    {model:34}" + "".join(f"{m:10.3f} ({a:.3f}, {b:.3f})" for m, a, b in (mase, covered)))
    lines += [f"    {'linear AR (ridge)':34}{ridge:10.3f}", f"    {'seasonal naive':34}{other['seasonal naive']:10.3f}",
              f"    {'exponential smoothing':34}{other['exponential smoothing']:10.3f}   {other['form']}"]  # fmt: skip
    if not recipe.smoke:
        for rival in ("seasonal naive", "exponential smoothing"):
            ratio, low, high = carousel.recipes.interval([one["mase"] / other[rival] for one in runs["LSTM"]])
            recipe.claim(f"{name}: MASE of the LSTM over that of {rival}, {len(seeds)} seeds",
                         "< 1, with its 95 % interval", f"{ratio:.3f} ({low:.3f} to {high:.3f})", high < 1,
                         "it should be worth its training")  # fmt: skip
        covered = mean(one["coverage"] for one in runs["LSTM"])
        recipe.claim(f"{name}: coverage of the LSTM's 80 % interval, mean of {len(seeds)} seeds", "0.75 to 0.85",
                     covered, 0.75 <= covered <= 0.85, "calibrated on the dev part")  # fmt: skip
    away = abs(table_naive - other["seasonal naive"])
    recipe.claim(f"{name}: MASE of the seasonal naive forecast, computed here and by the run: difference", "< 1e-3",
                 away, away < 1e-3, "the same windows, the same unit")  # fmt: skip
    return lines


def run(recipe: carousel.recipes.Recipe) -> None:
    """Every series, network and seed; a stopped run goes on with the next."""
    for path, _ in SERIES.values():
        recipe.data(path)
    results, seeds = recipe.load("results") or {}, range(1 if recipe.smoke else SEEDS)
    names = ["airline"] if recipe.smoke else list(SERIES)
    for name in names:
        for network, seed in product(NETWORKS, seeds):
            if (key := f"{name}, {network}, {seed}") not in results:
                results[key] = trained(recipe, name, network, seed)
                recipe.save("results", results)
                recipe.say(f"{key}: MASE {results[key]['mase']:.3f}, coverage {results[key]['coverage']:.2f}")
        if f"{name}, others" not in results:
            results[f"{name}, others"] = without_network(recipe, name, results[f"{name}, LSTM, 0"]["plan"])
            recipe.save("results", results)
    text = "\n".join(line for name in names for line in judge(recipe, name, results, seeds))
    recipe.text(text + "\n", "table.txt")
    recipe.say(text)
    recipe.figure(draw(results, names), "forecasts.svg")
