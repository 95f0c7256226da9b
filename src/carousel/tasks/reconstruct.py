"""Giving an example back through a code of few numbers: loss, PCA beside it, and what the report shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DataError
from ..training.task import Evaluation, Metric
from .components import Components
from .examples import EVALUATION_BATCH, Rows

__all__ = ["Reconstruct", "reconstruction_lines"]

MOST_DRAWN = 2000
"""Points of the map."""
MOST_KEPT = 500
"""Errors that stand for all, at equal steps of their rank."""
BESIDE = "Reconstruction"
"""How the title begins of the panel that has the error of the network beside PCA's."""


class Reconstruct:
    r"""The share of the variance that is lost, Σ_i |x_i - g(f(x_i))|² / Σ_i |x_i - μ|², with μ the mean of the training
    part and both sums over it; a network that always tells μ has a loss of 1 there.

    What a network gives for an example is here its loss, and behind it the code f(x).

    Args:
        values: (rows, features) of examples.
        train: the training examples.
        code: numbers of the code.
        names: of the classes; none where nothing is known of them.
        labels: (examples,) the class of each, for the colors of the map.
        unit: what an example is called.

    Raises:
        DataError: the training examples are all equal.
    """

    criterion, targets = "squared-error", "numbers"
    loss_in = "of the variance lost"

    def __init__(
        self,
        values: Callable[[Rows], Tensor],
        train: Rows,
        code: int,
        *,
        names: Sequence[str],
        labels: NDArray[np.int64],
        unit: str,
    ):
        self.values, self.code, self.names, self.labels, self.unit = values, code, tuple(names), labels, unit
        self.outputs = 1 + code
        self.components = Components.of(lambda: self._blocks(train), code)
        self.features = len(self.components.mean)
        if self.components.variance <= 1e-12 * self.features:
            raise DataError(f"All {unit}s of the training part are equal, so that nothing can be learned of them.")
        self._of_pca: dict[bytes, NDArray[np.float64]] = {}

    def _blocks(self, rows: Rows) -> Iterator[Tensor]:
        for begin in range(0, len(rows), EVALUATION_BATCH):
            yield self.values(rows[begin : begin + EVALUATION_BATCH])

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """PCA's loss, and the network's in another unit."""
        return {
            "pca": Metric("PCA", f"The same with {self._count()} of the training part instead of a network."),
            "squared_error": Metric("Squared error", "Of a single value, from 0 to 1, in the mean."),
        }

    def _count(self) -> str:
        count = self.components.basis.shape[1]
        return f"{count} principal component{'s' if count > 1 else ''}"

    def lost(self, given: Tensor, back: Tensor) -> Tensor:
        """(rows,) the loss of each example, of (rows, …) as it is and as it comes back."""
        return (back - given).square().flatten(1).sum(1) / self.components.variance

    def loss(self, outputs: Tensor, rows: Rows) -> Tensor:
        """The mean of the losses."""
        return outputs[:, 0].mean()

    def weights(self, rows: Rows) -> float:
        """Their number."""
        return float(len(rows))

    def of_pca(self, rows: Rows) -> NDArray[np.float64]:
        """(rows,) what PCA loses of each; measured once."""
        key = rows.tobytes()
        if key not in self._of_pca:
            lost = torch.cat([self.components.lost(block) for block in self._blocks(rows)])
            self._of_pca[key] = lost.double().numpy() / self.components.variance
        return self._of_pca[key]

    def evaluation(self, outputs: Tensor, rows: Rows, loss: float) -> Evaluation:
        """Beside PCA; kept by the loss."""
        value = loss * self.components.variance / self.features
        return Evaluation(loss, {"pca": float(self.of_pca(rows).mean()), "squared_error": value})

    def panels(self, outputs: Tensor, rows: Rows, split: str, example: Callable[[int], Any]) -> list[dict[str, Any]]:
        """The error beside PCA's, how the errors are spread, and where the codes lie."""
        errors, pca = outputs[:, 0].double().numpy(), self.of_pca(rows)
        ours, theirs = float(errors.mean()), float(pca.mean())
        verdict = f"PCA loses {theirs / ours:.2g} times as much." if ours > 0 else "Nothing is lost."
        if ours > theirs:
            verdict = (
                f"This autoencoder is worse than PCA, which is the best linear one: train it for longer, with another "
                f"--learning-rate, or take {self._count()} and no network."
            )
        per_value = self.components.variance / self.features
        some = np.quantile(errors, np.linspace(0, 1, min(len(errors), MOST_KEPT)))
        return [
            {
                "panel": "table",
                "title": f"{BESIDE} through {self.code} numbers, {split} part",
                "note": verdict,
                "columns": ["", "variance lost", "mean squared error", "median", "worst"],
                "rows": [
                    [name, float(of.mean()), float(of.mean()) * per_value, float(np.median(of)), float(of.max())]
                    for name, of in (("autoencoder", errors), (self._count(), pca))
                ],
            },
            {
                "panel": "histogram",
                "title": f"Errors on the {split} part",
                "note": f"What is far to the right is unlike what the network has learned. {self.unit.capitalize()}s "
                "by the share of the variance that is lost.",
                "x": "variance lost",
                "y": f"{self.unit}s, %",
                "values": some.tolist(),
            },
            *self._map(outputs[:, 1:].double(), rows, split),
        ]

    def _map(self, codes: Tensor, rows: Rows, split: str) -> list[dict[str, Any]]:
        """Codes of two numbers as they are, of more by their first two principal components."""
        if self.code < 2 or len(codes) < 3 or not torch.isfinite(codes).all():
            return []
        note = "Each point is an example; examples whose codes are alike lie together."
        if self.code > 2:
            mean, variances = codes.mean(0), codes.var(0, correction=0).sum()
            few = Components.of(lambda: [codes.float()], 2)
            codes = (codes - mean) @ few.basis.double()
            share = float(codes.var(0, correction=0).sum() / variances) if variances > 0 else 1.0
            note += f" The plane shows {100 * share:.0f} % of the variance of the {self.code} numbers."
        chosen = np.linspace(0, len(rows) - 1, min(len(rows), MOST_DRAWN)).round().astype(int)
        return [
            {
                "panel": "map",
                "title": f"Map of the codes, {split} part",
                "note": note,
                "points": codes[chosen].T.tolist(),
                "classes": self.labels[rows[chosen]].tolist() if self.names else [],
                "names": list(self.names),
            }
        ]


def reconstruction_lines(panels: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """The panel that has PCA beside the network, as a heading and lines for a terminal."""
    panel = next((panel for panel in panels if panel["title"].startswith(BESIDE)), None)
    if panel is None:
        return None
    lines = [f"{name:24}{lost:.4f} of the variance lost" for name, lost, *_ in panel["rows"]]
    return f"{panel['title']}:", "\n".join([*lines, panel["note"]])
