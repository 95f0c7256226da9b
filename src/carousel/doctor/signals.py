"""What was seen and tried, as plain data: for JSON, and for the pictures of the report."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

from .record import Record
from .seen import ActivationSeen, LayerGradient
from .through_time import through_time

__all__ = ["signals"]

POINTS = 400
"""Of a curve."""

UNITS = 256
"""Of a map."""


def signals(record: Record) -> dict[str, Any]:
    """A dictionary of:

    - `loss`: [step, value] of the training loss, `evaluations`: the same by kind of loss without gradients;
    - `activations`, in the order of the network: `where`, `kind` ("relu", "sigmoid", "tanh", "elu" …), `first` and
      `last` (`step`, `low`, `high`, `counts` of a histogram), `idle` (per unit, the share of samples at which it has
      next to no derivative; of the first three kinds), `size` ([step, root mean square]);
    - `layers`, in the order of the network: `where`, `gradient` and `update` ([step, length relative to the weight's]);
    - `through_time`, of a recurrent network, at the "start" and the "end" of the run: `kind`, and norms by step of the
      gradient of the `loss`, and of the `last` state relative to its own;
    - `experiments`: what they gave, or `why_not`.
    """
    lab = record.lab
    return {
        "loss": _thinned(record.course()),
        "evaluations": {
            kind: _thinned([(step, value) for step, value, _ in of]) for kind, of in record.criteria.evaluations.items()
        },
        "activations": [_activation(record, seen) for seen in record.activations.values()],
        "layers": [_layer(layer) for layer in record.layers_in_order()],
        "through_time": _through_time(record),
        "experiments": {"why_not": "they were not wanted"} if lab is None else lab.to_dict(),
    }


def _activation(record: Record, seen: ActivationSeen) -> dict[str, Any]:
    histograms = {
        name: None if of is None else dict(zip(("step", "low", "high", "counts"), of, strict=True))
        for name, of in (("first", seen.first), ("last", seen.last))
    }
    idle = [] if seen.idle is None else [round(v, 3) for v in seen.idle[:UNITS].tolist()]
    return {
        "where": record.place_of(seen),
        "kind": seen.kind,
        **histograms,
        "idle": idle,
        "size": _thinned(seen.sizes),
    }


def _layer(layer: LayerGradient) -> dict[str, Any]:
    gradient = [(step, size / max(weight, 1e-12)) for step, size, weight in layer.sizes]
    return {"where": layer.name, "gradient": _thinned(gradient), "update": _thinned(layer.changes)}


def _through_time(record: Record) -> dict[str, Any]:
    if record.lab is None:
        return {}
    found = {name: through_time(record.lab, at_start=name == "start") for name in ("start", "end")}
    return {name: vars(of) for name, of in found.items() if of is not None}


def _thinned(points: list[tuple[int, float]]) -> list[list[float]]:
    """At most `POINTS`, each the median of its neighbors; what is no number is left out."""
    real = [(step, value) for step, value in points if math.isfinite(value)]
    every = max(1, math.ceil(len(real) / POINTS))
    groups = [real[i : i + every] for i in range(0, len(real), every)]
    return [[group[len(group) // 2][0], median(value for _, value in group)] for group in groups]
