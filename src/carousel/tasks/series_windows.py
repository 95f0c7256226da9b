"""Windows of a series: what a network reads, what it is to forecast, and the naive forecasts beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.series import Series
from .series_plan import Plan

__all__ = ["Batch", "Rows", "Windows", "ahead", "disjoint", "naive"]

Rows = NDArray[np.int64]


class Batch(NamedTuple):
    """Some windows, time first."""

    window: Tensor
    """(W, batch, features)."""
    ahead: Tensor
    """(H, batch, features known ahead)."""
    base: Tensor
    """(H, batch, targets) naive forecasts."""
    truth: Tensor
    """(H, batch, targets) scaled; 0 where `mask` is false."""
    mask: Tensor
    """(H, batch, targets) bool: the file has this value."""

    def to(self, device: torch.device) -> Batch:
        """On another device."""
        return Batch(*(part.to(device) for part in self))


@dataclass(frozen=True)
class _Piece:
    group: int
    begin: int
    first: int
    ends: int
    length: int


class Windows:
    """All rows of a series, scaled, and its windows by their origin, the last row that is read.

    Args:
        series: with the columns of the plan.
        plan: how it is scaled and cut.
        groups: for each of the series' groups its number in the plan.
    """

    def __init__(self, series: Series, plan: Plan, groups: list[int] | None = None):
        self.plan, targets = plan, len(plan.roles.targets)
        self.pieces: list[_Piece] = []
        scaled, masks, past_inputs, known_inputs, group_of = [], [], [], [], []
        first, columns = 0, plan.columns
        gaps = [columns.index(name) for name in plan.gappy]
        other = np.array(plan.other_scale).reshape(-1, 2)
        knowns = len(plan.roles.known)
        for piece in series.pieces:
            group = piece.group if groups is None else groups[piece.group]
            rows = len(piece.values)
            y = np.nan_to_num(plan.scaled(piece.values[:, :targets], group))
            others = np.nan_to_num((piece.values[:, targets:] - other[:, 0]) / other[:, 1])
            calendar = plan.clock.calendar(piece.begin + np.arange(rows), plan.calendar)
            scaled.append(y)
            masks.append(piece.observed[:, :targets] & (np.arange(rows) < piece.ends)[:, None])
            known = others[:, others.shape[1] - knowns :]
            past_inputs.append(np.concatenate([others, ~piece.observed[:, gaps], calendar], 1).astype(np.float32))
            known_inputs.append(np.concatenate([known, calendar], 1).astype(np.float32))
            group_of.append(np.full(rows, group))
            self.pieces.append(_Piece(group, piece.begin, first, piece.ends, rows))
            first += rows
        self.y = np.concatenate(scaled).astype(np.float32)
        self.mask = np.concatenate(masks)
        self.inputs, self.known = np.concatenate(past_inputs), np.concatenate(known_inputs)
        self.group = np.concatenate(group_of)

    def origins(self, begin: int, end: int, *, horizon: int | None = None) -> Rows:
        """Rows after which a forecast's targets all lie in places `begin` to `end`; read rows may lie before."""
        plan, found = self.plan, []
        horizon = plan.horizon if horizon is None else horizon
        for piece in self.pieces:
            low = max(plan.window - 1, begin - piece.begin - 1)
            high = min(piece.ends, end - piece.begin) - horizon - 1
            rows = piece.first + np.arange(low, high + 1)
            found.append(rows[self.mask[rows].all(1)])
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def split(self, name: str, most: int | None = None) -> Rows:
        """Origins of "train", "dev" or "test"; at most so many, evenly apart."""
        first, second = self.plan.cuts
        begin, end = {"train": (0, first), "dev": (first, second), "test": (second, 1 << 60)}[name]
        rows = self.origins(begin if name != "train" else -(1 << 60), end)
        if most is not None and len(rows) > most:
            rows = rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]
        return rows

    def batch(self, origins: Rows, horizon: int | None = None) -> Batch:
        """The windows that end with these rows."""
        plan = self.plan
        horizon = plan.horizon if horizon is None else horizon
        past = origins[None, :] + np.arange(1 - plan.window, 1)[:, None]
        next_ = np.minimum(ahead(origins, horizon), len(self.y) - 1)
        y, last = self.y[past], self.y[origins]
        levels = [y - last] if plan.relative else [y, y - last]
        window = np.concatenate([*levels, self.inputs[past]], -1)
        mask = self.mask[next_]
        return Batch(
            *map(torch.from_numpy, (window, self.known[next_], self.base(origins), np.where(mask, self.y[next_], 0.0)
                                    .astype(np.float32), mask))
        )  # fmt: skip

    def base(self, origins: Rows) -> NDArray[np.float32]:
        """(H, origins, targets) the naive forecast that the network begins from; with a ridge the last value."""
        plan = self.plan
        if plan.residual == "none":
            return np.zeros((plan.horizon, len(origins), self.y.shape[1]), np.float32)
        return self.y[naive(origins, plan.horizon, plan.season if plan.residual == "season" else 1)]

    def batches(self, origins: Rows, size: int = 512) -> Iterator[Batch]:
        """All of these windows, some at a time."""
        for begin in range(0, len(origins), size):
            yield self.batch(origins[begin : begin + size])

    def truth(self, origins: Rows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(H, origins, targets) true values in the file's units, and which of them the file has."""
        next_ = ahead(origins, self.plan.horizon)
        values = self.plan.unscaled(self.y[next_][..., None], self.group[next_])[..., 0]
        return values, self.mask[next_]

    def unscaled(self, values: NDArray[Any], origins: Rows) -> NDArray[np.float64]:
        """(H, origins, targets[, levels]) values in the file's units."""
        flat = values.ndim == 3
        group = np.broadcast_to(self.group[origins], values.shape[:2])
        values = self.plan.unscaled(values[..., None] if flat else values, group)
        return values[..., 0] if flat else values

    def place(self, origin: int) -> int:
        """The place of a row on the grid."""
        piece = next(p for p in self.pieces if p.first <= origin < p.first + p.length)
        return piece.begin + origin - piece.first


def ahead(origins: Rows, horizon: int) -> Rows:
    """(H, origins) the rows that are to be forecast."""
    return origins[None, :] + np.arange(1, horizon + 1)[:, None]


def naive(origins: Rows, horizon: int, season: int) -> Rows:
    """(H, origins) the row whose value is the forecast: the last one, or that of the same place in the last season."""
    steps = np.arange(1, horizon + 1)[:, None]
    return origins[None, :] + steps - season * -(-steps // season)


def disjoint(origins: Rows, horizon: int) -> int:
    """How many of these forecasts have no row in common."""
    count, free = 0, -1
    for origin in np.sort(origins):
        if origin >= free:
            count, free = count + 1, origin + horizon
    return count
