"""What the report shows of a forecaster, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..nn.forecaster import LEVELS, Forecaster
from .forecast_scores import MOST_DEV, MOST_TEST, forecast_windows, scores

if TYPE_CHECKING:
    from .forecast import ForecastTask

__all__ = ["fan", "panels"]

SHOWN = 4
"""Forecasts that are drawn."""


def panels(task: ForecastTask, network: Forecaster) -> list[dict[str, Any]]:
    """Forecasts with the truth, a table beside baselines, errors by step, calibration."""
    plan, windows = task.plan, task.windows
    fans, rows, steps, calibration = [], [], [], []
    for split, most in (("dev", MOST_DEV), ("test", MOST_TEST)):
        origins = windows.split(split, most)
        if not len(origins):
            continue
        quantiles, _ = forecast_windows(network, windows, origins)
        truth, mask = windows.truth(origins)
        baselines = task.baselines(origins)
        found = {"network": scores(quantiles, truth, mask, plan.naive_error)}
        found |= {name: scores(y[..., None], truth, mask, plan.naive_error) for name, y in baselines.items()}
        rows += [[split, name, *_cells(of)] for name, of in found.items()]
        middles = {"network": quantiles[..., len(LEVELS) // 2], **baselines}
        steps = [{"name": name, "values": _by_step(y, truth, mask, plan.naive_error)} for name, y in middles.items()]
        calibration.append({"name": split, **_calibration(quantiles, truth, mask)})
        picked = np.linspace(0, len(origins) - 1, min(SHOWN, len(origins))).round().astype(int)
        for at in picked if split == "test" or task.settings.data.test == 0 else picked[-1:]:
            fans += [
                _fan_of(task, split, int(origins[at]), quantiles[:, at], c) for c in range(len(plan.roles.targets))
            ]
    if not rows:
        return []
    last = rows[-1][0]
    return [
        {
            "panel": "forecast",
            "title": "Forecasts",
            "note": "The band should hold 80 % of what came. Chosen evenly over the part.",
            "fans": fans[: 3 * SHOWN],
        },
        {
            "panel": "table",
            "title": "Beside forecasts without a network",
            "note": "On the same windows. MASE: mean absolute error over that of the seasonal naive forecast "
            f"({plan.season} steps back) on the training part. The ridge regression reads what the network reads.",
            "columns": ["part", "forecast", "MASE", "RMSE", "pinball", "coverage", "width"],
            "rows": rows,
        },
        {
            "panel": "lines",
            "title": f"Error by step ahead, {last} part",
            "x": "steps ahead",
            "y": "mean absolute error, in units of MASE",
            "lines": steps,
        },
        {
            "panel": "calibration",
            "title": "Calibration of the intervals",
            "note": "Of the true values, the share inside the interval that is meant to hold so many.",
            "parts": calibration,
        },
    ]


def fan(
    label: str, history: NDArray[Any], times: list[str], quantiles: NDArray[Any], truth: NDArray[Any] | None
) -> dict[str, Any]:
    """One forecast as the panel has it: the past, its times and those ahead, median, interval, truth (None: none)."""
    return {
        "label": label,
        "history": _plain(history),
        "times": times,
        "median": _plain(quantiles[:, quantiles.shape[-1] // 2]),
        "lower": _plain(quantiles[:, 0]),
        "upper": _plain(quantiles[:, -1]),
        "truth": None if truth is None else _plain(truth),
    }


def _fan_of(task: ForecastTask, split: str, origin: int, quantiles: NDArray[np.float64], target: int) -> dict[str, Any]:
    plan, windows = task.plan, task.windows
    back = min(plan.window, max(2 * plan.horizon, 2 * plan.season if plan.season < 100 else 0))
    past = origin + np.arange(1 - back, 1)
    values = windows.unscaled(windows.y[past][:, None], np.array([origin]))[:, 0, target]
    truth, mask = windows.truth(np.array([origin]))
    place = windows.place(origin)
    times = plan.clock.text(place + np.arange(1 - back, plan.horizon + 1))
    group = plan.groups[windows.group[origin]]
    label = f"{plan.roles.targets[target]}{f' of {group}' if group else ''}, {split} part"
    held = np.where(mask[:, 0, target], truth[:, 0, target], np.nan)
    return fan(label, values, times, quantiles[:, target], held)


def _by_step(y: NDArray[Any], truth: NDArray[Any], mask: NDArray[np.bool_], unit: list[float]) -> list[float]:
    away = np.where(mask, np.abs(y - truth) / np.array(unit), 0.0).sum((1, 2))
    return _plain(away / np.maximum(mask.sum((1, 2)), 1))


def _calibration(quantiles: NDArray[Any], truth: NDArray[Any], mask: NDArray[np.bool_]) -> dict[str, list[float]]:
    nominal, observed = [], []
    for k in range(len(LEVELS) // 2 - 1, -1, -1):
        inside = mask & (truth >= quantiles[..., k]) & (truth <= quantiles[..., -1 - k])
        nominal.append(round(LEVELS[-1 - k] - LEVELS[k], 6))
        observed.append(round(float(inside.sum() / max(int(mask.sum()), 1)), 4))
    return {"nominal": nominal, "observed": observed}


def _cells(of: dict[str, float]) -> list[Any]:
    return [float(of[name]) if name in of else "" for name in ("mase", "rmse", "pinball", "coverage", "width")]


def _plain(values: NDArray[Any]) -> list[Any]:
    return [None if not np.isfinite(v) else float(f"{v:.6g}") for v in np.asarray(values, np.float64)]
