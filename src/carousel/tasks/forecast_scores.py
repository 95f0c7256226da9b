"""Forecasts of many windows, and how good they are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..nn.forecaster import LEVELS, Forecaster
from .series_windows import Windows, disjoint

__all__ = ["MOST_DEV", "MOST_TEST", "forecast_windows", "scores"]

MOST_DEV = 2_000
MOST_TEST = 20_000
"""Windows that are evaluated; of more, so many evenly apart."""


@torch.no_grad()
def forecast_windows(
    network: Forecaster, windows: Windows, origins: NDArray[np.int64], *, calibrate: bool = False
) -> tuple[NDArray[np.float64], float]:
    """(H, origins, targets, levels) quantiles in the file's units, and the mean loss.

    Args:
        network: the forecaster.
        windows: the series.
        origins: where forecasts begin.
        calibrate: so that the intervals hold what they should on these windows, from now on.
    """
    network.eval()
    parameter = next(network.parameters())
    found, truth, mask, total, count = [], [], [], 0.0, 0
    for batch in windows.batches(origins):
        batch = batch.to(parameter.device)
        output = network(*(part.to(parameter.dtype) for part in batch[:3]))
        values = int(batch.mask.sum())
        total += network.loss(output, batch.truth.to(parameter.dtype), batch.mask).item() * values
        count += values
        found.append(network.quantiles(output))
        truth.append(batch.truth)
        mask.append(batch.mask)
    quantiles = torch.cat(found, 1)
    if calibrate:
        seen = torch.cat(truth, 1).to(quantiles.dtype), torch.cat(mask, 1)
        quantiles = network.calibrate(quantiles, *seen, disjoint(origins, windows.plan.horizon))
    return windows.unscaled(quantiles.float().cpu().numpy(), origins), total / max(count, 1)


def scores(
    quantiles: NDArray[np.float64], truth: NDArray[np.float64], mask: NDArray[np.bool_], unit: list[float]
) -> dict[str, float]:
    """MASE, RMSE, pinball loss, coverage and width of the 80 % interval.

    Args:
        quantiles: (H, windows, targets, levels) at `LEVELS`; with one level only a point forecast.
        truth: (H, windows, targets).
        mask: which of them count.
        unit: (targets,) of MASE.
    """
    middle = quantiles[..., quantiles.shape[-1] // 2]
    away = np.where(mask, truth - middle, 0.0)
    count = max(int(mask.sum()), 1)
    found = {
        "mase": float((np.abs(away) / np.array(unit)).sum() / count),
        "rmse": float(np.sqrt((away**2).sum() / count)),
    }
    if quantiles.shape[-1] > 1:
        short = truth[..., None] - quantiles
        levels = np.array(LEVELS)
        pinball = np.maximum(levels * short, (levels - 1) * short).mean(-1)
        low, high = quantiles[..., 0], quantiles[..., -1]
        found["pinball"] = float(np.where(mask, pinball, 0).sum() / count)
        found["coverage"] = float((mask & (truth >= low) & (truth <= high)).sum() / count)
        found["width"] = float(np.where(mask, high - low, 0).sum() / count)
    return found
