"""Forecasting: the next steps of a series, with intervals, from a window of its past."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..cells.loading import CellSource
from ..data.series import MAX_GAP, Roles, Series, looks_like_series, read_series
from ..errors import DataError, RunFolderError
from ..nn.forecaster import LEVELS, Forecaster
from ..settings import Settings
from ..training.feeds import ExampleFeed
from ..training.task import Evaluation, Metric, Shown
from .forecast_panels import panels
from .forecast_scores import MOST_DEV, MOST_TEST, forecast_windows, scores
from .forecasting import ForecastUser
from .kind import LAYERED, Kind, Sources, Stored, blamed, make_recurrent
from .repairs import COMMON, Repair
from .series_plan import Plan, choose_residual, cuts, drifts, find_season, looks_multiplicative, train_rows
from .series_ridge import Ridge
from .series_windows import Windows, ahead, naive

__all__ = ["SERIES", "ForecastTask", "SeriesData", "build_network", "stored_plan"]

BESIDE = 64
"""Units beside the recurrent layers, where there are windows enough."""
METRICS = {
    "mase": Metric("MASE", "Mean absolute error over that of the seasonal naive forecast, one step at a time, on the "
                   "training part."),
    "rmse": Metric("RMSE", "Root of the mean squared error of the median, in the file's units."),
    "pinball": Metric("Pinball loss", "Mean over the quantiles from 0.1 to 0.9, in the file's units."),
    "coverage": Metric("Coverage", "Share of true values inside the 80 % interval.", percent=True),
    "width": Metric("Width", "Of the 80 % interval, on average, in the file's units."),
}  # fmt: skip


@dataclass(frozen=True)
class SeriesData:
    """A series as a kind of data."""

    series: Series
    plan: Plan
    found: Mapping[str, Any]
    notes: list[str]
    windows: Windows
    ridge: Ridge

    @classmethod
    def read(cls, sources: Sources, settings: Settings) -> SeriesData:
        """Read, and find what is not said about it on its training part."""
        said = settings.series
        past = None if said.past is None else tuple(n for n in said.past if n != "none")
        data = settings.data
        roles = Roles(tuple(data.target), tuple(said.known), past, data.time_column, data.group_column)
        series = read_series(
            sources, roles, time_format=said.time_format, every=said.every, duplicates=said.duplicates,
            max_gap=MAX_GAP if said.max_gap is None else said.max_gap, encoding=settings.data.encoding,
        )  # fmt: skip
        plan, found, notes = _planned(series, settings, [str(Path(s).absolute()) for s in sources])
        windows = Windows(series, plan)
        train = windows.split("train")
        if not len(train):
            raise DataError(
                f"No window of {plan.window} rows with {plan.horizon} after it is free of long gaps; give a "
                "smaller --window or --horizon, or a larger --max-gap."
            )
        ridge = Ridge(windows, train)
        if said.residual == "auto" and ridge.enough:
            error = np.abs(windows.base(ridge.later) - windows.y[ahead(ridge.later, plan.horizon)]).mean()
            if ridge.later_error < error:
                plan = windows.plan = replace(plan, residual="ridge")
        beside = said.beside if said.beside is not None else BESIDE if ridge.enough else 0
        found = {**found, "residual": plan.residual, "beside": beside}
        return cls(series, plan, found, [*series.notes, *notes], windows, ridge)

    @property
    def name(self) -> str:
        """Of the file."""
        return self.series.name

    @property
    def digest(self) -> str:
        """Of the content of the files."""
        return self.series.digest

    def about(self) -> str:
        """The series in a line."""
        options = "--kind, --time-column, --target, --past, --known say otherwise"
        plan = self.plan
        return f"{self.series.describe()}, {plan.horizon} steps ahead from {plan.window} ({options})"

    def origin(self) -> dict[str, Any]:
        """Files and rows."""
        return {"files": len(self.series.files), "rows": self.series.rows, "notes": self.notes}


def _planned(series: Series, settings: Settings, source: list[str]) -> tuple[Plan, dict[str, Any], list[str]]:
    """The plan, the settings that were found, and sentences about them."""
    said, targets, notes = settings.series, len(series.roles.targets), []
    begin, second = cuts(series, settings.data.dev, settings.data.test)
    parts = [piece.values[: train_rows(piece, begin)] for piece in series.pieces]
    parts = [part for part in parts if len(part)]
    if not parts:
        raise DataError("No rows are left to train on; give a smaller --dev or --test.")
    longest = max(parts, key=len)[:, :targets]
    season = said.season
    if season is None:
        season = find_season(longest[:, 0], series.clock.usual_seasons())
        text = f"repeats after {season} steps" if season > 1 else "does not repeat clearly"
        notes.append(f"{series.roles.targets[0]} {text}, by its autocorrelation on the training part (--season).")
    positive = all(np.nanmin(piece.values[: piece.ends, :targets]) > 0 for piece in series.pieces)
    transform = said.transform
    if transform == "auto":
        fits = positive and all(looks_multiplicative(longest[:, c], season) for c in range(targets))
        transform = "log" if fits else "none"
        if fits:
            notes.append("The swings grow with the level: the logarithm is learned (--transform none otherwise).")
    horizon, window = said.horizon, settings.training.window
    horizon = _usual_horizon(season, begin, second) if horizon is None else horizon
    if window is None:
        window = min(
            max((4 if season <= 48 else 2) * season, 2 * horizon, 16), 336, max((len(longest) - horizon) // 2, 1)
        )
    if max(map(len, parts)) < window + horizon:
        raise DataError(
            f"The training part has {max(map(len, parts)):,} rows in a stretch, of {series.rows:,} in all; a window of "
            f"{window} and a horizon of {horizon} need {window + horizon}. Give more rows, or a smaller --window, "
            "--horizon, --dev or --test."
        )
    gone = sum(len(part) < window + horizon for part in parts)
    if gone:
        notes.append(f"{gone} stretches are shorter than a window of {window} and a horizon of {horizon}: left out.")
    log: Callable[[Any], Any] = np.log if transform == "log" and positive else (lambda v: v)
    logged = [log(part[:, :targets]) for part in parts]
    residual = said.residual if said.residual != "auto" else choose_residual(logged, season, horizon)
    reach = season if residual == "season" else 1
    if window < reach:
        raise DataError(
            f"The window of {window} is shorter than the season of {season} steps, from which the difference is "
            "learned; give a longer --window, or --residual last."
        )
    roles = series.roles
    plan = Plan(
        roles, series.clock, series.groups, window, horizon, season, transform, residual,
        relative=residual != "none" and drifts(log(longest[:, 0])),
        calendar=series.clock.calendar_names(max(map(len, parts))) if said.calendar == "auto" else [],
        gappy=[
            name for at, name in enumerate(series.columns)
            if any(not piece.observed[: piece.ends, at].all() for piece in series.pieces)
        ],
        target_scale=[], other_scale=[], naive_error=[], cuts=[begin, second], intervals=said.intervals, source=source,
    )  # fmt: skip
    plan = _scaled(plan, series, begin)
    if plan.relative:
        notes.append("The level drifts: the network sees differences from the last value only.")
    found = {
        "time_column": roles.time, "target": roles.targets, "past": roles.past or ("none",), "season": season,
        "horizon": horizon, "window": window, "transform": transform, "residual": residual,
    }  # fmt: skip
    return plan, found, notes


def _usual_horizon(season: int, begin: int, second: int) -> int:
    """A season where it is short, and not more than the dev part can measure."""
    usual = season if 4 <= season <= 48 else 24
    return max(1, min(usual, second - begin)) if second > begin else usual


def _scaled(plan: Plan, series: Series, until: int) -> Plan:
    """With means, deviations and naive errors of the training part."""
    targets = len(plan.roles.targets)
    parts = [(p.group, p.values[: train_rows(p, until)]) for p in series.pieces]
    scale = []
    everything = np.concatenate([plan.transformed(v[:, :targets]) for _, v in parts])
    for group in range(len(series.groups)):
        mine = [plan.transformed(v[:, :targets]) for g, v in parts if g == group and len(v) > 1]
        scale.append(_spread(np.concatenate(mine) if mine else everything))
    others = _spread(np.concatenate([v[:, targets:] for _, v in parts]))
    away = [np.abs(v[plan.season :, :targets] - v[: -plan.season, :targets]) for _, v in parts if len(v) > plan.season]
    error = np.nanmean(np.concatenate(away), axis=0) if away else np.full(targets, np.nan)
    error = [float(e) if math.isfinite(e) and e > 0 else 1.0 for e in error]
    return Plan.from_dict({**plan.to_dict(), "target_scale": scale, "other_scale": others, "naive_error": error})


def _spread(values: NDArray[np.float64]) -> list[list[float]]:
    seen = ~np.isnan(values)
    counts = np.maximum(seen.sum(0), 1)
    mean = np.where(seen, values, 0).sum(0) / counts
    deviation = np.sqrt((np.where(seen, values - mean, 0) ** 2).sum(0) / counts)
    return [
        [float(m), float(d) if d > 1e-12 * max(abs(m), 1e-12) else 1.0] for m, d in zip(mean, deviation, strict=True)
    ]


class ForecastTask:
    """The task as the training loop sees it.

    Args:
        data: the series.
        settings: of the run.
        cell: the recurrent cell.

    Raises:
        DataError: a part has no window.
    """

    unit: str = "window"
    repairs: ClassVar[Mapping[str, Repair]] = COMMON
    remarks: Sequence[str] = ()
    unasked: ClassVar[Collection[str]] = ("class-imbalance", "data-leakage", "label-noise", "unshuffled-data")
    """Questions about independent samples; windows overlap."""

    def __init__(self, data: SeriesData, settings: Settings, cell: CellSource):
        self.data, self.settings, self.cell, self.plan = data, settings, cell, data.plan
        self.windows = data.windows
        self.train = self.windows.split("train")
        for part, share in (("dev", settings.data.dev), ("test", settings.data.test)):
            if share and not len(self.windows.split(part)):
                raise DataError(
                    f"The {part} part, {share:g} of {data.series.rows:,} rows, is shorter than the horizon of "
                    f"{self.plan.horizon}; give a larger --{part} or a smaller --horizon."
                )
        assert settings.training.batch is not None
        self.batch = min(settings.training.batch, len(self.train))

    @property
    def shown(self) -> Shown:
        """MASE and its companions."""
        loss = "scaled pinball" if self.plan.intervals == "quantile" else "nats per value"
        commands = (("forecast {run} --plot forecast.png --out forecast.csv", "forecast what comes after the data"),)
        return Shown(self.unit, loss_in=loss, facts=tuple(self.data.notes), metrics=METRICS, commands=commands)

    def network(self) -> Forecaster:
        """A new network with random weights."""
        network = build_network(self.plan, self.settings, self.cell, self._spread())
        network.begin(*map(torch.from_numpy, (self.data.ridge.center, self.data.ridge.scale, self.data.ridge.weights)))
        return network

    def _spread(self) -> Tensor:
        """(H, targets) mean size of the errors that it begins with, on training windows, as a normal deviation."""
        origins, ridge = self.windows.split("train", 5_000), self.plan.residual == "ridge"
        base = self.data.ridge.forecast(origins) if ridge else self.windows.base(origins)
        away = np.abs(self.windows.y[ahead(origins, self.plan.horizon)] - base).mean(1)
        return torch.from_numpy(np.maximum(1.25 * away, 1e-3).astype(np.float32))

    def feed(self, part: int, parts: int) -> ExampleFeed:
        """Training windows in random order."""
        return ExampleFeed(self, self.batch, seed=self.settings.training.seed, unit=self.unit, part=part, parts=parts)

    def __len__(self) -> int:
        """Training windows."""
        return len(self.train)

    def units(self, chosen: NDArray[np.int64]) -> int:
        """Windows."""
        return len(chosen)

    def weights(self, chosen: NDArray[np.int64]) -> float:
        """How many values they are to forecast."""
        return float(self.windows.mask[ahead(self.train[chosen], self.plan.horizon)].sum())

    def loss(self, network: Callable[..., Any], chosen: NDArray[np.int64], device: torch.device) -> Tensor:
        """Mean loss of these training windows."""
        batch = self.windows.batch(self.train[chosen]).to(device)
        module: Any = getattr(network, "module", network)
        return module.loss(network(batch.window, batch.ahead, batch.base), batch.truth, batch.mask)

    def evaluate(self, network: nn.Module, split: str) -> Evaluation | None:
        """Loss and metrics over the windows of a split, None where there are none; dev calibrates the intervals."""
        origins = self.windows.split(split, MOST_DEV if split == "dev" else MOST_TEST)
        if not len(origins):
            return None
        assert isinstance(network, Forecaster)
        quantiles, loss = forecast_windows(network, self.windows, origins, calibrate=split == "dev")
        truth, mask = self.windows.truth(origins)
        return Evaluation(loss, scores(quantiles, truth, mask, self.plan.naive_error))

    def baselines(self, origins: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """(H, origins, targets) of forecasts without a network, by name."""
        plan, windows = self.plan, self.windows
        found: dict[str, NDArray[Any]] = {"last value": windows.y[naive(origins, plan.horizon, 1)]}
        if 1 < plan.season <= plan.window:
            found[f"seasonal naive ({plan.season})"] = windows.y[naive(origins, plan.horizon, plan.season)]
        found["ridge on the same window"] = self.data.ridge.forecast(origins)
        return {name: windows.unscaled(y, origins) for name, y in found.items()}

    def sample(self, network: nn.Module, seed: int) -> None:
        """Nothing; the plots come at the end."""

    def check(self) -> Forecaster:
        """A network that ran for a window."""
        network = blamed(self.cell, self.network)
        batch = self.windows.batch(self.train[:1])
        blamed(self.cell, lambda: network(batch.window, batch.ahead, batch.base))
        return network

    def documents(self) -> dict[str, Any]:
        """The plan."""
        return {"series.json": self.plan.to_dict()}

    def layers(self, network: nn.Module) -> dict[str, Any]:
        """Inputs, recurrent layers, distribution."""
        assert isinstance(network, Forecaster)
        plan, recurrent = self.plan, network.recurrent
        what = {"quantile": f"{len(LEVELS)} quantiles", "normal": "normal", "t": "Student's t"}[plan.intervals]
        begins = {
            "ridge": "a ridge regression on the window",
            "season": f"the value {plan.season} steps before",
            "last": "the last value",
            "none": "the mean",
        }
        layers = [
            ("window", f"{plan.window} steps of {recurrent.input_size} inputs"),
            ("recurrent", f"{self.cell.cell_class.__name__}, {recurrent.num_layers} layer(s) of "
             f"{recurrent.cells[0].hidden_size}"),
            ("forecast", f"{plan.horizon} steps at once, {what}, as the difference from {begins[plan.residual]}"),
        ]  # fmt: skip
        return {"vocabulary": None, "layers": layers}

    def describe(self, network: nn.Module) -> list[dict[str, Any]]:
        """Forecasts with the truth, errors by step, calibration, baselines."""
        assert isinstance(network, Forecaster)
        return panels(self, network)


def build_network(plan: Plan, settings: Settings, cell: CellSource, spread: Tensor | None = None) -> Forecaster:
    """The network of a plan."""
    beside = settings.series.beside or 0
    reads = plan.reads(beside > 0)
    recurrent = make_recurrent(settings.network, cell, reads.stop - reads.start)
    return Forecaster(
        recurrent, len(plan.roles.targets), plan.horizon, ahead=plan.ahead, intervals=plan.intervals,  # pyright: ignore
        dropout=settings.network.dropout or 0.0, spread=spread,
        taps=plan.taps, beside=beside, reads=reads, linear=plan.residual == "ridge",
    )  # fmt: skip


def _example(stored: Stored, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    plan = stored_plan(stored)
    sizes = ((plan.window, plan.features), (plan.horizon, plan.ahead), (plan.horizon, len(plan.roles.targets)))
    window, known, base = (torch.zeros(steps, 1, width) for steps, width in sizes)
    return window, known, base


def stored_plan(stored: Stored) -> Plan:
    """The plan of a run.

    Raises:
        RunFolderError: there is none.
    """
    document = stored("series.json")
    if document is None:
        raise RunFolderError("The run was stopped before it began (no series.json); train again.")
    return Plan.from_dict(document)


def _beside_baselines(user: Any, stored: Stored) -> tuple[str, str] | None:
    """The table of the network and the forecasts without one."""
    evaluation = stored("evaluation.json") or {}
    table = next((p for p in evaluation.get("panels", []) if p.get("panel") == "table"), None)
    if table is None:
        return None
    cells = [
        [f"{c:.4g}" if isinstance(c, float) else str(c) for c in row] for row in (table["columns"], *table["rows"])
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "Beside forecasts without a network:", "\n".join(lines)


SERIES = Kind(
    name="series",
    about="a series of numbers over time",
    recognizes=looks_like_series,
    read=SeriesData.read,
    task=ForecastTask,
    network=lambda stored, settings, cell: build_network(stored_plan(stored), settings, cell),
    example=_example,
    user=lambda stored, settings, network: ForecastUser(stored_plan(stored), settings, network),
    verb="forecast",
    shows=_beside_baselines,
    defaults={
        "cell": "lstm",
        "hidden_size": 32,
        "dropout": 0.3,
        "batch": 128,
        "learning_rate": 2e-3,
    },
    epochs=4,
    without=(
        "level",
        "vocabulary_size",
        "min_count",
        "words",
        "split_column",
        "split_seed",
        "fold",
        "label_column",
        "vectors",
        *LAYERED,
        "class_weights",
        "loss",
        "embedding_size",
        "directions",
        "backward",
    ),
)
