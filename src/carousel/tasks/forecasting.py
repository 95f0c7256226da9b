"""Using a trained forecaster: what comes after the data, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..data.series import MAX_GAP, Piece, Roles, Series, read_series
from ..errors import DataError, UsageError
from ..nn.forecaster import LEVELS, Forecaster
from ..settings import Settings
from .series_plan import Plan
from .series_windows import Windows

__all__ = ["Forecast", "ForecastUser", "averaged"]

PATHS = 400
"""Futures that are drawn where a forecast goes on from its own values."""


@dataclass(frozen=True, eq=False)
class Forecast:
    """The next steps of one series.

    Args:
        series: its name; empty where there is one.
        targets: the columns.
        times: stamps as text.
        stamps: (steps,) datetime64, or numbers.
        median: (steps, targets).
        lower: (steps, targets) a value is below with probability 0.1.
        upper: (steps, targets) a value is above with probability 0.1.
        quantiles: (steps, targets, 9) at 0.1, 0.2 … 0.9.
        truth: (steps, targets) what the file has there; NaN where it has nothing.
        history: (steps, targets) the values before.
        history_times: of these.
        rolled: how many of the steps are beyond the horizon that was trained.
        notes: sentences for the user.
    """

    levels: ClassVar[tuple[float, ...]] = LEVELS
    """Of the quantiles."""

    series: str
    targets: tuple[str, ...]
    times: list[str]
    stamps: NDArray[Any]
    median: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    truth: NDArray[np.float64]
    history: NDArray[np.float64]
    history_times: list[str]
    rolled: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def has_truth(self) -> bool:
        """Whether the file has any of the values."""
        return bool(np.isfinite(self.truth).any())

    def rows(self) -> list[dict[str, Any]]:
        """A dict per step: `time`, and of each target its name, `NAME lower`, `NAME upper`, `NAME truth`."""
        rows = []
        for step, time in enumerate(self.times):
            row: dict[str, Any] = {"series": self.series} if self.series else {}
            row["time"] = time
            for column, name in enumerate(self.targets):
                row[name] = float(self.median[step, column])
                row[f"{name} lower"] = float(self.lower[step, column])
                row[f"{name} upper"] = float(self.upper[step, column])
                if self.has_truth:
                    true = float(self.truth[step, column])
                    row[f"{name} truth"] = true if np.isfinite(true) else None
            rows.append(row)
        return rows


def averaged(found: Sequence[Sequence[Forecast]], names: Sequence[str]) -> list[Forecast]:
    r"""Forecasts of several networks as one, quantile by quantile: :math:`\bar Q(p) = \frac{1}{M} \sum_m Q_m(p)`.

    So an interval is as wide as the members' are on average; the mean of their distributions would be wider, and too
    wide where each is calibrated (Lichtendahl, Grushka-Cockayne & Winkler, "Is it better to average probabilities or
    quantiles?", Management Science 59, 2013).

    Args:
        found: of each network its forecasts, one for each series.
        names: of the networks, for messages.

    Raises:
        UsageError: they are not about the same values.
    """
    first = found[0]
    about = [(one.series, one.targets, one.times) for one in first]
    for others, name in zip(found, names, strict=True):
        if [(one.series, one.targets, one.times) for one in others] != about:
            raise UsageError(
                f"{names[0]} and {name} forecast different series, columns or times; average runs on the same columns, "
                "with --horizon where they were trained for different ones."
            )
    both = []
    for forecasts in zip(*found, strict=True):
        quantiles = np.mean([one.quantiles for one in forecasts], axis=0)
        notes = list(dict.fromkeys(note for one in forecasts for note in one.notes))
        both.append(
            replace(
                forecasts[0], quantiles=quantiles, median=quantiles[..., len(LEVELS) // 2], lower=quantiles[..., 0],
                upper=quantiles[..., -1], rolled=max(one.rolled for one in forecasts), notes=notes,
            )
        )  # fmt: skip
    return both


class ForecastUser:
    """A trained network that forecasts.

    Args:
        plan: of its run.
        settings: of its run.
        network: in evaluation mode.
    """

    def __init__(self, plan: Plan, settings: Settings, network: nn.Module):
        assert isinstance(network, Forecaster)
        self.plan, self.settings, self.network = plan, settings, network

    def forecasts(
        self, horizon: int | None = None, *, data: str | Path | None = None, begin: str | None = None
    ) -> list[Forecast]:
        """A forecast for each series of the data.

        Args:
            horizon: steps; as trained if not given. A longer one goes on from its own forecasts.
            data: a file with the same columns that goes further; the data that were trained on if not given.
            begin: the first time to forecast, where it is not right behind the last value.

        Raises:
            UsageError: the horizon is longer than the data, or `begin` is not in the data.
            DataError: the file does not fit the run, is too short, or lacks what must be known ahead.
        """
        plan = self.plan
        series = self._read(data)
        horizon = plan.horizon if horizon is None else horizon
        if horizon < 1:
            raise UsageError(f"--horizon is {horizon}; give at least 1.")
        rows = max(sum(p.ends for p in series.pieces if p.group == g) for g in range(len(series.groups)))
        if horizon > rows:
            raise UsageError(
                f"A horizon of {horizon:,} steps is longer than the data, which have {rows:,}; give at most {rows:,}."
            )
        plan, numbers, notes = self._with_groups(series)
        if plan.horizon < horizon:
            notes.append(
                f"The network was trained for {plan.horizon} steps; the {horizon - plan.horizon:,} after them go on "
                "from its own forecasts, and are less sure than their intervals can say."
            )
        found = []
        for group in range(len(series.groups)):
            pieces = [piece for piece in series.pieces if piece.group == group]
            if pieces:
                found.append(self._forecast(series, plan, pieces, numbers[group], horizon, begin, notes))
        return found

    def _read(self, data: str | Path | None) -> Series:
        said, plan = self.settings.series, self.plan
        sources = plan.source if data is None else [str(data)]
        gone = [source for source in sources if data is None and not Path(source).exists() and "*" not in source]
        if gone:
            raise UsageError(f"{gone[0]}, which the run was trained on, is gone; give the file with --data FILE.")
        series = read_series(
            sources, Roles(plan.roles.targets, plan.roles.known, plan.roles.past, plan.roles.time, plan.roles.group),
            time_format=said.time_format, every=said.every, duplicates=said.duplicates,
            max_gap=MAX_GAP if said.max_gap is None else said.max_gap, encoding=self.settings.data.encoding,
            settled=True,
        )  # fmt: skip
        mine, theirs = plan.clock, series.clock
        if mine.unit != theirs.unit or abs(mine.step - theirs.step) > 1e-6 * abs(mine.step):
            raise DataError(
                f"The rows of {series.files[0]} are {theirs.step_text()} apart, those that the network was trained on "
                f"{mine.step_text()}; give data with the same step, or train on these."
            )
        return series

    def _with_groups(self, series: Series) -> tuple[Plan, list[int], list[str]]:
        """The plan with scales for series that it does not know, and the numbers of all series in it."""
        plan, notes = replace(self.plan, clock=series.clock), []
        groups, scales = [*plan.groups], [*plan.target_scale]
        new = [name for name in series.groups if name not in groups]
        for name in new:
            values = [p.values[: p.ends, : len(plan.roles.targets)] for p in series.pieces
                      if series.groups[p.group] == name]  # fmt: skip
            if not values:
                continue
            own = plan.transformed(np.concatenate(values))
            deviation = np.nanstd(own, axis=0)
            scales.append(np.stack([np.nanmean(own, axis=0), np.where(deviation > 0, deviation, 1.0)], 1).tolist())
            groups.append(name)
        if new:
            notes.append(f"Not seen in training, scaled by their own values: {', '.join(new[:10])}.")
        plan = replace(plan, groups=groups, target_scale=scales)
        return plan, [groups.index(name) if name in groups else 0 for name in series.groups], notes

    def _forecast(
        self, series: Series, plan: Plan, pieces: list[Piece], group: int, horizon: int, begin: str | None,
        notes: list[str],
    ) -> Forecast:  # fmt: skip
        clock, targets = series.clock, len(plan.roles.targets)
        piece, origin = self._origin(series, pieces, begin)
        name = plan.groups[group]
        of = f" of {name}" if name else ""
        if origin + 1 < plan.window:
            raise DataError(
                f"There are {origin + 1:,} rows{of} without a long gap before the forecast begins; the network reads "
                f"{plan.window}. Give a file that reaches further back."
            )
        truth = np.full((horizon, targets), np.nan)
        seen = np.where(piece.observed[:, :targets], piece.values[:, :targets], np.nan)[origin + 1 :][:horizon]
        truth[: len(seen)] = seen
        places = piece.begin + origin + 1 + np.arange(horizon)
        self._check_known(plan, piece, origin, clock.text(places))
        quantiles = self._quantiles(series, plan, piece, group, origin, horizon)
        back = min(origin + 1, max(2 * horizon, 2 * plan.season if plan.season < 100 else 0, 24))
        past = np.arange(origin + 1 - back, origin + 1)
        return Forecast(
            name, plan.roles.targets, clock.text(places), clock.stamps(places), quantiles[..., len(LEVELS) // 2],
            quantiles[..., 0], quantiles[..., -1], quantiles, truth, piece.values[past, :targets],
            clock.text(piece.begin + past), max(horizon - plan.horizon, 0), notes,
        )  # fmt: skip

    def _origin(self, series: Series, pieces: list[Piece], begin: str | None) -> tuple[Piece, int]:
        """The piece and its last row before the forecast."""
        if begin is None:
            return pieces[-1], pieces[-1].ends - 1
        clock = series.clock
        first, last = pieces[0].begin, pieces[-1].begin + pieces[-1].ends
        try:
            stamp = np.array([np.datetime64(begin)]) if clock.calendar_known else np.array([float(begin)])
            place = int(np.rint(clock.exact(stamp)[0])) - (1 if clock.unit == "row" else 0)
        except ValueError:
            raise UsageError(
                f"--begin {begin!r} is no time of these data; write it as {clock.text(np.array([last]))[0]!r}."
            ) from None
        for piece in pieces:
            if piece.begin < place <= piece.begin + piece.ends:
                return piece, place - piece.begin - 1
        ends = clock.text(np.array([first, last]))
        raise UsageError(
            f"--begin {begin} is not right behind a value of the data: {ends[0]} to {ends[1]}, without gaps."
        )

    def _check_known(self, plan: Plan, piece: Piece, origin: int, times: list[str]) -> None:
        """That what must be known ahead is there, for every step."""
        if not plan.roles.known:
            return
        values = piece.values[origin + 1 :, -len(plan.roles.known) :][: len(times)]
        lacking = np.ones((len(times), len(plan.roles.known)), bool)
        lacking[: len(values)] = np.isnan(values)
        if lacking.any():
            columns = [name for place, name in enumerate(plan.roles.known) if lacking[:, place].any()]
            steps = np.flatnonzero(lacking.any(1))
            targets = ", ".join(plan.roles.targets)
            raise DataError(
                f"The forecast needs {', '.join(columns)}, known ahead, for {len(steps)} steps from {times[steps[0]]} "
                f"to {times[steps[-1]]}. Give a file with rows for these times in which {targets} is empty."
            )

    def _quantiles(
        self, series: Series, plan: Plan, piece: Piece, group: int, origin: int, horizon: int
    ) -> NDArray[np.float64]:
        """(steps, targets, levels) in the file's units."""
        windows = self._extended(series, plan, piece, group, origin, horizon)
        rows, at = len(windows.y), plan.window + plan.season - 1
        at = min(at, origin)
        found = [self._run(windows, np.array([at]))[:, 0]]
        if horizon > plan.horizon:
            found += self._rolled(windows, rows, at, horizon)
        return plan.unscaled(np.concatenate(found)[:horizon], group)

    def _extended(self, series: Series, plan: Plan, piece: Piece, group: int, origin: int, horizon: int) -> Windows:
        """The last rows before the forecast, and rows for it: known covariates where the file has them."""
        first = max(origin + 1 - plan.window - plan.season, 0)
        blocks = -(-horizon // plan.horizon)
        length = origin + 1 - first + blocks * plan.horizon
        values = np.full((length, piece.values.shape[1]), np.nan)
        given = piece.values[first : first + length].copy()
        values[: len(given)] = given
        observed = np.zeros(values.shape, bool)
        observed[: origin + 1 - first] = piece.observed[first : origin + 1]
        targets, pasts = len(plan.roles.targets), len(plan.roles.past or ())
        now = origin + 1 - first
        values[now:, :targets] = np.nan
        for row in range(now, length):  # past covariates, read where the forecast goes on from itself
            back = row - plan.season if plan.season <= row else row - 1
            values[row, targets : targets + pasts] = values[back, targets : targets + pasts]
        observed[now:, targets:] = True
        extended = Piece(0, piece.begin + first, values, observed, now)
        return Windows(replace(series, pieces=[extended]), plan, [group])

    @torch.no_grad()
    def _run(self, windows: Windows, origins: NDArray[np.int64]) -> NDArray[np.float64]:
        """(H, origins, targets, levels), scaled."""
        parameter = next(self.network.parameters())
        batch = windows.batch(origins).to(parameter.device)
        output = self.network(*(part.to(parameter.dtype) for part in batch[:3]))
        return self.network.quantiles(output).double().cpu().numpy()

    def _rolled(self, windows: Windows, rows: int, at: int, horizon: int) -> list[NDArray[np.float64]]:
        """Quantiles of the steps beyond the trained horizon, over many futures drawn from the forecasts before."""
        step, draw = windows.plan.horizon, np.random.default_rng(0)
        y = np.tile(windows.y, (PATHS, 1))
        windows.y, windows.mask = y, np.tile(windows.mask, (PATHS, 1))
        windows.inputs, windows.known = np.tile(windows.inputs, (PATHS, 1)), np.tile(windows.known, (PATHS, 1))
        windows.group = np.tile(windows.group, PATHS)
        origins = np.arange(PATHS) * rows + at
        z = self.network.normal.double().cpu().numpy()
        found = []
        for _ in range(-(-horizon // step)):
            quantiles = self._run(windows, origins)
            level = torch.from_numpy((draw.permutation(PATHS) + 0.5) / PATHS)
            drawn = (np.sqrt(2) * torch.erfinv(2 * level - 1)).numpy()[None, :, None]
            values = _between(z, quantiles, drawn)
            y[origins[None] + np.arange(1, step + 1)[:, None]] = values
            found.append(np.quantile(values, LEVELS, axis=1).transpose(1, 2, 0))
            origins = origins + step
        return found[1:]


def _between(z: NDArray[np.float64], quantiles: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values at normal scores `at`, on straight lines between quantiles at scores `z` and beyond them."""
    right = np.clip(np.searchsorted(z, at), 1, len(z) - 1)
    right = np.broadcast_to(right, quantiles.shape[:-1])[..., None]
    low, high = (np.take_along_axis(quantiles, right - back, -1)[..., 0] for back in (1, 0))
    share = (at - z[right[..., 0] - 1]) / (z[right[..., 0]] - z[right[..., 0] - 1])
    return low + share * (high - low)
