r"""Ridge regression of the next steps on the window that the network reads: a baseline, and where it can begin."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..nn.forecaster import tapped
from .series_windows import Rows, Windows, ahead

__all__ = ["Ridge"]

MOST_WINDOWS = 20_000
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
ENOUGH = 10
"""Training windows per input from which on the weights can be relied on."""

Matrix = NDArray[np.float64]


class Ridge:
    r"""Linear direct forecast: B = argmin Σ \|y - c - B x\|² + λ n \|B\|² (Hoerl & Kennard 1970).

    y is the change from the last value, x are the taps of the plan, standardized. λ is the one of a few with the
    smallest error on the last fifth of the training windows, of weights that were fitted on the windows before them.

    Args:
        windows: the series.
        origins: training windows; of many, 20,000 evenly apart are used.

    Attributes:
        center: (inputs,) means of the taps.
        scale: (inputs,) their standard deviations.
        weights: (inputs + 1, H · targets) B, and c in the last row.
        later: the last fifth of the training windows.
        later_error: mean absolute error there.
        enough: whether there are many more training windows than inputs.
    """

    def __init__(self, windows: Windows, origins: Rows):
        self.windows = windows
        self.enough = len(origins) >= ENOUGH * sum(last - first for *_, first, last in windows.plan.taps)
        origins = origins[np.linspace(0, len(origins) - 1, min(len(origins), MOST_WINDOWS)).astype(np.int64)]
        self.later = origins[4 * len(origins) // 5 :]
        early = origins[origins < self.later[0] - windows.plan.horizon]
        between = origins[len(early) : len(origins) - len(self.later)]
        moments = [self._moments(part) for part in (early, between, self.later)]
        self.center, self.scale = np.zeros(0), np.ones(0)
        self.penalty, self.later_error = PENALTIES[-1], np.inf
        for penalty in PENALTIES if len(early) else ():
            self._solve(moments[0], penalty)
            error = float(np.mean([np.abs(fit - y).mean() for fit, y in self._fitted(self.later)]))
            if error < self.later_error:
                self.penalty, self.later_error = penalty, error
        self._solve(moments[0] + moments[1] + moments[2], self.penalty)

    def _parts(self, origins: Rows) -> Iterator[tuple[Matrix, Matrix]]:
        """(windows, inputs) taps and (windows, H · targets) changes, some at a time."""
        plan, y = self.windows.plan, self.windows.y
        for begin in range(0, len(origins), 1000):
            some = origins[begin : begin + 1000]
            moved = (y[ahead(some, plan.horizon)] - y[some]).swapaxes(0, 1).reshape(len(some), -1)
            x = tapped(self.windows.batch(some).window, plan.taps).double().numpy()
            yield x, moved.astype(np.float64)

    def _moments(self, origins: Rows) -> Matrix:
        """Sums of products of the taps and a one with the taps, a one and the changes."""
        inputs, outputs = sum(b - a for *_, a, b in self.windows.plan.taps), self.windows.y.shape[1]
        found = np.zeros((inputs + 1, inputs + 1 + self.windows.plan.horizon * outputs))
        for x, moved in self._parts(origins):
            one = np.ones((len(x), 1))
            found += np.concatenate([x, one], 1).T @ np.concatenate([x, one, moved], 1)
        return found

    def _solve(self, moments: Matrix, penalty: float) -> None:
        inputs = len(moments) - 1
        count, sums = moments[-1, inputs], moments[-1]
        center, means = sums[:inputs] / count, sums[inputs + 1 :] / count
        square = moments[:inputs, :inputs] / count - np.outer(center, center)
        mixed = moments[:inputs, inputs + 1 :] / count - np.outer(center, means)
        scale = np.sqrt(np.maximum(square.diagonal(), 0))
        scale = np.where(scale > 1e-6, scale, 1.0)
        weights = np.linalg.solve(square / np.outer(scale, scale) + penalty * np.eye(inputs), mixed / scale[:, None])
        self.center, self.scale, self.weights = center, scale, np.concatenate([weights, means[None]])

    def _fitted(self, origins: Rows) -> Iterator[tuple[Matrix, Matrix]]:
        for x, moved in self._parts(origins):
            yield (x - self.center) / self.scale @ self.weights[:-1] + self.weights[-1], moved

    def forecast(self, origins: Rows) -> NDArray[np.float64]:
        """(H, origins, targets), scaled."""
        y = self.windows.y
        moved = np.concatenate([fit for fit, _ in self._fitted(origins)]).reshape(len(origins), -1, y.shape[1])
        return (moved + y[origins][:, None]).transpose(1, 0, 2)
