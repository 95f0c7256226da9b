"""Telling numbers, whatever the examples are: loss, scores, and what the report shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..training.task import Evaluation, Metric
from .classify import named
from .examples import Rows

__all__ = ["METRICS", "Regress", "errors", "told_lines"]

MOST_WRONG = 30
MOST_DRAWN = 2000
"""Points of the picture of answers against the truth."""

METRICS = {
    "rmse": Metric("RMSE", "Root of the mean squared error, in the target's units."),
    "mae": Metric("MAE", "Mean absolute error, in the target's units."),
    "r2": Metric("Explained variance", "R²: 0 for always telling the mean, 1 for no error."),
}


class Regress:
    r"""Numbers by mean squared error, Σ_i |(y_i - μ)/σ - f(x_i)|² / n, with μ and σ of the training part.

    A network that always tells the mean has a loss of 1 on the training part. It is the negative log-likelihood of a
    normal distribution of fixed spread, but for a constant.

    Args:
        name: of the target.
        truth: (examples,) in the target's units.
        train: the training examples.
        unit: what an example is called.
    """

    outputs, criterion, targets = 1, "squared-error", "numbers"
    loss_in = "mean squared error, standardized"

    def __init__(self, name: str, truth: NDArray[np.float64], train: Rows, *, unit: str):
        self.name, self.truth, self.unit = name, truth, unit
        self.mean = float(truth[train].mean())
        deviation = float(truth[train].std())
        self.deviation = deviation if deviation > 1e-12 * max(abs(self.mean), 1e-12) else 1.0
        self.scaled = ((truth - self.mean) / self.deviation).astype(np.float32)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Errors in the target's units, and the explained variance."""
        return METRICS

    def loss(self, outputs: Tensor, rows: Rows) -> Tensor:
        """Mean squared error of the standardized target."""
        return F.mse_loss(outputs[:, 0], torch.from_numpy(self.scaled[rows]).to(outputs))

    def weights(self, rows: Rows) -> float:
        """Their number."""
        return float(len(rows))

    def told(self, outputs: Tensor) -> NDArray[np.float64]:
        """(rows, 1) outputs in the target's units."""
        return outputs[:, 0].double().numpy() * self.deviation + self.mean

    def evaluation(self, outputs: Tensor, rows: Rows, loss: float) -> Evaluation:
        """Errors; kept by the loss."""
        return Evaluation(loss, errors(self.told(outputs), self.truth[rows]))

    def panels(self, outputs: Tensor, rows: Rows, split: str, example: Callable[[int], Any]) -> list[dict[str, Any]]:
        """Answers against the truth, beside telling the mean; the answers that were most wrong."""
        told, truth = self.told(outputs), self.truth[rows]
        found = {"network": errors(told, truth), "mean of the training part": errors(np.full(1, self.mean), truth)}
        few = np.linspace(0, len(rows) - 1, min(len(rows), MOST_DRAWN)).round().astype(int)
        worst = np.argsort(-np.abs(told - truth), kind="stable")[:MOST_WRONG]
        some = np.random.default_rng(0).permutation(len(rows))[:8]
        return [
            {
                "panel": "table",
                "title": f"Errors on the {split} part",
                "columns": ["", *(metric.label for metric in METRICS.values())],
                "rows": [[name, *scores.values()] for name, scores in found.items()],
            },
            {
                "panel": "scatter",
                "title": f"Answers and truth on the {split} part",
                "note": "On the line they are equal."
                + (f" {len(few):,} of {len(rows):,} points, evenly chosen." if len(few) < len(rows) else ""),
                "x": f"{self.name}, as it is",
                "y": f"{self.name}, as the network tells it",
                "points": [truth[few].tolist(), told[few].tolist()],
            },
            *(
                {
                    "panel": "table",
                    "title": f"{title} on the {split} part",
                    "columns": [self.unit, self.name, "answer", "error"],
                    "rows": [
                        [example(int(rows[at])), float(truth[at]), float(told[at]), float(told[at] - truth[at])]
                        for at in places.tolist()
                    ],
                }
                for title, places in (("Some answers", some), ("Most wrong", worst))
            ),
        ]


def errors(told: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    """RMSE, MAE, R²; the last is NaN where the truth does not vary."""
    away = told - truth
    spread = float(((truth - truth.mean()) ** 2).sum())
    explained = 1 - float((away**2).sum()) / spread if spread > 0 else float("nan")
    return {"rmse": float(np.sqrt((away**2).mean())), "mae": float(np.abs(away).mean()), "r2": explained}


def told_lines(panels: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """The panel of some answers as a heading and lines for a terminal."""
    some = next((panel for panel in panels if panel["title"].startswith("Some answers")), None)
    if some is None:
        return None
    lines = [f"{named(example)[:60]}  {told:.4g}  (it is {true:.4g})" for example, true, told, _ in some["rows"]]
    return f"{some['title']}:", "\n".join(lines)
