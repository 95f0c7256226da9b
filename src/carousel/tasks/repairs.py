"""What settings can repair: by the code of a fault that the doctor names, the settings to change.

Only what is safe stands here: another learning rate, clipping, a usual initialization, standardized data. A fault
without an entry is for a person to repair. A task whose data or networks have more to set adds its own entries, as in
`COMMON | {"unnormalized-input": standardize}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..settings import Settings, TrainingSettings

__all__ = ["COMMON", "Repair"]

Repair = Callable[[Settings, Mapping[float, float]], dict[str, Any]]
"""`repair(settings, losses)` gives the changed settings by name, none if there is nothing to change. `losses` are those
that the doctor's trials came to, by factor of the learning rate; empty if it made none."""


def lower(settings: Settings, losses: Mapping[float, float]) -> dict[str, Any]:
    """The smaller learning rate that did best in the trials, else a tenth."""
    return _times(settings, {f: loss for f, loss in losses.items() if f < 1}, 0.1)


def raise_(settings: Settings, losses: Mapping[float, float]) -> dict[str, Any]:
    """The larger learning rate that did best in the trials, else ten times as much."""
    return _times(settings, {f: loss for f, loss in losses.items() if f > 1}, 10.0)


def clip(settings: Settings, losses: Mapping[float, float]) -> dict[str, Any]:
    """Clip gradients, if they are not."""
    return {} if settings.training.clip else {"clip": TrainingSettings().clip}


def tame(settings: Settings, losses: Mapping[float, float]) -> dict[str, Any]:
    """Clip gradients; where they are clipped, lower the learning rate."""
    return clip(settings, losses) or lower(settings, losses)


def _times(settings: Settings, losses: Mapping[float, float], otherwise: float) -> dict[str, Any]:
    assert settings.training.learning_rate is not None
    tried = {factor: loss for factor, loss in losses.items() if math.isfinite(loss)}
    factor = min(tried, key=lambda f: tried[f], default=otherwise)
    return {"learning_rate": float(f"{settings.training.learning_rate * factor:.3g}")}


COMMON: Mapping[str, Repair] = {
    "lr-too-high": lower,
    "lr-too-low": raise_,
    "exploding-gradient-time": clip,
    "exploding-gradient-depth": clip,
    "non-finite": tame,
}
"""Of what every task has."""
