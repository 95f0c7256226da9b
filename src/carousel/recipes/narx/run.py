r"""NARX networks: past inputs and past outputs in, the next output out; trained open and closed, and by evolution.

.. math:: \hat y_t = A z_t + B \tanh(W z_t + b), \qquad z_t = (u_{t-n} \dots u_t,\; p_{t-1} \dots p_{t-n})

with p the true past outputs (series-parallel), the predicted ones (parallel), or the true ones and the past errors. Two
measured systems with one output each; the models are in `models.py`, their training in `fit.py`. Sources: Narendra &
Parthasarathy 1990; Lin, Horne, Tiňo & Giles 1996; the lecture on recurrent networks of "Introduction to Deep Learning"
(CMU 11-785), slides on NARX.
"""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import torch
from matplotlib.figure import Figure

import carousel

from .fit import by_evolution, closed_loop, judged, new, one_step_with_errors, open_loop, time_delay, with_errors
from .models import Series, errors, free_run, read
from .temperature import forecast_hourly, judge_hourly

ORDERS, SEEDS, FEW, UPDATES, ROUNDS = (2, 4, 8, 12), 8, 3, 3000, 1000
UNIT = {"Bouc-Wen": "N", "buck": "V"}
SHOWN = 300


def systems(recipe: carousel.recipes.Recipe) -> dict[str, Series]:
    """Both: what comes first in time trains, then a part for choices, and the test part at the end."""
    damper = recipe.data("sysid/boucwen_histeretic_system.csv")
    buck = [recipe.data(f"sysid/buck_{part}.csv") for part in ("id", "valid")]

    def by_share(lengths: list[int]) -> dict[str, slice]:
        cuts = [round(share * lengths[0]) for share in (0, 0.6, 0.75, 1)]
        return {part: slice(*cuts[k : k + 2]) for k, part in enumerate(("train", "dev", "test"))}

    def by_file(lengths: list[int]) -> dict[str, slice]:
        first, both = round(0.75 * lengths[0]), sum(lengths)
        return {"train": slice(0, first), "dev": slice(first, lengths[0]), "test": slice(lengths[0], both)}

    return {"Bouc-Wen": read([damper], ["E", "v"], "f", by_share), "buck": read(buck, ["input"], "y", by_file)}


def choose_order(series: Series, updates: int) -> int:
    """The order whose open-loop-trained network runs freely best on the dev part."""
    nets = {n: open_loop(new(series, n, 0), series, n, 0, updates) for n in ORDERS}
    return min(ORDERS, key=lambda n: errors(nets[n], series, n, "dev")[1])


