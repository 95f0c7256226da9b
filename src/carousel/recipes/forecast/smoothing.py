r"""Forecasts without a network: exponential smoothing (Holt 1957, Winters 1960; `statsmodels`), seasonal naive."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


class Parts(NamedTuple):
    """A series: rows before `dev` train, those from `test` on are the test part."""

    y: Numbers
    dev: int
    test: int
    season: int
    horizon: int
    log: bool

    def origins(self, part: str) -> NDArray[np.int64]:
        """The last rows that are known before each forecast whose steps all lie in the part."""
        begin, end = (self.dev, self.test) if part == "dev" else (self.test, len(self.y))
        return np.arange(begin - 1, end - self.horizon)

    def mase(self, forecasts: Numbers, part: str) -> float:
        """Of (origins, horizon) forecasts: mean absolute error over that of the seasonal naive in training."""
        truth = self.y[self.origins(part)[:, None] + np.arange(1, self.horizon + 1)]
        unit = np.abs(self.y[self.season : self.dev] - self.y[: self.dev - self.season]).mean()
        return float(np.abs(forecasts - truth).mean() / unit)


def seasonal_naive(parts: Parts, part: str) -> Numbers:
    """(origins, horizon) the value at the same place of the last season."""
    ahead = np.arange(1, parts.horizon + 1)
    return parts.y[parts.origins(part)[:, None] + ahead - parts.season * -(-ahead // parts.season)]


def smoothed(parts: Parts, part: str, trend: bool, seasonal: bool) -> Numbers:
    """(origins, horizon) forecasts of exponential smoothing whose constants are fitted on the training part."""
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    y = np.log(parts.y) if parts.log else parts.y
    form: dict[str, Any] = {"trend": "add" if trend else None, "damped_trend": trend}
    form |= {"seasonal": "add", "seasonal_periods": parts.season} if seasonal else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an optimizer that stops early: the dev part judges
        fit = ExponentialSmoothing(y[: parts.dev], **form, initialization_method="heuristic").fit()
        found = fit.params
        begin = {"initial_level": found["initial_level"]}
        begin |= {"initial_trend": found["initial_trend"]} if trend else {}
        begin |= {"initial_seasonal": found["initial_seasons"]} if seasonal else {}
        constants = {"smoothing_level": found["smoothing_level"]}
        constants |= {name: found[name] for name in ("smoothing_trend", "damping_trend") if trend}
        constants |= {"smoothing_seasonal": found["smoothing_seasonal"]} if seasonal else {}
        whole = ExponentialSmoothing(y, **form, initialization_method="known", **begin)
        states = whole.fit(**constants, optimized=False)
    at, ahead = parts.origins(part)[:, None], np.arange(1, parts.horizon + 1)
    forecasts = states.level[at] + np.zeros(parts.horizon)
    if trend:
        forecasts = forecasts + states.trend[at] * np.cumsum(found["damping_trend"] ** ahead)
    if seasonal:
        forecasts = forecasts + states.season[at + ahead - parts.season * -(-ahead // parts.season)]
    return np.exp(forecasts) if parts.log else forecasts


def best_smoothed(parts: Parts) -> tuple[str, Numbers]:
    """Of four forms the one with the smallest error on the dev part, in words, and its forecasts of the test part."""
    forms = [(t, s) for t, s in product((False, True), (False, True)) if not s or parts.season > 1]
    trend, seasonal = min(forms, key=lambda form: parts.mase(smoothed(parts, "dev", *form), "dev"))
    words = [word for word, has in (("damped trend", trend), (f"season of {parts.season}", seasonal)) if has]
    return " and ".join(words) or "level only", smoothed(parts, "test", trend, seasonal)