def one_seed(series: Series, order: int, seed: int, smoke: bool) -> dict[str, Any]:
    """Every model of one seed, on the test part: (one step, free run), and the simulations."""
    updates, rounds = (4, 4) if smoke else (UPDATES, ROUNDS)
    begun = open_loop(new(series, order, seed), series, order, seed, updates)
    erring = with_errors(series, order, seed, updates)
    without = erring.without(series.lagged(order, "train")[0].shape[1], order)
    starts = copy.deepcopy(begun), copy.deepcopy(without)
    closed = [closed_loop(start, series, order, seed + 100, updates) for start in starts]
    models = {
        "linear ARX": new(series, order, seed),
        "NARX, series-parallel": open_loop(begun, series, order, seed + 100, updates),
        "NARX, parallel": min(closed, key=lambda cell: judged(cell, series, order)),
    }
    if seed < FEW:
        models["NARX, parallel, CMA-ES"] = by_evolution(series, order, seed, rounds)
    found: dict[str, Any] = {name: list(errors(cell, series, order, "test")) for name, cell in models.items()}
    found["NARX, past errors"] = [one_step_with_errors(erring, series, order, "test"),
                                  errors(without, series, order, "test")[1]]  # fmt: skip
    if seed < FEW:
        found["time-delay network"] = [time_delay(series, seed, updates)] * 2
    x, past, y = series.lagged(order, "test")
    with torch.no_grad():
        runs = {name: free_run(cell, x.unsqueeze(1), past[:1])[:, 0, 0] for name, cell in models.items()}
    curves = {name: curve[:SHOWN].tolist() for name, curve in {"measured": y[:, 0], **runs}.items()}
    return found | {"runs": curves} if seed == 0 else found


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval of a ratio, by its logarithm."""
    logs = [math.log(ratio) for ratio in ratios]
    low, middle, high = sorted(carousel.recipes.interval(logs)) if len(logs) > 1 else logs * 3
    return math.exp(middle), math.exp(low), math.exp(high)


def draw(results: dict[str, Any]) -> Figure:
    """The first 300 steps of the simulations of the test part."""
    figure = Figure((9, 5.6))
    for axis, name in zip(figure.subplots(2, 1), UNIT, strict=True):
        curves = results[name][0]["runs"]
        for model, curve in curves.items():
            if "CMA" not in model:
                axis.plot(curve, "k" if model == "measured" else "-", linewidth=1.2, label=model)
        low, high = min(curves["measured"]), max(curves["measured"])
        axis.set(ylabel="output, standardized", title=f"{name}: simulated from its inputs alone",
                 ylim=(low - 0.7, high + 0.7))  # fmt: skip
    axis.set_xlabel("step of the test part")
    axis.legend(fontsize=8, ncols=4, loc="lower center")
    figure.tight_layout()
    return figure


def run(recipe: carousel.recipes.Recipe) -> None:
    """Both systems and the temperature, seed by seed; a stopped run goes on with the next."""
    series, hourly = systems(recipe), recipe.data("series/pollution.csv")
    few, seeds = (1, 1) if recipe.smoke else (FEW, SEEDS)
    hours = [
        recipe.part(f"temperature, seed {seed}", partial(forecast_hourly, recipe, hourly, seed)) for seed in range(few)
    ]
    results, lines = {}, []
    for name, one in series.items():
        order = (
            2 if recipe.smoke else recipe.part(f"{name}, order", lambda s=one: {"is": choose_order(s, UPDATES)})["is"]
        )
        runs = results[name] = [
            recipe.part(f"{name}, seed {seed}", partial(one_seed, one, order, seed, recipe.smoke))
            for seed in range(seeds)
        ]
        lines += [f"{name}, order {order}: RMSE in {UNIT[name]} on the test part{'one step':>18}{'free run':>22}"]
        for model in (m for m in runs[0] if m != "runs"):
            means = [interval([found[model][k] for found in runs if model in found]) for k in (0, 1)]
            lines.append(f"    {model:42}" + "".join(f"{m:10.4g} ({a:.4g}, {b:.4g})" for m, a, b in means))
        for better, worse in (("parallel", "linear ARX"), ("parallel", "NARX, series-parallel"),
                              ("parallel, CMA-ES", "linear ARX")):  # fmt: skip
            ratios = [one[f"NARX, {better}"][1] / one[worse][1] for one in runs if f"NARX, {better}" in one]
            middle, low, high = interval(ratios)
            if not recipe.smoke:
                what = (
                    f"{name}: free-run RMSE of NARX, {better}, over that of {worse}; order {order}, {len(ratios)} seeds"
                )
                recipe.claim(what, "< 1, with its 95 % interval", f"{middle:.3f} ({low:.3f} to {high:.3f})", high < 1,
                             "trained on what it is asked for")  # fmt: skip
    lines += judge_hourly(recipe, hours, interval)
    recipe.text("\n".join(lines) + "\n", "table.txt")
    recipe.say("\n".join(lines))
    recipe.figure(draw(results), "simulation.svg")
    finite = all(math.isfinite(v) for found in results.values() for one in found
                 for model, pair in one.items() if model != "runs" for v in pair)  # fmt: skip
    recipe.claim("all errors on the test parts, in one step and in free run", "finite", "finite" if finite else "not",
                 finite, "no simulation may blow up")  # fmt: skip
